using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests.Files;

/// <summary>Weights as people have them: from PyTorch's wrappers, in other types, of other networks, in other formats.</summary>
public sealed class WeightsFromElsewhereTests : TestsWithFolder
{
    [Theory]
    [InlineData("simple", "")]
    [InlineData("simple", "module.")] // DataParallel
    [InlineData("simple", "net.")]
    [InlineData("improved", "_orig_mod.")] // torch.compile
    [InlineData("improved", "module._orig_mod.")]
    [InlineData("improved", "model._orig_mod.module.")]
    [InlineData("improved", "a network/")]
    public void A_prefix_that_all_names_share_is_taken_off_and_the_logits_are_PyTorchs(string model, string prefix)
    {
        Golden golden = Golden.Load(model);
        List<ForeignTensor> tensors = SafeTensorsFiles.Of(Final(golden));
        tensors.Add(new ForeignTensor("n_averaged", "I64", [], [3])); // AveragedModel counts beside the module
        Compare.Close(Logits(
            Write(tensors.Select(tensor => tensor.Name == "n_averaged" ? tensor : tensor with { Name = prefix + tensor.Name })), golden),
            golden.File.Doubles("final.logits_eval"), 1e-5, "logits");
    }

    [Theory]
    [InlineData("simple", "F64", 1e-5)]
    [InlineData("improved", "F16", 3e-3)]
    [InlineData("improved", "BF16", 3e-2)]
    public void Other_types_of_numbers_are_converted(string model, string type, double tolerance)
    {
        Golden golden = Golden.Load(model);
        NetworkWeights weights = Final(golden);
        string file = Write(SafeTensorsFiles.Of(weights, type));
        Compare.Close(Logits(file, golden), golden.File.Doubles("final.logits_eval"), tolerance, "logits");
        Assert.Equal(Array.ConvertAll(weights.Trained, Rounded), Checkpoint.LoadWeights(file).Weights.Trained);

        float Rounded(float value) => type switch
        {
            "F16" => (float)(Half)value,
            "BF16" => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0xffff0000),
            _ => value,
        };
    }

    public static TheoryData<string, string, string> Changes => new()
    {
        { "simple", "-fc2.bias", "holds no whole network simple: tensor fc2.bias (10) is missing" },
        { "improved", "-bn2.running_var", "holds no whole network improved: tensor bn2.running_var (32) is missing" },
        { "improved", "+conv5.weight 64,64,3,3", "holds conv5.weight (64, 64, 3, 3), which the network improved does not have" },
        { "improved", "+conv1.bias 32", "holds conv1.bias (32), which the network improved does not have" },
        { "improved", "+ema.fc2.bias 10", "holds ema.fc2.bias (10), which the network improved does not have" },
        { "simple", "fc1.weight=1600,128", "tensor fc1.weight has shape (1600, 128), expected (128, 1600) in the network simple; that is "
            + "the layout of Keras and JAX: save fc1.weight as array.T" },
        { "simple", "fc2.weight=128,10", "save fc2.weight as array.T" },
        { "improved", "conv3.weight=3,3,32,64", "expected (64, 32, 3, 3) in the network improved; that is the layout of Keras and JAX: "
            + "save conv3.weight as array.transpose(3, 2, 0, 1)" },
        { "improved", "fc1.weight=256,3137",
            "tensor fc1.weight has shape (256, 3137), expected (256, 3136) in the network improved; these are another network's weights" },
        { "improved", "fc2.bias>fc3.bias",
            "tensor fc2.bias (10) is missing, and it holds fc3.bias (10) besides; docs/weights.md lists the names and shapes" },
        { "simple", "module.-fc2.bias", "tensor module.fc2.bias (10) is missing" },
    };

    [Theory]
    [MemberData(nameof(Changes))]
    public void A_tensor_that_is_missing_too_many_or_misshapen_is_named_with_what_is_expected(string model, string change, string says)
    {
        ArgumentNullException.ThrowIfNull(change);
        List<ForeignTensor> tensors = SafeTensorsFiles.Of(Initializer.Create(DigitNetworks.Find(model)!, 1));
        if (change.StartsWith("module.", StringComparison.Ordinal))
        {
            change = change["module.".Length..];
            tensors = [.. tensors.Select(tensor => tensor with { Name = $"module.{tensor.Name}" })];
        }

        int At(string name) => tensors.FindIndex(tensor => tensor.Name.EndsWith(name, StringComparison.Ordinal));
        switch (change)
        {
            case ['-', ..]: tensors.RemoveAt(At(change[1..])); break;
            case ['+', ..]: tensors.Add(Zeros(change[1..].Split(' ')[0], change.Split(' ')[1])); break;
            case var _ when change.Split('>') is [string from, string to]: tensors[At(from)] = tensors[At(from)] with { Name = to }; break;
            default: tensors[At(change.Split('=')[0])] = Zeros(change.Split('=')[0], change.Split('=')[1]); break;
        }

        DataSourceTests.AssertRefused(says, () => Checkpoint.LoadWeights(Write(tensors)));
    }

    [Fact]
    public void Another_network_than_the_one_that_is_asked_for_is_called_by_its_name()
    {
        string simple = Write(SafeTensorsFiles.Of(Initializer.Create(DigitNetworks.Simple, 1)));
        DataSourceTests.AssertRefused("holds the network simple, expected improved",
            () => Checkpoint.LoadWeights(simple, DigitNetworks.Improved));
        DataSourceTests.AssertRefused(
            $"are those of no network of this program ({string.Join(", ", DigitNetworks.Names)}): found layers.0.kernel (3, 3), "
                + "expected such as conv1.weight (32, 1, 3, 3)", () => Checkpoint.LoadWeights(Write([Zeros("layers.0.kernel", "3,3")])));
        DataSourceTests.AssertRefused("found none", () => Checkpoint.LoadWeights(Write([])));
    }

    [Fact]
    public void The_state_of_a_run_holds_weights_too()
    {
        TrainingState state = new(Initializer.Create(DigitNetworks.Improved, 2));
        Checkpoint.SaveState(_folder["last.safetensors"], state);
        Assert.Equal(state.Weights.Trained, Checkpoint.LoadWeights(_folder["last.safetensors"]).Weights.Trained);
    }

    private static readonly byte[] TorchMagic =
        [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80, 0x02, 0x4d, 0xe9, 0x03, 0x2e];

    private const string SaveNet = "safetensors.torch.save_file(torch.load(\"model.pt\"), \"model.safetensors\")";

    /// <summary>Files of other formats, what is said of them, and of how to make safetensors of them.</summary>
    private static readonly Dictionary<string, (byte[] File, string Says, string How)> Formats = new()
    {
        ["torch.save"] = (DigitFiles.Zip(("archive/data.pkl", [0x80, 2]), ("archive/byteorder", "little"u8.ToArray()),
            ("archive/data/0", new byte[64]), ("archive/version", "3"u8.ToArray())), "is a PyTorch file; save its weights as safetensors",
            SaveNet),
        ["torch.save, list in another order"] =
            (DigitFiles.Zip(("net/version", "3"u8.ToArray()), ("net/data/0", new byte[64]), ("net/data.pkl", [0x80, 2])),
            "is a PyTorch file;", SaveNet),
        ["torch.save before 1.6"] = (TorchMagic, "is a PyTorch file, as torch.save wrote it before version 1.6", SaveNet),
        ["torch.save before 1.6, protocol 4"] =
            ([0x80, 0x04, 0x95, 0x0d, 0, 0, 0, 0, 0, 0, 0, .. TorchMagic[2..]],
            "is a PyTorch file, as torch.save wrote it before version 1.6", SaveNet),
        ["torch.jit.save"] = (
            DigitFiles.Zip(("net/code/__torch__.py", "class"u8.ToArray()), ("net/data.pkl", [0x80, 2]), ("net/constants.pkl", [0x80, 2])),
            "is a TorchScript file", "safetensors.torch.save_file(torch.jit.load(\"model.pt\").state_dict(), \"model.safetensors\")"),
        ["pickle"] = ([0x80, 0x04, 0x95, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x7d, 0x94, 0x2e], "is a Python pickle", SaveNet),
        ["HDF5"] = ([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0, 0, 8, 8, 0], "is a Keras file",
            "safetensors.numpy.save_file({\"conv1.weight\": net.get_layer(\"conv1\").get_weights()[0].transpose(3, 2, 0, 1)"),
        ["keras"] = (DigitFiles.Zip(("metadata.json", "{}"u8.ToArray()), ("config.json", "{}"u8.ToArray()), ("model.weights.h5", [0x89])),
            "is a Keras file", "docs/weights.md"),
        ["npz"] = (DigitFiles.Zip(("conv1.weight.npy", [0x93]), ("conv1.bias.npy", [0x93])), "is a NumPy archive",
            "safetensors.numpy.save_file(dict(numpy.load(\"model.npz\")), \"model.safetensors\")"),
        ["npy"] = ([0x93, .. "NUMPY\x01\0v\0{'descr'"u8], "is a single NumPy array", "safetensors.numpy.save_file("),
        ["zip"] = (DigitFiles.Zip(("readme.txt", [1])), "is a zip file; if it contains a .safetensors file, unpack it", ""),
        ["gzip"] = (DigitFiles.Gzip(new byte[100]), "is packed by gzip", "gunzip"),
        ["LFS"] = ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 900376\n"u8.ToArray(), "is a Git LFS pointer",
            "git lfs pull"),
        ["HTML"] = ("\n<!DOCTYPE html>\n<html><head><title>model.safetensors</title>"u8[1..].ToArray(), "is a web page", ""),
        ["HTML with a mark"] = ("\uFEFF\n <html><head>"u8.ToArray(), "is a web page", ""),
        ["HTML in another script"] = ("<!DOCTYPE html><html lang=ru><title>Скачать</title>"u8.ToArray(), "is a web page", ""),
        ["nothing"] = ([], "is empty; give a .safetensors file", ""),
        ["GGUF"] = ([.. "GGUF"u8, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0], "is a file of llama.cpp or TensorFlow Lite", "give a .safetensors"),
        ["noise"] = ([1, 2, 3, 4, 5, 6, 7, 8, 9], "not a safetensors file: it claims a header of", "give another file"),
        ["PNG"] = ([0x89, .. "PNG\r\n"u8, 0x1a, 0x0a, .. new byte[40]], "not a safetensors file: it is a PNG picture", ""),
        ["CSV"] = ("label,pixel0,pixel1\n"u8.ToArray(), "not a safetensors file: it is text that begins with 'label,pixel0,pix…'", ""),
        ["ONNX"] = ([0x08, 0x08, 0x12, 0x07, .. "pytorch"u8, 0x3a, 0x00], "is an ONNX model", ""),
    };

    public static TheoryData<string> FormatNames => [.. Formats.Keys];

    [Theory]
    [MemberData(nameof(FormatNames))]
    public void Other_formats_are_called_by_their_name_and_the_way_to_safetensors_is_said(string format)
    {
        (byte[] bytes, string says, string how) = Formats[format];
        foreach (string name in new[] { "weights.pt", "model.safetensors" }) // whatever it is called
        {
            string path = _folder.Write(name, bytes);
            foreach (Action load in new Action[] { () => Checkpoint.LoadWeights(path), () => DigitClassifier.Load(path),
                () => Checkpoint.LoadState(path, DigitNetworks.Simple) })
            {
                string message = Assert.Throws<InputException>(load).Message;
                Assert.StartsWith($"{path}: {says}", message, StringComparison.Ordinal);
                Assert.Contains(how, message, StringComparison.Ordinal);
            }
        }
    }

    [Theory]
    [InlineData("torch.save", "is a PyTorch file")]
    [InlineData("torch.jit.save", "is a TorchScript file")]
    [InlineData("npz", "is a NumPy archive")]
    public async Task What_comes_through_a_pipe_is_recognised_as_well(string format, string says)
    {
        string pipe = FileNodes.Fifo(_folder["pipe"]);
        Task write = Task.Run(() => File.WriteAllBytes(pipe, Formats[format].File),
            TestContext.Current.CancellationToken); // opening it waits for a reader
        DataSourceTests.AssertRefused(says, () => Checkpoint.LoadWeights(pipe));
        await write;
    }

    [Fact]
    public void A_zip_file_that_is_cut_off_is_still_recognised()
    {
        byte[] whole = Formats["torch.save"].File;
        DataSourceTests.AssertRefused("is a PyTorch file", () => Checkpoint.LoadWeights(_folder.Write("cut.pt", whole[..^30])));
        DataSourceTests.AssertRefused("is a zip file", () => Checkpoint.LoadWeights(_folder.Write("stump.pt", whole[..20])));
    }

    [Fact]
    public void A_safetensors_file_whose_length_begins_like_another_format_is_read()
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 1);
        byte[] good = SafeTensorsFiles.Bytes(SafeTensorsFiles.Of(weights));
        int header = (int)BitConverter.ToInt64(good);
        foreach (int length in new[] { 0x0280, 0x1208, 0x8b1f }) // a pickle's first bytes, those of ONNX, those of gzip
        {
            int padded = length;
            while (padded < header)
            {
                padded += 0x10000;
            }

            byte[] bytes = [.. BitConverter.GetBytes((long)padded), .. good[8..(8 + header)],
                .. Encoding.ASCII.GetBytes(new string(' ', padded - header)), .. good[(8 + header)..]];
            Assert.Equal(weights.Trained, Checkpoint.LoadWeights(_folder.Write("file", bytes)).Weights.Trained);
        }
    }

    [Fact]
    public void The_folder_of_a_run_stands_for_its_kept_weights()
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 1);
        string study = _folder.Make("study");
        foreach (string run in new[] { "fold-1", "fold-2" })
        {
            Directory.CreateDirectory(Path.Combine(study, run));
            Checkpoint.SaveWeights(Path.Combine(study, run, "model.safetensors"), weights, 1);
        }

        string first = Path.Combine(study, "fold-1"), empty = _folder.Make("empty"), fresh = _folder.Make("fresh");
        Assert.Equal(weights.Trained, Checkpoint.LoadWeights(first).Weights.Trained);
        Assert.Equal(weights.Trained, Checkpoint.LoadWeights(first + "/").Weights.Trained);
        using (DigitClassifier classifier = DigitClassifier.Load(first, new ClassifierOptions { Device = "cpu" }))
        {
            Assert.Equal("simple", classifier.Network.Name);
        }

        File.WriteAllText(Path.Combine(fresh, "run.json"), "{}");
        DataSourceTests.AssertRefused($"{study}: is a folder of 2 runs; give one of them: {first}, {Path.Combine(study, "fold-2")}",
            () => Checkpoint.LoadWeights(study));
        DataSourceTests.AssertRefused($"{empty}: is a folder, but not a run's: it has no model.safetensors",
            () => Checkpoint.LoadWeights(empty));
        DataSourceTests.AssertRefused(
            "is a folder of a run that has kept no weights yet (no model.safetensors); wait for its first epoch, or go on",
            () => Checkpoint.LoadWeights(fresh));
        Directory.Delete(Path.Combine(study, "fold-2"), recursive: true);
        DataSourceTests.AssertRefused($"{study}: is a folder of one run; give that: {first}", () => Checkpoint.LoadWeights(study));
    }

    /// <summary>The shipped case: any model.safetensors, each name with something before it.</summary>
    [Fact]
    public void Nothing_is_taken_off_that_some_names_do_not_have()
    {
        List<ForeignTensor> tensors = SafeTensorsFiles.Of(Initializer.Create(DigitNetworks.Simple, 1));
        tensors[0] = tensors[0] with { Name = $"module.{tensors[0].Name}" };
        DataSourceTests.AssertRefused(
            "tensor conv1.weight (32, 1, 3, 3) is missing, and it holds module.conv1.weight (32, 1, 3, 3) besides",
            () => Checkpoint.LoadWeights(Write(tensors)));
    }

    /// <summary>Checkpoints of trainers hold more than the network, under other prefixes.</summary>
    [Theory]
    [InlineData("optimizer.step", "holds optimizer.step (3), which the network simple does not have")]
    [InlineData("model_ema.fc2.bias", "holds model_ema.fc2.bias (3), which the network simple does not have")]
    [InlineData("model.fc9.bias", "holds model.fc9.bias (3), which the network simple does not have")]
    public void What_is_more_than_a_network_whose_names_have_a_prefix_is_named(string more, string says)
    {
        IEnumerable<ForeignTensor> tensors = SafeTensorsFiles.Of(Initializer.Create(DigitNetworks.Simple, 1))
            .Select(tensor => tensor with { Name = $"model.{tensor.Name}" });
        DataSourceTests.AssertRefused(says, () => Checkpoint.LoadWeights(Write([Zeros(more, "3"), .. tensors])));
    }

    private static ForeignTensor Zeros(string name, string shape)
    {
        int[] sizes = [.. shape.Split(',').Select(int.Parse)];
        return new ForeignTensor(name, "F32", sizes, new double[sizes.Aggregate(1, (a, b) => a * b)]);
    }

    private static NetworkWeights Final(Golden golden)
    {
        NetworkWeights weights = new(golden.Start.Network);
        foreach (ParameterSlice slice in weights.Network.Parameters.Trained.Concat(weights.Network.Parameters.Statistics))
        {
            golden.File.Floats($"final.{slice.Name}").CopyTo(weights.Slice(slice));
        }

        return weights;
    }

    private static float[] Logits(string file, Golden golden)
    {
        float[] logits = new float[golden.Data.Count * DigitDataset.Classes];
        using DigitClassifier classifier = DigitClassifier.Load(file, new ClassifierOptions { Device = "cpu" });
        classifier.Predict(golden.Data.Pixels, logits);
        return logits;
    }

    private string Write(IEnumerable<ForeignTensor> tensors) => _folder.Write("weights.safetensors", SafeTensorsFiles.Bytes(tensors));
}
