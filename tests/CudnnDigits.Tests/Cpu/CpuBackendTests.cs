using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cpu;

/// <summary>The CPU backend against the reference network in double. docs/numerics.md says where the tolerances come from.</summary>
public class CpuBackendTests
{
    private const double Tolerance = 1e-5;

    public static TheoryData<int> VectorBits => [512, 256, 128];

    public static TheoryData<string> Networks => [.. DigitNetworks.Names];

    /// <summary>
    /// Shapes that no tile divides evenly, kernels of 1, 3 and 5, pooling that leaves rows over, batches that leave samples over.
    /// </summary>
    public static TheoryData<string, int> OddNetworks
    {
        get
        {
            TheoryData<string, int> data = [];
            foreach (string name in OddSpecs.Keys)
            {
                foreach (int bits in new[] { 512, 256, 128 })
                {
                    data.Add(name, bits);
                }
            }

            return data;
        }
    }

    private static Dictionary<string, Layer[]> OddSpecs { get; } = new()
    {
        ["5 channels, kernel 5, pool 3"] =
        [
            new Conv2dLayer("conv1", 1, 5, 5, 0, true), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 3),
            new FlattenLayer("flatten"), new LinearLayer("fc1", 320, 10),
        ],
        ["33 channels, kernel 1, batch norm, no pool"] =
        [
            new Conv2dLayer("conv1", 1, 33, 3, 2, false), new BatchNorm2dLayer("bn1", 33), new ReLULayer("relu1"),
            new MaxPool2dLayer("pool1", 4),
            new Conv2dLayer("conv2", 33, 7, 1, 0, false), new BatchNorm2dLayer("bn2", 7), new ReLULayer("relu2"),
            new FlattenLayer("flatten"), new LinearLayer("fc1", 343, 19), new ReLULayer("relu3"), new LinearLayer("fc2", 19, 10),
        ],
        ["three blocks"] =
        [
            new Conv2dLayer("conv1", 1, 8, 3, 1, false), new BatchNorm2dLayer("bn1", 8), new ReLULayer("relu1"),
            new MaxPool2dLayer("pool1", 2),
            new Conv2dLayer("conv2", 8, 20, 5, 2, true), new ReLULayer("relu2"), new MaxPool2dLayer("pool2", 3),
            new Conv2dLayer("conv3", 20, 16, 3, 1, false), new BatchNorm2dLayer("bn3", 16), new ReLULayer("relu3"),
            new FlattenLayer("flatten"), new LinearLayer("fc1", 256, 40), new ReLULayer("relu4"), new LinearLayer("fc2", 40, 33),
            new ReLULayer("relu5"),
            new LinearLayer("fc3", 33, 10),
        ],
    };

    [Theory]
    [MemberData(nameof(OddNetworks))]
    public void Gradients_of_odd_shapes_agree_with_the_reference(string name, int vectorBits)
    {
        NetworkSpec network = new("odd", new Shape(1, 28, 28), OddSpecs[name]);
        CompareSteps(network, vectorBits, batch: 5, steps: 1, compareWeights: false);
    }

    [Theory]
    [MemberData(nameof(VectorBits))]
    public void Simple_trains_as_the_reference_does(int vectorBits) => CompareSteps(DigitNetworks.Simple, vectorBits, batch: 6, steps: 3);

    [Theory]
    [MemberData(nameof(VectorBits))]
    public void Improved_trains_as_the_reference_does(int vectorBits) =>
        CompareSteps(DigitNetworks.Improved.WithDropout(0), vectorBits, batch: 3, steps: 2);

    [Theory]
    [MemberData(nameof(VectorBits))]
    public void Dropout_drops_the_words_that_it_should_and_its_gradient_follows(int vectorBits) =>
        CompareSteps(DigitNetworks.Improved, vectorBits, batch: 3, steps: 2);

    [Theory]
    [MemberData(nameof(VectorBits))]
    public void Mlp_trains_as_the_reference_does(int vectorBits) => CompareSteps(DigitNetworks.Mlp, vectorBits, batch: 6, steps: 3);

    [Theory]
    [MemberData(nameof(Networks))]
    public void Bits_do_not_depend_on_the_number_of_threads(string model)
    {
        float[] first = TrainedBits(model, threads: 1);
        foreach (int threads in new[] { 2, 3, 8 })
        {
            Assert.Equal(first, TrainedBits(model, threads));
        }
    }

    [Theory]
    [MemberData(nameof(Networks))]
    public void Bits_do_not_depend_on_the_vector_width_where_there_is_fma(string model)
    {
        Assert.SkipUnless(System.Runtime.Intrinsics.X86.Fma.IsSupported || System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported,
            "this machine has no fused multiply-add");
        float[] widest = TrainedBits(model, threads: 2, vectorBits: 512);
        Assert.Equal(widest, TrainedBits(model, threads: 2, vectorBits: 256));
        Assert.Equal(widest, TrainedBits(model, threads: 2, vectorBits: 128));
    }

    [Theory]
    [MemberData(nameof(Networks))]
    public void A_step_allocates_nothing(string model)
    {
        NetworkSpec network = DigitNetworks.Find(model)!;
        DigitDataset data = GeneratedDigits.Create(64);
        using ITrainingBackend backend =
            CpuDevice.Create(network, new BackendOptions(16, 0, AugmentationSpec.Standard, Threads: 2), CpuDevice.VectorBits);
        backend.Load(Initializer.Create(network, 0), new OptimizerState(network));
        backend.BeginEpoch(data, 0, [.. Enumerable.Range(0, 64)], default);
        float[] rates = [1e-3f, 1e-3f];
        Assert.Equal(0, Allocations.OfEveryCall(() => backend.RunSteps(0, rates)));

        int[] rows = [0, 1, 2];
        float[] logits = new float[30];
        Assert.Equal(0, Allocations.OfEveryCall(() => backend.Predict(data, rows, logits)));
    }

    /// <summary>Inference derives weights of its own, once; they must follow every step and every load.</summary>
    [Theory]
    [MemberData(nameof(Networks))]
    public void Predictions_follow_the_weights(string model)
    {
        NetworkSpec network = DigitNetworks.Find(model)!;
        DigitDataset data = GeneratedDigits.Create(32);
        int[] rows = [.. Enumerable.Range(0, 32)];
        NetworkWeights weights = Initializer.Create(network, 0);
        OptimizerState optimizer = new(network);
        float[] first = new float[320], trained = new float[320], again = new float[320];
        using ITrainingBackend backend = CpuDevice.Create(network, new BackendOptions(16, 0, AugmentationSpec.None), CpuDevice.VectorBits);
        backend.Load(weights, optimizer);
        backend.Predict(data, rows, first);
        backend.BeginEpoch(data, 0, rows, default);
        backend.RunSteps(0, [1e-3f, 1e-3f]);
        backend.Predict(data, rows, trained);
        Assert.NotEqual(first, trained);
        NetworkWeights after = new(network);
        backend.Save(after, new OptimizerState(network));

        backend.Load(weights, optimizer);
        backend.Predict(data, rows, again);
        Assert.Equal(first, again);
        backend.Load(after, optimizer);
        backend.Predict(data, rows, again);
        Assert.Equal(trained, again);
    }

    [Fact]
    public void Layer_times_add_up_to_the_workers_time()
    {
        NetworkSpec network = DigitNetworks.Improved;
        DigitDataset data = GeneratedDigits.Create(32);
        int[] rows = [.. Enumerable.Range(0, 32)];
        using ITrainingBackend backend =
            CpuDevice.Create(network, new BackendOptions(16, 0, AugmentationSpec.Standard, Threads: 2) { LayerTimes = true },
            CpuDevice.VectorBits);
        ILayerTimes clock = (ILayerTimes)backend;
        backend.Load(Initializer.Create(network, 0), new OptimizerState(network));
        backend.BeginEpoch(data, 0, rows, default);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        backend.RunSteps(0, [1e-3f, 1e-3f]);
        backend.Predict(data, rows, new float[320]);
        double wall = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;

        IReadOnlyList<LayerTime> times = clock.ReadLayerTimes();
        Assert.All(times, time => Assert.True(time.Seconds >= -1e-4, $"{time}"));
        Assert.InRange(times.Sum(time => time.Seconds), 0, 2 * wall);
        double multiplyAdds = 28 * 28 * 9 * (32 + 32 * 32) + 14 * 14 * 9 * (32 * 64 + 64 * 64) + 3136 * 256 + 2560; // of one digit, forward
        Assert.InRange(times.Where(time => time.Inference).Sum(time => time.Flops), 2 * 32 * multiplyAdds, 2 * 32 * multiplyAdds * 1.02);
        Assert.InRange(times.Where(time => !time.Inference).Sum(time => time.Flops), 5.9 * 32 * multiplyAdds, 6 * 32 * multiplyAdds * 1.04);
        Assert.All(clock.ReadLayerTimes(), time => Assert.Equal(0, time.Flops));
        Ceilings ceilings = clock.MeasureCeilings();
        Assert.True(ceilings.FlopsPerSecond > 1e9 && ceilings.BytesPerSecond > 1e8, $"{ceilings}");
    }

    private static float[] TrainedBits(string model, int threads, int? vectorBits = null) => BackendTests.TrainedBits(
        CpuDevice.Create(DigitNetworks.Find(model)!, new BackendOptions(16, 1, AugmentationSpec.Standard, threads), vectorBits
            ?? CpuDevice.VectorBits));

    private static void CompareSteps(NetworkSpec network, int vectorBits, int batch, int steps, bool compareWeights = true)
    {
        DigitDataset data = GeneratedDigits.Create(batch, seed: 4);
        double[] images = Compare.Images(data, batch);
        byte[] labels = data.Labels.ToArray();
        NetworkWeights weights = Initializer.Create(network, 9);
        OptimizerState optimizer = new(network);
        ReferenceNetwork reference = new(weights, seed: 6);
        using ITrainingBackend backend =
            CpuDevice.Create(network, new BackendOptions(batch, 6, AugmentationSpec.None, Threads: 2), vectorBits);
        backend.Load(weights, optimizer);
        NetworkWeights gradients = new(network);
        float[] logits = new float[batch * 10];
        for (int step = 0; step < steps; step++)
        {
            backend.BeginEpoch(data, step, [.. Enumerable.Range(0, batch)], default);
            backend.RunSteps(0, [1e-3f]);
            double expected = reference.ForwardBackward(images, labels);
            Assert.InRange(backend.ReadSums().Loss / batch, expected * (1 - 1e-4), expected * (1 + 1e-4));
            if (step == 0)
            {
                ((IStepInspector)backend).SaveGradients(gradients.Trained);
                ((IStepInspector)backend).SaveLogits(logits);
                Compare.Close(logits, reference.Logits, Tolerance, "logits");
                foreach (ParameterSlice slice in network.Parameters.Trained)
                {
                    Compare.Close(gradients.Slice(slice), reference.Gradients[slice.Name], Tolerance, $"gradient of {slice.Name}");
                }
            }

            reference.Adam(1e-3);
        }

        if (!compareWeights)
        {
            return; // where a bias has no effect, Adam's first step follows the sign of a rounding error
        }

        backend.Save(weights, optimizer);
        foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
        {
            Compare.Close(weights.Slice(slice), reference.Parameters[slice.Name], 1e-3, slice.Name);
        }

        backend.Predict(data, [.. Enumerable.Range(0, batch)], logits);
        Compare.Close(logits, reference.Predict(images), 1e-3, "logits after training");
    }
}
