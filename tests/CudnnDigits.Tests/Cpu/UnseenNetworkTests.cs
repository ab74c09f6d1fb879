using CudnnDigits.Cli.Exchange;
using CudnnDigits.Cpu;
using Microsoft.ML.OnnxRuntime;

namespace CudnnDigits.Tests.Cpu;

/// <summary>A network that is declared here, and nowhere in the program, trains on the CPU and travels through every file format.</summary>
public sealed class UnseenNetworkTests : TestsWithFolder
{
    public static TheoryData<string> Names => UnseenNetwork.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public void Its_gradients_agree_with_the_reference_in_double(string name)
    {
        foreach (int bits in new[] { 512, 256, 128 })
        {
            UnseenNetwork.GradientsAgreeWithTheReference(UnseenNetwork.All[name],
                options => CpuDevice.Create(UnseenNetwork.All[name], options, bits), tolerance: 1e-5);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Its_loss_falls(string name) => UnseenNetwork.LossFalls(UnseenNetwork.All[name], Create(name));

    [Theory]
    [MemberData(nameof(Names))]
    public void A_stopped_run_of_it_resumes_to_the_same_bits(string name) =>
        UnseenNetwork.AStoppedRunResumesToTheSameBits(UnseenNetwork.All[name], Create(name));

    [Theory]
    [MemberData(nameof(Names))]
    public void Its_bits_do_not_depend_on_the_number_of_threads(string name)
    {
        float[] first = UnseenNetwork.TrainedBits(UnseenNetwork.All[name], Create(name, threads: 1));
        Assert.Equal(first, UnseenNetwork.TrainedBits(UnseenNetwork.All[name], Create(name, threads: 2)));
        Assert.Equal(first, UnseenNetwork.TrainedBits(UnseenNetwork.All[name], Create(name, threads: 3)));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void It_travels_through_safetensors_and_ONNX(string name)
    {
        NetworkWeights weights = Initializer.Create(UnseenNetwork.All[name], 5);
        Checkpoint.SaveWeights(_folder["w"], weights, steps: 3);
        Assert.Equal(weights.Trained, Checkpoint.LoadWeights(_folder["w"], weights.Network).Weights.Trained);

        const int Count = 40;
        DigitDataset digits = GeneratedDigits.Create(Count, seed: 9);
        float[] images = [.. digits.Pixels.ToArray().Select(pixel => pixel / 255f)];
        using DigitClassifier classifier = new(weights, new ClassifierOptions { Device = "cpu" });
        float[] expected = new float[Count * DigitDataset.Classes];
        classifier.Predict(images, expected);
        foreach (bool keepBatchNorm in new[] { true, false })
        {
            byte[] model = OnnxWriter.Write(weights, keepBatchNorm);
            using InferenceSession session = new(model);
            using OrtValue input = OrtValue.CreateTensorValueFromMemory(images, [Count, 1, DigitDataset.Side, DigitDataset.Side]);
            using IDisposableReadOnlyCollection<OrtValue> outputs = session.Run(new RunOptions(), ["images"], [input], ["logits"]);
            Compare.Close(expected, Array.ConvertAll(outputs[0].GetTensorDataAsSpan<float>().ToArray(), value => (double)value), 1e-5,
                "logits");
            NetworkWeights back = OnnxReader.Find("a model", OnnxGraph.Parse("a model", model), weights.Network).Weights;
            Assert.Equal(weights[weights.Network.Parameters.Trained[^1].Name], back[weights.Network.Parameters.Trained[^1].Name]);
        }
    }

    /// <summary>What is no member of the family, and would train on something else than its layers say, is refused.</summary>
    [Fact]
    public void A_network_outside_the_family_is_refused()
    {
        Refused("no flatten", new LinearLayer("fc1", 784, 10));
        Refused("two linear layers in a row", new FlattenLayer("flatten"), new LinearLayer("fc1", 784, 20), new LinearLayer("fc2", 20, 10));
        Refused("a ReLU at the end", new FlattenLayer("flatten"), new LinearLayer("fc1", 784, 10), new ReLULayer("relu1"));
        Refused("no linear layer", new FlattenLayer("flatten"));
        Refused("eleven logits", new FlattenLayer("flatten"), new LinearLayer("fc1", 784, 11));
        Refused("a convolution without ReLU", new Conv2dLayer("conv1", 1, 4, 3, 1, Bias: true), new FlattenLayer("flatten"),
            new LinearLayer("fc1", 3136, 10));
        Refused(
            "a convolution with neither bias nor batch norm",
            new Conv2dLayer("conv1", 1, 4, 3, 1, Bias: false), new ReLULayer("relu1"), new FlattenLayer("flatten"),
            new LinearLayer("fc1", 3136, 10));

        static void Refused(string what, params Layer[] layers)
        {
            Shape input = layers[0] is LinearLayer ? new(784, 1, 1) : new(1, 28, 28);
            NotSupportedException e = Assert.Throws<NotSupportedException>(() => new BlockPlan(new NetworkSpec("odd", input, layers)));
            Assert.True(e.Message.StartsWith("network 'odd': backends run (conv ", StringComparison.Ordinal), what);
        }
    }

    private static Func<BackendOptions, ITrainingBackend> Create(string name, int threads = 2) =>
        options => CpuDevice.Create(UnseenNetwork.All[name], options with { Threads = threads }, CpuDevice.VectorBits);
}
