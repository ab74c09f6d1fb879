using CudnnDigits.Cpu;
using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// Networks of the family (conv [bn] relu [pool] [dropout])* flatten (linear relu [dropout])* linear that no declaration has: against the
/// CPU step by step, against the reference in double, and in a caller's captured graph.
/// </summary>
public class AnyNetworkTests
{
    private const int Batch = 16;

    private static readonly DigitDataset Digits = GeneratedDigits.Create(200, seed: 11);

    private static readonly Shape Digit = new(1, 28, 28);

    /// <summary>Widths that are no multiple of 4, wider than the head holds, and such as it takes in.</summary>
    private static readonly NetworkSpec[] All =
    [
        new("no-convolution", Digit, [new FlattenLayer("flatten"), Linear(1, 784, 36), Relu(1), Drop(1), Linear(2, 36, 10)]),
        new("one-linear-layer", Digit, [new FlattenLayer("flatten"), Linear(1, 784, 10)]),
        new("no-hidden-layer", Digit,
            [.. Convolution(1, 1, 6, kernel: 3, norm: true), new FlattenLayer("flatten"), Linear(1, 6 * 13 * 13, 10)]),
        new("three-hidden-layers", Digit,
        [
            .. Convolution(1, 1, 5, kernel: 3, norm: true), new FlattenLayer("flatten"),
            Linear(1, 5 * 13 * 13, 70), Relu(11), Drop(1), Linear(2, 70, 33), Relu(12), Linear(3, 33, 20), Relu(13), Drop(2),
            Linear(4, 20, 10),
        ]),
        new("wide-last-layer", Digit,
            [new FlattenLayer("flatten"), Linear(1, 784, 40), Relu(1), Drop(1), Linear(2, 40, 300), Relu(2), Drop(2), Linear(3, 300, 10)]),
        new("five-by-five", Digit,
        [
            .. Convolution(1, 1, 8, kernel: 5, norm: false), .. Convolution(2, 8, 12, kernel: 5, norm: false), new FlattenLayer("flatten"),
            Linear(1, 12 * 4 * 4, 32), Relu(11), Linear(2, 32, 10),
        ]),
    ];

    public static TheoryData<string> Names => [.. All.Select(network => network.Name)];

    public static TheoryData<string, Precision> Precisions => new MatrixTheoryData<string, Precision>(
        All.Select(network => network.Name), [Precision.Fp32, Precision.Tf32, Precision.Bf16]);

    /// <summary>Each step begins from where the GPU has come to, so that roundings do not add up.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void Steps_with_augmentation_and_dropout_follow_the_CPU(string name)
    {
        const int Steps = 4;
        NetworkSpec network = Find(name);
        BackendOptions options = new(Batch, 3, AugmentationSpec.Standard) { Precision = Precision.Fp32, Deterministic = true };
        using ITrainingBackend cuda = Gpu.Create(network, options), cpu = CpuDevice.Create(network, options, CpuDevice.VectorBits);
        NetworkWeights weights = Initializer.Create(network, 5), onCuda = new(network), onCpu = new(network);
        OptimizerState optimizer = new(network), ofCpu = new(network);
        int[] order = EpochOrder.Create([.. Enumerable.Range(0, Steps * Batch)], 3, 0, shuffle: true);
        for (int step = 0; step < Steps; step++)
        {
            cuda.Load(weights, optimizer);
            cpu.Load(weights, optimizer);
            cuda.BeginEpoch(Digits, step, order, default);
            cpu.BeginEpoch(Digits, step, order, default);
            cuda.RunSteps(step, [1e-3f]);
            cpu.RunSteps(step, [1e-3f]);
            Assert.Equal(cpu.ReadSums().Loss, cuda.ReadSums().Loss, 1e-4 * Batch);
            cuda.Save(onCuda, optimizer);
            cpu.Save(onCpu, ofCpu);
            foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
            {
                double[] moved = [.. onCpu.Slice(slice).ToArray().Zip(weights.Slice(slice).ToArray(), (a, b) => (double)a - b)];
                float[] movedOnCuda = [.. onCuda.Slice(slice).ToArray().Zip(weights.Slice(slice).ToArray(), (a, b) => a - b)];
                Compare.Close(movedOnCuda, moved, 5e-3,
                    $"step {step} of {slice.Name}"); // the first is little but the signs of the gradients
            }

            (weights, onCuda) = (onCuda, weights);
        }

        float[] logits = new float[1000], logitsOnCpu = new float[1000];
        cpu.Load(weights, optimizer);
        cuda.Predict(Digits, [.. Enumerable.Range(0, 100)], logits);
        cpu.Predict(Digits, [.. Enumerable.Range(0, 100)], logitsOnCpu);
        Compare.Close(logits, Array.ConvertAll(logitsOnCpu, value => (double)value), 1e-4, "predictions");
    }

