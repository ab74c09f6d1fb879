namespace CudnnDigits.Tests.Reference;

/// <summary>
/// Odd members of the family of networks that backends run, which the program has never seen, and what holds for each of them on
/// every backend. A test of a backend gives the function that creates it.
/// </summary>
internal static class UnseenNetwork
{
    private const int Batch = 20, Digits = 3 * Batch + 7; // the last step of an epoch has 7 digits

    private const ulong Seed = 6;

    private static readonly Shape Digit = new(1, 28, 28);

    /// <summary>Widths and kernels that nothing divides, with and without each optional layer, by what is odd about each network.</summary>
    public static IReadOnlyDictionary<string, NetworkSpec> All { get; } = new NetworkSpec[]
    {
        new("softmax regression", Digit, [new FlattenLayer("flatten"), new LinearLayer("fc1", 784, 10)]),
        new("three hidden layers", Digit,
        [
            new FlattenLayer("flatten"),
            new LinearLayer("in", 784, 50), new ReLULayer("relu1"),
            new LinearLayer("middle", 50, 33), new ReLULayer("relu2"), new DropoutLayer("drop1", 0.25),
            new LinearLayer("narrow", 33, 21), new ReLULayer("relu3"), new DropoutLayer("drop2", 0.1),
            new LinearLayer("out", 21, 10),
        ]),
        new("convolution to logits", Digit,
        [
            new Conv2dLayer("conv1", 1, 4, Kernel: 7, Padding: 0, Bias: true), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 3),
            new DropoutLayer("drop1", 0.1),
            new FlattenLayer("flatten"), new LinearLayer("fc1", 196, 10),
        ]),
        new("convolutions and two hidden layers", Digit,
        [
            new Conv2dLayer("conv1", 1, 6, Kernel: 5, Padding: 2, Bias: true), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 2),
            new DropoutLayer("drop1", 0.1),
            new Conv2dLayer("conv2", 6, 9, Kernel: 3, Padding: 0, Bias: false), new BatchNorm2dLayer("bn2", 9), new ReLULayer("relu2"),
            new FlattenLayer("flatten"),
            new LinearLayer("fc1", 1296, 37), new ReLULayer("relu3"), new DropoutLayer("drop2", 0.3),
            new LinearLayer("fc2", 37, 23), new ReLULayer("relu4"),
            new LinearLayer("fc3", 23, 10),
        ]),
    }.ToDictionary(network => network.Name);

    /// <summary>For theories: the name of each network.</summary>
    public static TheoryData<string> Names => [.. All.Keys];

    /// <summary>Logits and gradients of one step, dropout on, are those of the reference network in double.</summary>
    /// <param name="network">The network.</param>
    /// <param name="create">Creates a backend for it.</param>
    /// <param name="tolerance">Relative L2 distance of each tensor.</param>
    public static void GradientsAgreeWithTheReference(NetworkSpec network, Func<BackendOptions, ITrainingBackend> create, double tolerance)
    {
        DigitDataset data = GeneratedDigits.Create(Batch, seed: 4);
        TrainingState state = new(Initializer.Create(network, 9));
        ReferenceNetwork reference = new(state.Weights, Seed);
        using ITrainingBackend backend = create(Options(AugmentationSpec.None));
        backend.Load(state.Weights, state.Optimizer);
        backend.BeginEpoch(data, 0, [.. Enumerable.Range(0, Batch)], default);
        backend.RunSteps(0, [1e-3f]);

        double loss = reference.ForwardBackward(Compare.Images(data, Batch), data.Labels.ToArray());
        Assert.InRange(backend.ReadSums().Loss / Batch, loss * (1 - 1e-4), loss * (1 + 1e-4));
        float[] logits = new float[Batch * DigitDataset.Classes];
        ((IStepInspector)backend).SaveLogits(logits);
        Compare.Close(logits, reference.Logits, tolerance, "logits");
        NetworkWeights gradients = new(network);
        ((IStepInspector)backend).SaveGradients(gradients.Trained);
        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            Compare.Close(gradients.Slice(slice), reference.Gradients[slice.Name], tolerance, $"gradient of {slice.Name}");
        }
    }

    /// <summary>Some epochs of training halve the loss.</summary>
    /// <param name="network">The network.</param>
    /// <param name="create">Creates a backend for it.</param>
    public static void LossFalls(NetworkSpec network, Func<BackendOptions, ITrainingBackend> create)
    {
        using ITrainingBackend backend = create(Options(AugmentationSpec.None));
        TrainingState state = new(Initializer.Create(network, 1));
        backend.Load(state.Weights, state.Optimizer);
        double[] losses = [.. Enumerable.Range(0, 20).Select(epoch => RunSteps(backend, epoch, 0, 4).Loss)];
        Assert.True(losses[^1] < losses[0] / 2, string.Join(", ", losses));
    }

    /// <summary>
    /// A run that is stopped within an epoch, kept in a file and taken up by another backend ends in the bits of one that is not stopped.
    /// </summary>
    /// <param name="network">The network.</param>
    /// <param name="create">Creates a backend for it, which must be deterministic.</param>
    public static void AStoppedRunResumesToTheSameBits(NetworkSpec network, Func<BackendOptions, ITrainingBackend> create)
    {
        float[] whole = TrainedBits(network, create);
        using TemporaryFolder folder = new();
        TrainingState state = new(Initializer.Create(network, 1));
        using (ITrainingBackend backend = create(Options(AugmentationSpec.Standard)))
        {
            backend.Load(state.Weights, state.Optimizer);
            state.Sums = RunSteps(backend, 0, 0, 2);
            state.StepInEpoch = 2;
            backend.Save(state.Weights, state.Optimizer);
        }

        string file = folder["last.safetensors"];
        Checkpoint.SaveState(file, state);
        state = Checkpoint.LoadState(file, network);
        using ITrainingBackend other = create(Options(AugmentationSpec.Standard));
        other.Load(state.Weights, state.Optimizer);
        RunSteps(other, 0, state.StepInEpoch, 2, state.Sums);
        Assert.Equal(whole, Bits(other, state, RunSteps(other, 1, 0, 4)));
    }

    /// <summary>Weights, statistics, optimizer, logits and loss after two epochs with augmentation and dropout.</summary>
    /// <param name="network">The network.</param>
    /// <param name="create">Creates a backend for it.</param>
    public static float[] TrainedBits(NetworkSpec network, Func<BackendOptions, ITrainingBackend> create)
    {
        using ITrainingBackend backend = create(Options(AugmentationSpec.Standard));
        TrainingState state = new(Initializer.Create(network, 1));
        backend.Load(state.Weights, state.Optimizer);
        RunSteps(backend, 0, 0, 4);
        return Bits(backend, state, RunSteps(backend, 1, 0, 4));
    }

    private static BackendOptions Options(AugmentationSpec augmentation) =>
        new(Batch, Seed, augmentation) { Precision = Precision.Fp32, Deterministic = true };

    private static EpochSums RunSteps(ITrainingBackend backend, int epoch, int first, int steps, EpochSums sums = default)
    {
        DigitDataset data = GeneratedDigits.Create(Digits, seed: 2);
        backend.BeginEpoch(data, epoch, EpochOrder.Create([.. Enumerable.Range(0, Digits)], 1, epoch, shuffle: true), sums);
        backend.RunSteps(first, [.. Enumerable.Repeat(3e-3f, steps)]);
        return backend.ReadSums();
    }

    private static float[] Bits(ITrainingBackend backend, TrainingState state, EpochSums sums)
    {
        float[] logits = new float[Digits * DigitDataset.Classes];
        backend.Predict(GeneratedDigits.Create(Digits, seed: 2), [.. Enumerable.Range(0, Digits)], logits);
        backend.Save(state.Weights, state.Optimizer);
        return [.. state.Weights.Trained, .. state.Weights.Statistics, .. state.Optimizer.Buffers[0], .. state.Optimizer.Buffers[1],
            .. logits, (float)sums.Loss];
    }
}
