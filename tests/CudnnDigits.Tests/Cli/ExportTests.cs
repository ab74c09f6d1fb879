using CudnnDigits.Cli.Exchange;
using CudnnDigits.Numerics;
using Microsoft.ML.OnnxRuntime;

namespace CudnnDigits.Tests.Cli;

public class ExportTests
{
    private const int Count = 1000;

    /// <summary>Two orders of summation in float32 over these networks part by about 1e-6; docs/numerics.md.</summary>
    private const double Tolerance = 1e-5;

    /// <summary>The same order of summation, each weight rounded once more; an epsilon forgotten shows as 1e-5.</summary>
    private const double FoldingTolerance = 2e-6;

    private static readonly DigitDataset Digits = GeneratedDigits.Create(Count, seed: 9);

    public static TheoryData<string, bool> Cases => new MatrixTheoryData<string, bool>(DigitNetworks.Names, [true, false]);

    [Theory]
    [MemberData(nameof(Cases))]
    public void ONNX_Runtime_gives_our_logits_for_any_number_of_digits(string name, bool keepBatchNorm)
    {
        NetworkWeights weights = Weights(name);
        using InferenceSession session = new(OnnxWriter.Write(weights, keepBatchNorm));
        float[] expected = OurLogits(weights);
        foreach (int batch in new[] { Count, 7, 1 })
        {
            Compare.Close(Run(session, batch), InDouble(expected.AsSpan(0, batch * DigitDataset.Classes)), Tolerance, $"logits of {batch}");
        }

        Assert.Equal(name, session.ModelMetadata.CustomMetadataMap["network"]);
        Assert.Equal("pixel/255", session.ModelMetadata.CustomMetadataMap["input_scaling"]);
        Assert.Equal("CudnnDigits", session.ModelMetadata.ProducerName);
        Assert.Equal([-1, 1, 28, 28], session.InputMetadata["images"].Dimensions);
        Assert.Equal([-1, 10], session.OutputMetadata["logits"].Dimensions);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void What_was_exported_is_read_back(string name, bool keepBatchNorm)
    {
        NetworkWeights weights = Weights(name);
        byte[] model = OnnxWriter.Write(weights, keepBatchNorm, [new("data_fingerprint", "f00"), new("format", "pt")]);
        (NetworkWeights back, IReadOnlyDictionary<string, string> metadata) =
            OnnxReader.Find("a model", OnnxGraph.Parse("a model", model), null);
        Assert.Equal(name, back.Network.Name);
        Assert.Equal("f00", metadata["data_fingerprint"]);
        Assert.DoesNotContain("format", metadata.Keys); // which safetensors file it came from is not what this one is
        if (keepBatchNorm || weights.Network.Parameters.StatisticsCount == 0)
        {
            Assert.Equal(weights.Trained, back.Trained);
            Assert.Equal(weights.Statistics, back.Statistics);
        }

        Compare.Close(OurLogits(back), InDouble(OurLogits(weights)), FoldingTolerance, "logits");
    }

    [Fact]
    public void The_names_and_ornaments_of_other_writers_do_not_matter()
    {
        NetworkWeights weights = Weights("improved");
        OnnxGraph graph = OnnxGraph.Parse("a model", OnnxWriter.Write(weights, keepBatchNorm: false));
        foreach ((string old, OnnxTensor tensor) in graph.Initializers.ToArray())
        {
            graph.Initializers.Remove(old);
            graph.Initializers[$"onnx::{old}_17"] = tensor;
        }

        for (int i = 0; i < graph.Nodes.Count; i++)
        {
            OnnxNode node = graph.Nodes[i];
            for (int input = 1; input < node.Inputs.Count; input++)
            {
                node.Inputs[input] = $"onnx::{node.Inputs[input]}_17";
            }

            if (node.OpType == "Relu") // followed by a dropout in evaluation mode
            {
                OnnxNode dropout = new() { OpType = i % 2 == 0 ? "Identity" : "Dropout" };
                dropout.Inputs.Add(node.Outputs[0]);
                dropout.Outputs.Add($"/drop{i}");
                graph.Nodes.Insert(i + 1, dropout);
                graph.Nodes[i + 2].Inputs[0] = $"/drop{i}";
            }
        }

        graph.Nodes.Add(new OnnxNode { OpType = "Softmax", Inputs = { "logits" }, Outputs = { "probabilities" } });
        Compare.Close(OurLogits(OnnxReader.Find("a model", graph, null).Weights), InDouble(OurLogits(weights)), Tolerance, "logits");
    }

    /// <summary>What is done to a graph, and what the one line must say.</summary>
    private static readonly Dictionary<string, (string Says, Action<OnnxGraph> Change)> Others = new()
    {
        ["a node fewer"] = ("node 13 is Gemm where Relu was expected", graph =>
        {
            graph.Nodes.RemoveAt(12);
            graph.Nodes[12].Inputs[0] = graph.Nodes[11].Outputs[0];
        }
        ),
        ["a node more"] = ("node 15 is one more Relu",
            graph => Append(graph, new OnnxNode { OpType = "Relu" })),
        ["another operation"] = ("node 4 is Tanh where Relu was expected", graph => graph.Nodes[3].OpType = "Tanh"),
        ["other padding"] = ("conv1 has pads 1, 1, 0, 1, expected ", graph => graph.Nodes[0].Ints["pads"] = [1, 1, 0, 1]),
        ["other strides"] = ("pool1 has strides 1, expected 2",
            graph => graph.Nodes.Find(node => node.OpType == "MaxPool")!.Ints.Remove("strides")),
        ["another shape"] = ("fc1.weight has shape (1, 802816) and 802816 values, expected (256, 3136)",
            graph => graph.Initializers["fc1.weight"] = graph.Initializers["fc1.weight"] with { Shape = [1, 802816] }),
        ["a tensor missing"] = ("fc2.bias (10) is missing", graph => graph.Initializers.Remove("fc2.bias")),
        ["NaN"] = ("NaN", graph => graph.Initializers["fc2.bias"].Values[3] = float.NaN),
        ["pixels of whole numbers"] = ("takes pixels as whole numbers, but here a network gets pixel/255 as it is", graph =>
        {
            Prepend(graph, new OnnxNode { OpType = "Cast", Ints = { ["to"] = [1] } });
            graph.Inputs["images"] = 2; // uint8
        }
        ),
        ["a division of its input"] =
            ("changes its input first (Div), but here a network gets pixel/255", graph => Prepend(graph, new OnnxNode { OpType = "Div" })),
        ["quantized weights"] = ("conv1.weight (32, 1, 3, 3) is computed (DequantizeLinear)", graph =>
        {
            graph.Initializers.Remove("conv1.weight");
            graph.Nodes.Add(new OnnxNode { OpType = "DequantizeLinear", Inputs = { "w" }, Outputs = { "conv1.weight" } });
        }
        ),
        ["a cast to whole numbers"] =
            ("node 15 is one more Cast", graph => Append(graph, new OnnxNode { OpType = "Cast", Ints = { ["to"] = [7] } })),
        ["a detour"] = ("node 3 is MaxPool where Conv was expected", graph => graph.Nodes[3].Inputs[0] = graph.Nodes[0].Outputs[0]),
        ["a circle"] = ("node 1 is Relu where Conv was expected", graph => graph.Nodes[1].Inputs[0] = graph.Nodes[1].Outputs[0]),
        ["weights in a circle"] = ("fc1.weight (256, 3136) is computed (Identity)", graph =>
        {
            graph.Initializers.Remove("fc1.weight");
            graph.Nodes.Add(new OnnxNode { OpType = "Identity", Inputs = { "fc1.weight" }, Outputs = { "fc1.weight" } });
        }
        ),
    };

    /// <summary>What other exporters, and tools that change their files, make of the same network.</summary>
    private static readonly Dictionary<string, Action<OnnxGraph>> Same = new()
    {
        ["x.view(x.size(0), -1), as PyTorch exports it for any batch"] = graph =>
        {
            int at = graph.Nodes.FindIndex(node => node.OpType == "Flatten");
            graph.Nodes[at].OpType = "Reshape";
            graph.Nodes[at].Inputs.Add("target");
            graph.Nodes.InsertRange(at, [
                new OnnxNode { OpType = "Shape", Inputs = { graph.Nodes[at].Inputs[0] }, Outputs = { "shape" } },
                new OnnxNode { OpType = "Gather", Inputs = { "shape", "first" }, Outputs = { "size" } },
                new OnnxNode { OpType = "Concat", Inputs = { "size", "rest" }, Outputs = { "target" } },
            ]);
        },
        ["rows of 784 pixels"] = graph =>
        {
            if (graph.Nodes.Find(node => node.OpType == "Conv") is null)
            {
                graph.Nodes[1].Inputs[0] = "images";
                graph.Nodes.RemoveAt(0);
                return;
            }

            Prepend(graph, new OnnxNode { OpType = "Reshape" });
        },
        ["(N, 28, 28)"] = graph => Prepend(graph, new OnnxNode { OpType = graph.Nodes[0].OpType == "Conv" ? "Unsqueeze" : "Identity" }),
        ["probabilities, and then classes"] = graph =>
        {
            Append(graph, new OnnxNode { OpType = "Softmax" });
            graph.Nodes.Add(new OnnxNode { OpType = "ArgMax", Inputs = { "more" }, Outputs = { "classes" } });
            graph.Outputs.Add("classes");
        },
        ["classes"] = graph => Append(graph, new OnnxNode { OpType = "ArgMax" }),
        ["half precision between casts"] = graph =>
        {
            Prepend(graph, new OnnxNode { OpType = "Cast", Ints = { ["to"] = [10] } });
            Append(graph, new OnnxNode { OpType = "Cast", Ints = { ["to"] = [1] } });
        },
        ["weights that are cast, and turned by a node"] = graph => EachProduct(graph, (gemm, weight, i) =>
        {
            graph.Initializers.Remove(gemm.Inputs[1]);
            graph.Initializers[$"{i}.half"] = Turned(weight);
            graph.Nodes.Add(new OnnxNode
            {
                OpType = "Cast",
                Inputs = { $"{i}.half" },
                Outputs = { $"{i}.single" },
                Ints = { ["to"] = [1] },
            });
            graph.Nodes.Add(new OnnxNode
            {
                OpType = "Transpose",
                Inputs = { $"{i}.single" },
                Outputs = { gemm.Inputs[1] },
                Ints = { ["perm"] = [1, 0] },
            });
        }),
        ["products of inputs by outputs"] = graph => EachProduct(graph, (gemm, weight, _) =>
        {
            gemm.Ints.Remove("transB");
            graph.Initializers[gemm.Inputs[1]] = Turned(weight);
        }),
        ["MatMul and Add"] = graph => EachProduct(graph, (gemm, weight, i) =>
        {
            graph.Initializers[gemm.Inputs[1]] = Turned(weight);
            graph.Nodes.Add(new OnnxNode { OpType = "MatMul", Inputs = { gemm.Inputs[0], gemm.Inputs[1] }, Outputs = { $"{i}.product" } });
            (gemm.OpType, gemm.Inputs[0], gemm.Inputs[1]) = ("Add", $"{i}.product", gemm.Inputs[2]);
            gemm.Inputs.RemoveAt(2);
            if (i % 2 == 0)
            {
                gemm.Inputs.Reverse();
            }
        }),
    };

    public static TheoryData<string, string> SameNetworks => new MatrixTheoryData<string, string>(DigitNetworks.Names, Same.Keys);

    [Theory]
    [MemberData(nameof(SameNetworks))]
    public void What_other_exporters_make_of_a_network_is_read_as_that_network(string name, string change)
    {
        NetworkWeights weights = Weights(name);
        OnnxGraph graph = OnnxGraph.Parse("a model", OnnxWriter.Write(weights, keepBatchNorm: true));
        Same[change](graph);
        NetworkWeights back = OnnxReader.Find("a model", graph, null).Weights;
        Assert.Equal(name, back.Network.Name);
        Assert.Equal(weights.Trained, back.Trained);
        Assert.Equal(weights.Statistics, back.Statistics);
    }

    /// <summary>A tensor of 1, -2.5 and 1/3, by type, field and bytes.</summary>
    [Theory]
    [InlineData(10, 9, "003C00C15535", 0.33325195f)]
    [InlineData(10, 5, "80788082" + "03D56A", 0.33325195f)] // as varints
    [InlineData(16, 9, "803F20C0AB3E", 0.33398438f)]
    [InlineData(16, 5, "807FA08003AB7D", 0.33398438f)]
    [InlineData(11, 9, "000000000000F03F00000000000004C0555555555555D53F", 0.33333334f)]
    [InlineData(1, 9, "0000803F000020C0ABAAAA3E", 0.33333334f)]
    [InlineData(1, 4, "0000803F000020C0ABAAAA3E", 0.33333334f)]
    public void Weights_of_every_floating_point_type_are_read(byte type, int field, string hexadecimal, float third)
    {
        byte[] tensor = [0x08, 3, 0x10, type, .. Message(8, "w"u8.ToArray()), .. Message(field, Convert.FromHexString(hexadecimal))];
        byte[] constant = [.. Message(2, "w"u8.ToArray()), .. Message(4, "Constant"u8.ToArray()), .. Message(5, Message(5, tensor))];
        foreach (byte[] model in new[] { Message(7, [.. Message(5, tensor), .. Message(1, [])]), Message(7, Message(1, constant)) })
        {
            OnnxTensor read = OnnxGraph.Parse("a model", model).Initializers["w"];
            Assert.Equal([1, -2.5f, third], read.Values);
            Assert.Equal([3], read.Shape);
        }
    }

    public static TheoryData<string> OtherNames => [.. Others.Keys];

    [Theory]
    [MemberData(nameof(OtherNames))]
    public void Other_networks_are_refused(string change)
    {
        OnnxGraph graph = OnnxGraph.Parse("a model", OnnxWriter.Write(Weights("improved"), keepBatchNorm: false));
        Others[change].Change(graph);
        InputException refused = Assert.Throws<InputException>(() => OnnxReader.Find("a model", graph, null));
        Assert.StartsWith("a model: ", refused.Message, StringComparison.Ordinal);
        Assert.Contains(Others[change].Says, refused.Message, StringComparison.Ordinal);
        Assert.Throws<InputException>(() => OnnxReader.Find("a model", graph, DigitNetworks.Simple));
    }

    /// <summary>Bytes that repeat within the graph, or within its one node, and what the one line must say.</summary>
    public static TheoryData<string, int, string> Floods => new()
    {
        { "0A00", 1_000_000, "more than 512 nodes" },
        { "2A00", 1_000_000, "two initializers of one name" },
        { "0A020A00", 500_000, "more than 512 nodes" },
        { "5A00", 1_000_000, "more than 512 inputs" },
        { "6A00", 1_000_000, "" }, // descriptions of values, which nobody asks for
    };

    [Theory]
    [MemberData(nameof(Floods))]
    public void A_file_of_millions_of_empty_things_takes_no_more_memory_than_its_bytes(string hexadecimal, int count, string says)
    {
        byte[] one = Convert.FromHexString(hexadecimal), graph = [.. Enumerable.Repeat(one, count).SelectMany(bytes => bytes)];
        byte[] model = [.. Message(7, graph), .. Message(7, Message(1, Message(4, "Relu"u8.ToArray())))];
        using TemporaryFolder folder = new();
        using InputFile file = InputFile.Open(folder.Write("flood.onnx", model), "");
        long before = GC.GetAllocatedBytesForCurrentThread();
        InputException? refused = Record.Exception(() => OnnxGraph.Read(file)) as InputException;
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2 * model.Length + (2 << 20));
        Assert.Equal(says.Length > 0, refused is not null);
        Assert.Contains(says, refused?.Message ?? "", StringComparison.Ordinal);
    }

