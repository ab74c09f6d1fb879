using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CudnnDigits.Cpu;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Whole steps: against the CPU backend from the same seed, and against themselves bit by bit.</summary>
public class StepTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(400, seed: 11), Fewer = GeneratedDigits.Create(30, seed: 11);

    /// <summary>Shapes that are no multiple of anything, kernels of 1, 3 and 5, pooling that leaves rows over.</summary>
    private static readonly NetworkSpec Odd = new("odd", new Shape(1, 28, 28),
    [
        new Conv2dLayer("conv1", 1, 9, 5, 2, false), new BatchNorm2dLayer("bn1", 9), new ReLULayer("relu1"), new DropoutLayer("drop1", 0.1),
        new Conv2dLayer("conv2", 9, 7, 3, 0, true), new ReLULayer("relu2"), new MaxPool2dLayer("pool2", 3), new DropoutLayer("drop2", 0.2),
        new Conv2dLayer("conv3", 7, 21, 1, 0, false), new BatchNorm2dLayer("bn3", 21), new ReLULayer("relu3"), new MaxPool2dLayer("pool3", 2),
        new FlattenLayer("flatten"), new LinearLayer("fc1", 336, 36), new ReLULayer("relu4"), new DropoutLayer("drop3", 0.3), new LinearLayer("fc2", 36, 10),
    ]);

    public static TheoryData<string, string> Networks
    {
        get
        {
            TheoryData<string, string> data = [];
            foreach (string name in new[] { "simple", "improved", "odd" })
            {
                data.Add(name, "cudnn");
                data.Add(name, "hybrid");
            }

            return data;
        }
    }

    private static NetworkSpec Find(string name) => DigitNetworks.Find(name) ?? Odd;

    private static BackendOptions Options(int batch, Precision precision = Precision.Fp32, bool graph = true) =>
        new(batch, 3, AugmentationSpec.Standard) { Precision = precision, CudaGraph = graph, Deterministic = true };

    /// <summary>
    /// Two runs that part by a rounding go different ways in the end, so what they share after many steps says little.
    /// Hence two bounds: on the loss all along, and on single steps from wherever the GPU's run has come to.
    /// </summary>
    [Theory]
    [MemberData(nameof(Networks))]
    public void Steps_with_augmentation_and_dropout_follow_the_CPU(string name, string convolutions)
    {
        NetworkSpec network = Find(name).WithDropout(0.2);
        const int Batch = 16, Steps = 10; // of an epoch
        int[] order = EpochOrder.Create([.. Enumerable.Range(0, Batch * Steps)], 3, 0, shuffle: true);
        float[] rates = [.. Enumerable.Repeat(1e-4f, Steps)];
        using ITrainingBackend cuda = Gpu.Create(network, Options(Batch) with { Convolutions = convolutions }), cpu = CpuDevice.Create(network, Options(Batch), CpuDevice.VectorBits);
        NetworkWeights start = Initializer.Create(network, 5), onCuda = new(network), onCpu = new(network);
        OptimizerState optimizer = new(network);
        cuda.Load(start, optimizer);
        cpu.Load(start, optimizer);
        for (int epoch = 0; epoch < 2; epoch++)
        {
            cuda.BeginEpoch(Digits, epoch, order, default);
            cpu.BeginEpoch(Digits, epoch, order, default);
            for (int step = 0; step < Steps; step++)
            {
                cuda.RunSteps(step, rates.AsSpan(step, 1));
                cpu.RunSteps(step, rates.AsSpan(step, 1));
                (double expected, double actual) = (cpu.ReadSums().Loss, cuda.ReadSums().Loss);
                Assert.True(Math.Abs(actual / expected - 1) <= 1e-3, $"epoch {epoch}, step {step}: losses so far are {actual}, on the CPU {expected}");
            }

            Assert.Equal(cpu.ReadSums().Samples, cuda.ReadSums().Samples);
        }

        cuda.Save(start, optimizer);
        cpu.Load(start, optimizer);
        cuda.BeginEpoch(Digits, 2, order, default);
        cpu.BeginEpoch(Digits, 2, order, default);
        cuda.RunSteps(0, rates.AsSpan(0, 1));
        cpu.RunSteps(0, rates.AsSpan(0, 1));
        cuda.Save(onCuda, optimizer);
        Assert.Equal(2 * Steps + 1, optimizer.Step);
        cpu.Save(onCpu, optimizer);
        foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
        {
            double[] moved = [.. onCpu.Slice(slice).ToArray().Zip(start.Slice(slice).ToArray(), (a, b) => (double)a - b)];
            float[] movedOnCuda = [.. onCuda.Slice(slice).ToArray().Zip(start.Slice(slice).ToArray(), (a, b) => a - b)];
            Compare.Close(movedOnCuda, moved, Gpu.IsSoftware ? 1e-3 : 3e-3, $"the step of {slice.Name}"); // docs/numerics.md
        }

        float[] logits = new float[1000], logitsOnCpu = new float[1000];
        cuda.Predict(Digits, order.AsSpan(0, 100), logits);
        cpu.Predict(Digits, order.AsSpan(0, 100), logitsOnCpu);
        Compare.Close(logits, Array.ConvertAll(logitsOnCpu, value => (double)value), 1e-4, "predictions");
    }

    [Theory]
    [InlineData("simple", Precision.Fp32)]
    [InlineData("simple", Precision.Bf16)]
    [InlineData("improved", Precision.Tf32)]
    [InlineData("improved", Precision.Bf16)]
    [InlineData("odd", Precision.Fp32)]
    public void Captured_and_eager_steps_give_the_same_bits(string name, Precision precision) =>
        Assert.Equal(TrainedBits(Find(name), Options(16, precision)), TrainedBits(Find(name), Options(16, precision, graph: false)));

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Two_deterministic_runs_give_the_same_bits(string name) =>
        Assert.Equal(TrainedBits(Find(name), Options(16)), TrainedBits(Find(name), Options(16)));

    [Fact]
    public void Without_determinism_the_software_device_shows_that_it_matters()
    {
        Gpu.RequireSoftware(); // a GPU may happen to repeat itself
        BackendOptions options = Options(15) with { Deterministic = false }; // sums begin 7 samples further on at every call: with 16, in the end, where they began
        Assert.NotEqual(TrainedBits(Find("simple"), options), TrainedBits(Find("simple"), options));
    }

    [Theory]
    [InlineData("simple", Precision.Fp32)]
    [InlineData("improved", Precision.Bf16)]
    public void A_run_stopped_anywhere_resumes_to_the_same_bits(string name, Precision precision)
    {
        Gpu.Require();
        TrainingOptions options = TrainingOptions.For(name) with { Epochs = 2, BatchSize = 9, Seed = 7, Validation = 0.2 };
        TrainingState whole = Fresh(options);
        Train(whole, options, precision);

        // Stopped after two of the three steps of the first epoch, and once more at its end, through a file each time.
        using TemporaryFolder folder = new();
        TrainingState state = Fresh(options);
        foreach (int stepsAtOnce in new[] { 2, int.MaxValue, int.MaxValue })
        {
            Train(state, options, precision, stepsAtOnce, stopAfterFirstCall: true);
            Checkpoint.SaveState(folder["last"], state);
            state = Checkpoint.LoadState(folder["last"], options.CreateNetwork());
        }

        Assert.Equal(whole.Weights.Trained, state.Weights.Trained);
        Assert.Equal(whole.Weights.Statistics, state.Weights.Statistics);
        Assert.Equal(whole.Optimizer.Buffers[1], state.Optimizer.Buffers[1]);
        Assert.Equal(whole.History.Select(e => (e.TrainLoss, e.ValidationLoss)), state.History.Select(e => (e.TrainLoss, e.ValidationLoss)));
    }

    [Fact]
    public void A_run_begun_on_one_device_goes_on_and_is_evaluated_on_the_other()
    {
        Gpu.Require();
        TrainingOptions options = TrainingOptions.For("simple") with { Epochs = 6, BatchSize = 32, Seed = 1 };
        TrainingState state = Fresh(options);
        using ITrainingBackend cuda = Gpu.Create(options.CreateNetwork(), Options(32)), cpu = CpuDevice.Create(options.CreateNetwork(), Options(32), CpuDevice.VectorBits);
        new Trainer(cuda, Digits, options with { Epochs = 3 }, state).Run(TestContext.Current.CancellationToken);
        new Trainer(cpu, Digits, options, state).Run(TestContext.Current.CancellationToken);
        Metrics onCpu = new Trainer(cpu, Digits, options, state).Evaluate(state.Kept(options)), onCuda = new Trainer(cuda, Digits, options, state).Evaluate(state.Kept(options));
        Assert.Equal(6, state.Epoch);
        Assert.True(state.History[5].TrainLoss < state.History[2].TrainLoss);
        Assert.Equal(onCpu.Loss, onCuda.Loss, 1e-5);
        Assert.Equal(onCpu.Accuracy, onCuda.Accuracy);
    }

    [Fact]
    public void Predictions_in_the_middle_of_an_epoch_leave_it_as_it_was_and_do_not_depend_on_the_batch()
    {
        NetworkSpec network = Find("improved");
        DigitDataset others = GeneratedDigits.Create(20, seed: 12);
        float[] undisturbed = TrainedBits(network, Options(16)), disturbed = TrainedBits(network, Options(16), between: backend => backend.Predict(others, [3, 1, 4], new float[30]));
        Assert.Equal(undisturbed, disturbed);

        float[][] logits = [.. new[] { 1, 7, 32 }.Select(batch =>
        {
            using ITrainingBackend backend = Gpu.Create(network, Options(batch));
            backend.Load(Initializer.Create(network, 0), new OptimizerState(network));
            float[] result = new float[200];
            backend.Predict(others, [.. Enumerable.Range(0, 20)], result);
            return result;
        })];
        double[] first = Array.ConvertAll(logits[0], value => (double)value);
        Compare.Close(logits[1], first, 1e-5, "batches of 7");
        Compare.Close(logits[2], first, 1e-5, "batches of 32");
    }

    [Theory]
    [InlineData(Precision.Fp32)]
    [InlineData(Precision.Bf16)]
    public void Loading_what_was_saved_gives_the_same_bits(Precision precision)
    {
        NetworkSpec network = Find("improved");
        NetworkWeights weights = Initializer.Create(network, 5), saved = new(network);
        OptimizerState optimizer = new(network) { Step = 7 }, savedOptimizer = new(network);
        new Random(2).NextBytes(MemoryMarshal.AsBytes(optimizer.Buffers[0].AsSpan()));
        using ITrainingBackend backend = Gpu.Create(network, Options(2, precision));
        backend.Load(weights, optimizer);
        backend.Save(saved, savedOptimizer);
        Assert.Equal(weights.Trained, saved.Trained);
        Assert.Equal(weights.Statistics, saved.Statistics);
        Assert.Equal(Array.ConvertAll(optimizer.Buffers[0], BitConverter.SingleToInt32Bits), Array.ConvertAll(savedOptimizer.Buffers[0], BitConverter.SingleToInt32Bits));
        Assert.Equal(7, savedOptimizer.Step);
    }

    [Fact]
    public void A_loss_that_is_no_number_is_seen()
    {
        NetworkSpec network = Find("simple");
        NetworkWeights weights = Initializer.Create(network, 0);
        weights["conv1.weight"][0] = float.NaN;
        using ITrainingBackend backend = Gpu.Create(network, Options(32));
        backend.Load(weights, new OptimizerState(network));
        backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 32)], default);
        backend.RunSteps(0, [1e-3f]);
        Assert.False(double.IsFinite(backend.ReadSums().Loss));
    }

    [Fact]
    [Trait(Gpu.Alone, "memory")] // free memory is the whole device's
    public void A_hundred_backends_leave_device_memory_as_it_was()
    {
        NetworkSpec network = Find("simple");
        using ITrainingBackend first = Gpu.Create(network, Options(2)); // keeps the context
        Fifty(); // what libraries and driver keep for good, they have taken after these
        long before = Gpu.FreeMemory();
        Fifty();
        long lost = before - Gpu.FreeMemory();
        Assert.True(lost <= (Gpu.IsSoftware ? 0 : 2 << 20), $"{lost} bytes of device memory were not given back"); // a driver hands out 2 MiB at a time

        void Fifty()
        {
            for (int i = 0; i < 50; i++)
            {
                using ITrainingBackend backend = Gpu.Create(network, Options(2, graph: i % 2 == 0));
                backend.Load(Initializer.Create(backend.Network, 0), new OptimizerState(backend.Network));
                backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 3)], default);
                backend.RunSteps(0, [1e-3f, 1e-3f]);
                backend.ReadSums();
            }
        }
    }

    [Fact]
    [Trait(Gpu.Alone, "memory")] // free memory is the whole device's
    public void A_backend_that_is_forgotten_gives_its_memory_back_when_it_is_collected()
    {
        using ITrainingBackend first = Gpu.Create(Find("simple"), Options(16));
        long before = Gpu.FreeMemory();
        Forget();
        Assert.True(Gpu.FreeMemory() < before);
        for (int i = 0; i < 10 && Gpu.FreeMemory() < before; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.InRange(before - Gpu.FreeMemory(), long.MinValue, Gpu.IsSoftware ? 0 : 2 << 20);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Forget()
        {
            ITrainingBackend forgotten = Gpu.Create(Find("simple"), Options(256));
            forgotten.Load(Initializer.Create(forgotten.Network, 0), new OptimizerState(forgotten.Network));
            forgotten.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 20)], default);
            forgotten.RunSteps(0, [1e-3f]);
        }
    }

    [Fact]
    public void Two_backends_on_one_GPU_do_not_disturb_each_other()
    {
        NetworkSpec network = Find("simple");
        float[] alone = TrainedBits(network, Options(16)), beside = [];
        float[] other = TrainedBits(network, Options(16), between: _ => beside = TrainedBits(network, Options(16)));
        Assert.Equal(alone, other);
        Assert.Equal(alone, beside);
    }

    /// <summary>One step with decay is one without, and besides a part of the weights it began with.</summary>
    [Theory]
    [InlineData(Precision.Fp32, "cudnn")]
    [InlineData(Precision.Bf16, "fused")]
    public void Weight_decay_reaches_every_parameter(Precision precision, string convolutions)
    {
        Gpu.Require();
        const float Rate = 1e-3f;
        NetworkSpec network = DigitNetworks.Improved;
        NetworkWeights start = Initializer.Create(network, 1), plain = Step(0), decayed = Step(20);
        for (int i = 0; i < start.Trained.Length; i++)
        {
            Assert.Equal(plain.Trained[i] - Rate * 20 * start.Trained[i], decayed.Trained[i], 1e-6f);
        }

        NetworkWeights Step(double weightDecay)
        {
            using ITrainingBackend backend = Gpu.Create(network, Options(16, precision) with { Optimizer = new() { WeightDecay = weightDecay }, Convolutions = convolutions });
            NetworkWeights weights = new(network);
            OptimizerState optimizer = new(network);
            backend.Load(start, optimizer);
            backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 16)], default);
            backend.RunSteps(0, [Rate]);
            backend.Save(weights, optimizer);
            return weights;
        }
    }

    /// <summary>Everything that two epochs of three steps, the last of 8 samples, leave behind.</summary>
    private static float[] TrainedBits(NetworkSpec network, BackendOptions options, Action<ITrainingBackend>? between = null)
    {
        using ITrainingBackend backend = Gpu.Create(network, options);
        NetworkWeights weights = Initializer.Create(network, 1);
        OptimizerState optimizer = new(network);
        backend.Load(weights, optimizer);
        for (int epoch = 0; epoch < 2; epoch++)
        {
            backend.BeginEpoch(Digits, epoch, EpochOrder.Create([.. Enumerable.Range(0, 40)], 1, epoch, shuffle: true), default);
            backend.RunSteps(0, [1e-3f, 1e-3f]);
            between?.Invoke(backend);
            backend.RunSteps(2, [1e-3f]);
        }

        float[] logits = new float[400];
        backend.Predict(Digits, [.. Enumerable.Range(0, 40)], logits);
        backend.Save(weights, optimizer);
        EpochSums sums = backend.ReadSums();
        Assert.Equal(40, sums.Samples);
        return [.. weights.Trained, .. weights.Statistics, .. optimizer.Buffers[1], .. logits, (float)sums.Loss, sums.Correct];
    }

    private static TrainingState Fresh(TrainingOptions options) => new(Initializer.Create(options.CreateNetwork(), options.Seed));

    private static void Train(TrainingState state, TrainingOptions options, Precision precision, int stepsAtOnce = int.MaxValue, bool stopAfterFirstCall = false)
    {
        BackendOptions backendOptions = new(options) { Precision = precision, Deterministic = true };
        using StepsAtOnce backend = new(Gpu.Create(options.CreateNetwork(), backendOptions), stepsAtOnce);
        using CancellationTokenSource cancel = new();
        try
        {
            new Trainer(backend, Fewer, options, state) { OnProgress = _ => { if (stopAfterFirstCall) { cancel.Cancel(); } } }.Run(cancel.Token);
        }
        catch (OperationCanceledException)
        {
        }
    }
}
