namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// Networks by the fused kernels, in every precision, in shapes that no declared network has: images of 13×13, 11×11, 7×7 and 3×3,
/// windows of 5×5, with padding and without, channels of every multiple of 8, batches of one and of prime numbers.
/// </summary>
public class FusedNetworkTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(200, seed: 11);

    private static readonly Shape Digit = new(1, 28, 28);

    private static readonly NetworkSpec[] All =
    [
        new("valid", Digit,
        [
            .. Block(1, 1, 8, 3, 0, norm: false, pool: true), .. Block(2, 8, 24, 3, 0, norm: false, pool: true),
            .. Block(3, 24, 16, 3, 0, norm: true, drop: 0.2), .. Dense(16 * 3 * 3, 32),
        ]),
        new("odd", Digit,
        [
            .. Block(1, 1, 40, 5, 0, norm: true, pool: true, drop: 0.1), .. Block(2, 40, 8, 5, 2, norm: true),
            .. Block(3, 8, 72, 3, 1, norm: true, pool: true, drop: 0.3), .. Block(4, 72, 32, 3, 2, norm: false, pool: true),
            .. Block(5, 32, 40, 3, 1, norm: false), .. Dense(40 * 4 * 4, 64),
        ]),
        new("thirteen", Digit,
        [
            .. Block(1, 1, 16, 3, 0, norm: true, pool: true), .. Block(2, 16, 24, 3, 1, norm: true, drop: 0.2),
            .. Block(3, 24, 96, 3, 1, norm: true), .. Block(4, 96, 24, 3, 1, norm: true, pool: true), .. Dense(24 * 6 * 6, 128),
        ]),
    ];

    public static TheoryData<string, Precision, int> Cases => new(
        from network in All
        from precision in new[] { Precision.Bf16, Precision.Tf32, Precision.Fp32 }
        from batch in new[] { 1, 7 }
        where batch > 1 || network.Name == "valid"
        select (network.Name, precision, batch));

    /// <summary>Logits, loss and all gradients of a step; dropout is compared with the CPU elsewhere.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void A_step_follows_the_reference_in_double(string name, Precision precision, int batch)
    {
        (double logitTolerance, double gradientTolerance) =
            precision switch { Precision.Fp32 => (1e-5, 1e-4), Precision.Tf32 => (5e-3, 0.1), _ => (4e-2, 0.3) };
        NetworkSpec network = All.Single(network => network.Name == name).WithDropout(0);
        NetworkWeights weights = Initializer.Create(network, 5);
        ReferenceNetwork reference = new(weights);
        double loss = reference.ForwardBackward(Compare.Images(Digits, batch), Digits.Labels[..batch].ToArray());

        using ITrainingBackend backend = Gpu.Create(network, new BackendOptions(batch, 3, AugmentationSpec.None)
        {
            Precision = precision,
            Deterministic = true,
            Kernels = CudaKernels.Fused
        });
        backend.Load(weights, new OptimizerState(network));
        backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, batch)], default);
        backend.RunSteps(0, [1e-3f]);
        float[] logits = new float[batch * DigitDataset.Classes], gradients = new float[network.Parameters.TrainedCount];
        IStepInspector inspector = (IStepInspector)backend;
        inspector.SaveLogits(logits);
        inspector.SaveGradients(gradients);
        Compare.Close(logits, reference.Logits, logitTolerance, "logits");
        Assert.Equal(loss, backend.ReadSums().Loss / batch, Math.Max(logitTolerance, 1e-5) * loss);
        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            Compare.Close(gradients.AsSpan(slice.Offset, slice.Size), reference.Gradients[slice.Name], gradientTolerance,
                $"gradient of {slice.Name}");
        }
    }

    private static IEnumerable<Layer> Block(
        int index, int channels, int outputs, int kernel, int padding, bool norm, bool pool = false, double drop = 0) =>
    [
        new Conv2dLayer($"conv{index}", channels, outputs, kernel, padding, Bias: !norm),
        .. norm ? [new BatchNorm2dLayer($"bn{index}", outputs)] : Array.Empty<Layer>(),
        new ReLULayer($"relu{index}"),
        .. pool ? [new MaxPool2dLayer($"pool{index}", 2)] : Array.Empty<Layer>(),
        .. drop > 0 ? [new DropoutLayer($"drop{index}", drop)] : Array.Empty<Layer>(),
    ];

    private static IEnumerable<Layer> Dense(int features, int hidden) =>
    [
        new FlattenLayer("flatten"), new LinearLayer("fc1", features, hidden), new ReLULayer("relu"), new DropoutLayer("drop", 0.4),
        new LinearLayer("fc2", hidden, 10),
    ];
}
