using System.Runtime.CompilerServices;
using CudnnDigits.Cpu;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Whole steps: against the CPU backend from the same seed, and against themselves bit by bit.</summary>
public class StepTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(400, seed: 11);

    /// <summary>Shapes that are no multiple of anything, kernels of 1, 3 and 5, pooling that leaves rows over.</summary>
    private static readonly NetworkSpec Odd = new("odd", new Shape(1, 28, 28),
    [
        new Conv2dLayer("conv1", 1, 9, 5, 2, false), new BatchNorm2dLayer("bn1", 9), new ReLULayer("relu1"), new DropoutLayer("drop1", 0.1),
        new Conv2dLayer("conv2", 9, 7, 3, 0, true), new ReLULayer("relu2"), new MaxPool2dLayer("pool2", 3), new DropoutLayer("drop2", 0.2),
        new Conv2dLayer("conv3", 7, 21, 1, 0, false), new BatchNorm2dLayer("bn3", 21), new ReLULayer("relu3"),
        new MaxPool2dLayer("pool3", 2),
        new FlattenLayer("flatten"), new LinearLayer("fc1", 336, 36), new ReLULayer("relu4"), new DropoutLayer("drop3", 0.3),
        new LinearLayer("fc2", 36, 10),
    ]);

    public static TheoryData<string, string> Networks
    {
        get
        {
            TheoryData<string, string> data = [];
            foreach (string name in new[] { "simple", "improved", "mlp" })
            {
                data.Add(name, nameof(CudaKernels.Layered));
                data.Add(name, nameof(CudaKernels.Fused));
            }

            data.Add("odd", nameof(CudaKernels.Layered));
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
    public void Steps_with_augmentation_and_dropout_follow_the_CPU(string name, string kernels)
    {
        NetworkSpec network = Find(name).WithDropout(0.2);
        const int Batch = 16, Steps = 10; // of an epoch
        int[] order = EpochOrder.Create([.. Enumerable.Range(0, Batch * Steps)], 3, 0, shuffle: true);
        float[] rates = [.. Enumerable.Repeat(1e-4f, Steps)];
        using ITrainingBackend cuda = Gpu.Create(network, Options(Batch) with { Kernels = Gpu.Kernels(kernels) }),
        cpu = CpuDevice.Create(network, Options(Batch), CpuDevice.VectorBits);
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
                Assert.True(Math.Abs(actual / expected - 1) <= 1e-3,
                    $"epoch {epoch}, step {step}: losses so far are {actual}, on the CPU {expected}");
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
    [InlineData("odd", Precision.Fp32)]
    public void Captured_and_eager_steps_give_the_same_bits(string name, Precision precision) =>
        Assert.Equal(TrainedBits(Find(name), Options(4, precision)), TrainedBits(Find(name), Options(4, precision, graph: false)));

    [Theory]
    [InlineData("simple", Precision.Fp32)]
    [InlineData("improved", Precision.Bf16)]
    public void Captured_and_eager_steps_average_the_weights_to_the_same_bits(string name, Precision precision) =>
        Assert.Equal(Bits(name, precision, graph: true), Bits(name, precision, graph: false));

    private static float[] Bits(string name, Precision precision, bool graph) =>
        BackendTests.TrainedBits(Gpu.Create(Find(name), Options(4, precision, graph) with { Ema = 0.9 }), ema: 0.9);

    [Fact]
    public void Without_determinism_the_software_device_shows_that_it_matters()
    {
        Gpu.RequireSoftware(); // a GPU may happen to repeat itself
        // Sums begin 7 samples further on at every call: with 16, in the end, where they began.
        BackendOptions options = Options(15) with { Deterministic = false, Kernels = CudaKernels.Layered };
        Assert.NotEqual(TrainedBits(Find("simple"), options), TrainedBits(Find("simple"), options));
    }

    [Fact]
    public void A_run_begun_on_one_device_goes_on_and_is_evaluated_on_the_other()
    {
        Gpu.Require();
        DigitDataset digits = GeneratedDigits.Create(100, seed: 11);
        TrainingOptions options = TrainingOptions.For("simple") with { Epochs = 6, BatchSize = 32, Seed = 1 };
        TrainingState state = new(Initializer.Create(options.CreateNetwork(), options.Seed));
        using ITrainingBackend cuda = Gpu.Create(options.CreateNetwork(), Options(32)),
        cpu = CpuDevice.Create(options.CreateNetwork(), Options(32), CpuDevice.VectorBits);
        new Trainer(cuda, digits, options with { Epochs = 3 }, state).Run(TestContext.Current.CancellationToken);
        new Trainer(cpu, digits, options, state).Run(TestContext.Current.CancellationToken);
        Metrics onCpu = new Trainer(cpu, digits, options, state).Evaluate(state.Kept(options)),
        onCuda = new Trainer(cuda, digits, options, state).Evaluate(state.Kept(options));
        Assert.Equal(6, state.Epoch);
        Assert.True(state.History[5].TrainLoss < state.History[2].TrainLoss);
        Assert.Equal(onCpu.Loss, onCuda.Loss, 1e-5);
        Assert.Equal(onCpu.Accuracy, onCuda.Accuracy);
    }

    [Fact]
    [Trait(Gpu.Alone, "memory")] // free memory is the whole device's
    public void A_hundred_backends_leave_device_memory_as_it_was()
    {
        NetworkSpec network = FailureTests.Small;
        using ITrainingBackend first = Gpu.Create(network, Options(2)); // keeps the context
        Fifty(); // what libraries and driver keep for good, they have taken after these
        long before = Gpu.FreeMemory();
        Fifty();
        long lost = before - Gpu.FreeMemory();
        Assert.True(lost <= (Gpu.IsSoftware ? 0 : 2 << 20),
            $"{lost} bytes of device memory were not given back"); // a driver hands out 2 MiB at a time

        void Fifty()
        {
            for (int i = 0; i < 50; i++)
            {
                BackendOptions options = Options(2, graph: i % 2 == 0);
                CudaKernels kernels = i % 4 < 2 ? CudaKernels.Layered : CudaKernels.Fused;
                using ITrainingBackend backend = Gpu.Create(network, options with { Kernels = kernels });
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
        float[] alone = TrainedBits(network, Options(4)), beside = [];
        float[] other = TrainedBits(network, Options(4), between: _ => beside = TrainedBits(network, Options(4)));
        Assert.Equal(alone, other);
        Assert.Equal(alone, beside);
    }

    private static float[] TrainedBits(NetworkSpec network, BackendOptions options, Action<ITrainingBackend>? between = null) =>
        BackendTests.TrainedBits(Gpu.Create(network, options), between);
}