    /// <summary>
    /// Logits, loss and all gradients of a step without dropout; tolerances as for the networks that are declared (GoldenTests).
    /// </summary>
    [Theory]
    [MemberData(nameof(Precisions))]
    public void A_step_follows_the_reference_in_double(string name, Precision precision)
    {
        (double logitTolerance, double gradientTolerance) =
            precision switch { Precision.Fp32 => (1e-5, 1e-4), Precision.Tf32 => (5e-3, 0.1), _ => (4e-2, 0.3) };
        NetworkSpec network = Find(name).WithDropout(0);
        NetworkWeights weights = Initializer.Create(network, 5);
        ReferenceNetwork reference = new(weights);
        double loss = reference.ForwardBackward(Compare.Images(Digits, Batch), Digits.Labels[..Batch].ToArray());

        using ITrainingBackend backend =
            Gpu.Create(network, new BackendOptions(Batch, 3, AugmentationSpec.None) { Precision = precision, Deterministic = true });
        backend.Load(weights, new OptimizerState(network));
        backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, Batch)], default);
        backend.RunSteps(0, [1e-3f]);
        float[] logits = new float[Batch * DigitDataset.Classes], gradients = new float[network.Parameters.TrainedCount];
        IStepInspector inspector = (IStepInspector)backend;
        inspector.SaveLogits(logits);
        inspector.SaveGradients(gradients);
        Compare.Close(logits, reference.Logits, logitTolerance, "logits");
        Assert.Equal(loss, backend.ReadSums().Loss / Batch, Math.Max(logitTolerance, 1e-5) * loss);
        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            Compare.Close(gradients.AsSpan(slice.Offset, slice.Size), reference.Gradients[slice.Name], gradientTolerance,
                $"gradient of {slice.Name}");
        }
    }

    [Theory]
    [MemberData(nameof(Precisions))]
    public void Captured_and_eager_steps_give_the_same_bits(string name, Precision precision)
    {
        NetworkSpec network = Find(name);
        Assert.Equal(Train(graph: true), Train(graph: false));

        float[] Train(bool graph)
        {
            using ITrainingBackend backend = Gpu.Create(
                network, new BackendOptions(Batch, 3, AugmentationSpec.Standard)
                {
                    Precision = precision,
                    Deterministic = true,
                    CudaGraph = graph
                });
            NetworkWeights weights = new(network);
            OptimizerState optimizer = new(network);
            backend.Load(Initializer.Create(network, 5), optimizer);
            backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 40)], default);
            backend.RunSteps(0, [1e-3f, 1e-3f, 1e-3f]); // the last has 8 samples
            backend.Save(weights, optimizer);
            return [.. weights.Trained, .. weights.Statistics];
        }
    }

    [Theory]
    [MemberData(nameof(Precisions))]
    public void A_classifier_reads_as_the_CPU_does_and_can_be_captured(string name, Precision precision)
    {
        const int Count = 21;
        Gpu.Require();
        NetworkWeights weights = Initializer.Create(Find(name), 5);
        using ClassifierTests.Pipeline caller = new();
        using DigitClassifier onGpu = caller.Classifier(weights, precision), onCpu = new(weights, new ClassifierOptions { Device = "cpu" });
        float[] actual = new float[Count * DigitDataset.Classes], expected = new float[Count * DigitDataset.Classes];
        ReadOnlySpan<byte> pixels = Digits.Pixels[..(Count * DigitDataset.PixelCount)];
        onGpu.Predict(pixels, actual);
        onCpu.Predict(pixels, expected);
        Compare.Close(actual, Array.ConvertAll(expected, value => (double)value),
            precision switch { Precision.Fp32 => 1e-5, Precision.Tf32 => 5e-3, _ => 4e-2 }, "logits");

        nint images = caller.Upload(pixels), logits = caller.Allocate(Count * DigitDataset.Classes * sizeof(float));
        using CudaGraph graph =
            CudaGraph.Capture(caller.Context.Handles, caller.Stream,
            () => onGpu.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value));
        graph.Launch(caller.Stream.Value);
        Assert.Equal(actual, caller.Download(logits, actual.Length));
    }

    private static NetworkSpec Find(string name) => All.Single(network => network.Name == name);

    private static Layer[] Convolution(int index, int channels, int outputs, int kernel, bool norm) =>
    [
        new Conv2dLayer($"conv{index}", channels, outputs, kernel, 0, Bias: !norm), .. norm ? [new BatchNorm2dLayer($"bn{index}", outputs)]
            : Array.Empty<Layer>(),
        Relu(index), new MaxPool2dLayer($"pool{index}", 2),
    ];

    private static LinearLayer Linear(int index, int inputs, int outputs) => new($"fc{index}", inputs, outputs);

    private static ReLULayer Relu(int index) => new($"relu{index}");

    private static DropoutLayer Drop(int index) => new($"drop{index}", 0.3);
}