    [Fact]
    public void Floods_within_a_node_a_tensor_and_the_metadata_are_refused()
    {
        byte[] empty = [.. Enumerable.Repeat<byte[]>([0x0A, 0x00], 1000).SelectMany(bytes => bytes)], zeros = new byte[1000];
        foreach ((byte[] model, string says) in new (byte[], string)[]
        {
            (Message(7, Message(1, empty)), "more than 512 inputs"),
            (Message(7, Message(1, [.. Enumerable.Repeat(Message(5, []), 1000).SelectMany(bytes => bytes)])), "more than 512 attributes"),
            (Message(7, Message(1, Message(5, Message(8, zeros)))), "more than 512 numbers"),
            (Message(7, Message(5, [0x10, 0x01, .. Message(1, zeros)])), "more than 512 dimensions"),
            ([.. Enumerable.Repeat(Message(14, []), 1000).SelectMany(bytes => bytes)], "more than 512 metadata entries"),
        })
        {
            Assert.Contains(says, Assert.Throws<InputException>(() => OnnxGraph.Parse("a model", model)).Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("raw data of 7 bytes", "not made of whole values")]
    [InlineData("raw data and numbers", "not made of whole values")]
    [InlineData("two of one name", "two initializers of one name")]
    public void Ambiguous_initializers_are_refused(string kind, string says)
    {
        byte[] name = [0x10, 0x01, .. Message(8, "w"u8.ToArray())], raw = Message(9, new byte[kind == "raw data of 7 bytes" ? 7 : 8]);
        byte[] tensor = Message(5, kind == "raw data and numbers" ? [.. name, .. raw, .. Message(4, new byte[8])] : [.. name, .. raw]);
        byte[] model = Message(7, [.. tensor, .. tensor, .. Message(1, [])]);
        Assert.Contains(says, Assert.Throws<InputException>(() => OnnxGraph.Parse("a model", model)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(14, 1, "keeps its weights in a file beside it; make it one file, in Python: onnx.save(onnx.load(")]
    [InlineData(2, 7, "conv1.weight has shape (32, 1, 3, 3) and 0 values, expected (32, 1, 3, 3); if it is one of them, save its")]
    public void Weights_that_are_kept_elsewhere_or_in_another_type_are_refused_with_a_sentence(int field, int value, string says)
    {
        byte[] tensor = Message(5,
            [0x08, 32, 0x08, 1, 0x08, 3, 0x08, 3, 0x10, 1, .. Message(8, "w"u8.ToArray()), (byte)(field << 3), (byte)value]);
        byte[] attribute(string name, byte number) => Message(5, [.. Message(1, System.Text.Encoding.ASCII.GetBytes(name)), 0x40, number]);
        byte[] node = Message(1,
            [.. Message(1, "x"u8.ToArray()), .. Message(1, "w"u8.ToArray()), .. Message(2, "y"u8.ToArray()),
            .. Message(4, "Conv"u8.ToArray()), .. attribute("kernel_shape", 3)]);
        byte[] model = Message(7, [.. tensor, .. node]);
        Assert.Contains(says,
            Assert.Throws<InputException>(() => OnnxReader.Find("a model", OnnxGraph.Parse("a model", model), DigitNetworks.Simple))
            .Message, StringComparison.Ordinal);
    }

    /// <summary>A device's length is 0 and it never ends; a pipe's is unknown.</summary>
    [Fact]
    public void Devices_are_not_read_for_ever_and_pipes_are_read()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs /dev/zero and mkfifo");
        using TemporaryFolder folder = new();
        string zero = File.CreateSymbolicLink(folder["zero.onnx"], "/dev/zero").FullName;
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("goes on after 64 MiB", Assert.Throws<InputException>(() => WeightsFile.Load(zero)).Message,
            StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 256L << 20);

        NetworkWeights weights = Weights("simple");
        string pipe = folder["pipe.onnx"], file = folder.Write("model", OnnxWriter.Write(weights, keepBatchNorm: true));
        using (System.Diagnostics.Process made = System.Diagnostics.Process.Start("mkfifo", pipe))
        {
            made.WaitForExit();
        }

        System.Diagnostics.Process.Start("sh", ["-c", $"cat '{file}' > '{pipe}'"]).Dispose();
        Assert.Equal(weights.Trained, WeightsFile.Load(pipe).Weights.Trained);
        Assert.Contains("is a folder",
            Assert.Throws<InputException>(() => WeightsFile.Load(Directory.CreateDirectory(folder["folder.onnx"]).FullName)).Message,
            StringComparison.Ordinal);
    }

    [LongFact]
    public void The_program_exports_and_takes_its_exports_back()
    {
        using TemporaryFolder folder = new();
        string data = folder.Write("digits.csv", DigitFiles.Csv(Digits)), run = folder["run"],
        weights = Path.Combine(run, "model.safetensors");
        Assert.Equal(0, CliProgram.Invoke("train", "--model", "improved", "--data", data, "--epochs", "1", "--device", "cpu", "--out", run,
            "--quiet"));
        foreach ((string file, string[] options) in new[] { ("folded.onnx", Array.Empty<string>()), ("kept.onnx", ["--keep-batch-norm"]) })
        {
            CliProgram.Result exported = CliProgram.Run(["export", "--weights", weights, "--onnx", folder[file], .. options]);
            Assert.Equal((0, ""), (exported.ExitCode, exported.Error));
            Assert.Equal(Evaluate(weights, "validation"), Evaluate(folder[file], "validation"));
            Assert.Equal(Predict(weights), Predict(folder[file]));
        }

        CliProgram.AssertRefused("is a folder", "export", "--weights", weights, "--onnx", folder.Path);
        CliProgram.AssertRefused("cannot be written", "export", "--weights", weights, "--onnx", folder["no/such/model.onnx"]);
        CliProgram.AssertRefused("no such file", "export", "--weights", folder["absent.safetensors"], "--onnx", folder["x.onnx"]);
        CliProgram.AssertRefused("no such file", "evaluate", "--weights", folder["absent.onnx"], "--data", data);
        CliProgram.AssertRefused("not an ONNX file", "evaluate", "--weights", folder.Write("short.onnx", "digits"), "--data", data);
        CliProgram.AssertRefused("is a Git LFS pointer", "evaluate", "--weights",
            folder.Write("pointer.onnx", "version https://git-lfs.github.com/spec/v1\n"), "--data", data);
        CliProgram.AssertRefused("--onnx", "export", "--weights", weights);

        string Evaluate(string file, string subset) => Printed("evaluate", "--weights", file, "--data", data, "--subset", subset);

        string Predict(string file)
        {
            Printed("predict", "--weights", file, "--data", data, "--out", folder["submission.csv"]);
            return File.ReadAllText(folder["submission.csv"]);
        }

        static string Printed(params string[] arguments)
        {
            CliProgram.Result result = CliProgram.Run([.. arguments, "--device", "cpu"]);
            Assert.Equal((0, ""), (result.ExitCode, result.Error));
            return result.Output;
        }
    }

    /// <summary>Puts a node before the first one.</summary>
    private static void Prepend(OnnxGraph graph, OnnxNode node)
    {
        node.Inputs.Add("images");
        node.Outputs.Add("first");
        graph.Nodes[0].Inputs[0] = "first";
        graph.Nodes.Insert(0, node);
    }

    /// <summary>Puts a node behind the logits, so that the graph gives what it gives.</summary>
    private static void Append(OnnxGraph graph, OnnxNode node)
    {
        node.Inputs.Add("logits");
        node.Outputs.Add("more");
        graph.Outputs[0] = "more";
        graph.Nodes.Add(node);
    }

    private static void EachProduct(OnnxGraph graph, Action<OnnxNode, OnnxTensor, int> change)
    {
        foreach ((int i, OnnxNode gemm) in graph.Nodes.Where(node => node.OpType == "Gemm").ToArray().Index())
        {
            change(gemm, graph.Initializers[gemm.Inputs[1]], i);
        }
    }

    private static OnnxTensor Turned(OnnxTensor tensor) => new(
        [tensor.Shape[1], tensor.Shape[0]], [.. Enumerable.Range(0, (int)tensor.Shape[1]).SelectMany(column =>
            Enumerable.Range(0, (int)tensor.Shape[0]).Select(row => tensor.Values[row * tensor.Shape[1] + column]))]);

    /// <summary>A field of a protocol buffer that holds bytes.</summary>
    private static byte[] Message(int field, byte[] content)
    {
        List<byte> length = [];
        for (int left = content.Length; length.Count == 0 || left > 0; left >>= 7)
        {
            length.Add((byte)(left & 127 | (left > 127 ? 128 : 0)));
        }

        return [(byte)(field << 3 | 2), .. length, .. content];
    }

    /// <summary>Weights whose batch norm does something: scales, shifts and statistics as a trained network's.</summary>
    private static NetworkWeights Weights(string name)
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Find(name)!, 3);
        Philox random = new(8);
        foreach (ParameterSlice slice in weights.Network.Parameters.Trained.Concat(weights.Network.Parameters.Statistics)
            .Where(slice => slice.Layer is BatchNorm2dLayer))
        {
            Span<float> values = weights.Slice(slice);
            for (int i = 0; i < values.Length; i++)
            {
                float uniform = (random.Block((uint)i, (uint)slice.Name[^1], 0, 0).Item1 >> 8) / (float)(1 << 24);
                values[i] = slice.Name.EndsWith(".running_var", StringComparison.Ordinal)
                    || slice.Name.EndsWith(".weight", StringComparison.Ordinal) ? 0.3f + uniform : uniform - 0.5f;
            }
        }

        return weights;
    }

    private static float[] OurLogits(NetworkWeights weights)
    {
        float[] logits = new float[Count * DigitDataset.Classes];
        using DigitClassifier classifier = new(weights, new ClassifierOptions { Device = "cpu" });
        classifier.Predict(Digits.Pixels, logits);
        return logits;
    }

    private static float[] Run(InferenceSession session, int batch)
    {
        float[] pixels = [.. Digits.Pixels[..(batch * DigitDataset.PixelCount)].ToArray().Select(pixel => pixel / 255f)];
        using RunOptions options = new();
        using OrtValue images = OrtValue.CreateTensorValueFromMemory(pixels, [batch, 1, DigitDataset.Side, DigitDataset.Side]);
        using IDisposableReadOnlyCollection<OrtValue> outputs = session.Run(options, ["images"], [images], ["logits"]);
        return outputs[0].GetTensorDataAsSpan<float>().ToArray();
    }

    private static double[] InDouble(ReadOnlySpan<float> values) => [.. values.ToArray().Select(value => (double)value)];
}
