using CudnnDigits.Cpu;

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
        new("seven", Digit,
        [
            .. Block(1, 1, 8, 5, 0, norm: true, drop: 0.2), .. Block(2, 8, 16, 3, 0, norm: false, pool: true),
            .. Block(3, 16, 24, 5, 0, norm: true), .. Block(4, 24, 24, 3, 1, norm: true, pool: true, drop: 0.2),
            .. Block(5, 24, 16, 3, 1, norm: false, drop: 0.1), .. Dense(16 * 3 * 3, 32),
        ]), // sides 24, 22, 11, 7 and 3
        new("bias", Digit,
        [
            .. Block(1, 1, 40, 3, 2, norm: false), .. Block(2, 40, 8, 3, 0, norm: true, pool: true), .. Dense(8 * 14 * 14, 32),
        ]),
        new("made", Digit,
        [
            .. Block(1, 1, 24, 3, 0, norm: true), .. Block(2, 24, 40, 5, 1, norm: true, pool: true, drop: 0.2), .. Dense(40 * 12 * 12, 32),
        ]), // the second convolution makes the first layer's activation, as in "bias" and "wide"
        new("many", Digit,
        [
            .. Block(1, 1, 136, 3, 0, norm: true), .. Block(2, 136, 8, 3, 0, norm: true, pool: true), .. Dense(8 * 12 * 12, 32),
        ]),
        new("single", Digit, [.. Block(1, 1, 8, 3, 0, norm: true, drop: 0.2), .. Dense(8 * 26 * 26, 32)]),
        new("wide", Digit,
        [
            .. Block(1, 1, 64, 3, 1, norm: true), .. Block(2, 64, 64, 3, 1, norm: true, pool: true, drop: 0.2),
            .. Block(3, 64, 128, 3, 1, norm: true), .. Block(4, 128, 128, 3, 1, norm: true, pool: true, drop: 0.2),
            .. Block(5, 128, 256, 3, 1, norm: true), .. Block(6, 256, 256, 3, 1, norm: true, pool: true, drop: 0.2),
            .. Dense(256 * 3 * 3, 256),
        ]), // 1.7 million parameters, 116 million multiply-adds for an image
    ];

    public static TheoryData<string, Precision, int> Cases => new(
        from network in All.Where(network => network.Name is not ("many" or "wide"))
        from precision in new[] { Precision.Bf16, Precision.Tf32, Precision.Fp32 }
        from batch in new[] { 1, 7 }
        where batch > 1 || network.Name == "valid"
        select (network.Name, precision, batch));

    /// <summary>Logits, loss and all gradients of a step; dropout is compared with the CPU.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void A_step_follows_the_reference_in_double(string name, Precision precision, int batch) => FollowDouble(name, precision, batch);

    /// <summary>
    /// Shapes of tiles are chosen by the GPU: the number of its multiprocessors, and the shared memory of a block. Warpgroups multiply on
    /// GPUs of compute capability 9.0, the software device's unless it is told otherwise, and warps on others.
    /// </summary>
    [Theory]
    [InlineData("valid", Precision.Bf16, 108, 80)]
    [InlineData("valid", Precision.Tf32, 114, 103)]
    [InlineData("odd", Precision.Bf16, 108, 80)]
    [InlineData("odd", Precision.Tf32, 46, 89)]
    [InlineData("thirteen", Precision.Bf16, 132, 90)]
    [InlineData("thirteen", Precision.Bf16, 132, 100)]
    [InlineData("thirteen", Precision.Tf32, 108, 80)]
    [InlineData("thirteen", Precision.Fp32, 84, 86)]
    [InlineData("seven", Precision.Bf16, 46, 89)]
    [InlineData("seven", Precision.Tf32, 84, 86)]
    [InlineData("seven", Precision.Fp32, 70, 120)]
    [InlineData("made", Precision.Bf16, 108, 80)]
    [InlineData("made", Precision.Tf32, 46, 89)]
    [InlineData("made", Precision.Fp32, 84, 86)]
    public void A_step_follows_the_reference_on_other_GPUs(string name, Precision precision, int multiprocessors, int capability)
    {
        Gpu.RequireSoftware();
        using IDisposable set = Gpu.Set(("SOFTCUDA_MULTIPROCESSORS", multiprocessors), ("SOFTCUDA_COMPUTE_CAPABILITY", capability));
        FollowDouble(name, precision, batch: 5);
    }

    [Fact]
    public void A_batch_whose_rows_cannot_be_counted_is_refused()
    {
        const int TooMany = (1 << 17) + 1;
        BackendOptions options = new(TooMany, 3, AugmentationSpec.None) { Precision = Precision.Bf16, Kernels = CudaKernels.Fused };
        Gpu.Require();
        InputException e = Assert.Throws<InputException>(() => Gpu.Create(Find("valid"), options));
        Assert.Equal($"the fused kernels take batches of up to 131072 digits, not {TooMany}; choose a smaller batch", e.Message);
    }

    /// <summary>As many channels as there may be; more of a first layer than the second one makes.</summary>
    [Theory]
    [InlineData("wide", Precision.Bf16)]
    [InlineData("wide", Precision.Fp32)]
    [InlineData("many", Precision.Tf32)]
    public void A_step_of_a_wide_network_follows_the_reference(string name, Precision precision) => FollowDouble(name, precision, batch: 2);

    /// <summary>Augmentation and dropout draw the CPU's numbers, in layers with and without pooling, the first among them.</summary>
    [Theory]
    [InlineData("valid")]
    [InlineData("odd")]
    [InlineData("thirteen")]
    [InlineData("seven")]
    [InlineData("bias")]
    [InlineData("made")]
    [InlineData("single")]
    public void Steps_with_augmentation_and_dropout_follow_the_CPU(string name)
    {
        NetworkSpec network = Find(name);
        double[] actual = Step(network, Precision.Fp32, CudaKernels.Fused, 0), expected = Step(network, null, CudaKernels.Auto, 0);
        Assert.InRange(Error(actual, expected, network), 0, 2e-5);
    }

    /// <summary>
    /// Their errors are about those of the layered path, which rounds as often. Where a rounding decides which pixel is the greatest, much
    /// changes: four steps make that even.
    /// </summary>
    [Theory]
    [InlineData("odd", Precision.Bf16)]
    [InlineData("odd", Precision.Tf32)]
    [InlineData("seven", Precision.Bf16)]
    [InlineData("seven", Precision.Tf32)]
    public void Steps_with_augmentation_and_dropout_round_as_the_layered_path_does(string name, Precision precision)
    {
        NetworkSpec network = Find(name);
        double error = 0, ofLayered = 0;
        for (int epoch = 0; epoch < 4; epoch++)
        {
            double[] expected = Step(network, null, CudaKernels.Auto, epoch);
            error += Math.Pow(Error(Step(network, precision, CudaKernels.Fused, epoch), expected, network), 2);
            ofLayered += Math.Pow(Error(Step(network, precision, CudaKernels.Layered, epoch), expected, network), 2);
        }

        Assert.InRange(Math.Sqrt(error / ofLayered), 0, 1.5);
    }

    /// <summary>
    /// Two epochs of two steps, of three samples and of two: captured or not, kernels overlapped or not, and gone on with from what was
    /// saved.
    /// </summary>
    [Theory]
    [InlineData("odd", Precision.Bf16)]
    [InlineData("seven", Precision.Tf32)]
    [InlineData("seven", Precision.Fp32)]
    public void Steps_are_the_same_bits_captured_eager_overlapped_and_resumed(string name, Precision precision)
    {
        NetworkSpec network = Find(name);
        float[] captured = Bits(graph: true, resume: false);
        Assert.Equal(captured, Bits(graph: false, resume: false));
        Assert.Equal(captured, Bits(graph: true, resume: true));
        Assert.Equal(captured, Bits(graph: true, resume: false, overlap: false));

        float[] Bits(bool graph, bool resume, bool overlap = true)
        {
            NetworkWeights weights = Initializer.Create(network, 5);
            OptimizerState optimizer = new(network);
            ITrainingBackend? backend = null;
            for (int epoch = 0; epoch < 2; epoch++)
            {
                if (backend is null || resume)
                {
                    backend?.Dispose();
                    backend = Gpu.Create(network, new BackendOptions(3, 3, AugmentationSpec.Standard)
                    {
                        Precision = precision,
                        Deterministic = true,
                        CudaGraph = graph,
                        Overlap = overlap,
                        Kernels = CudaKernels.Fused
                    });
                    backend.Load(weights, optimizer);
                }

                backend.BeginEpoch(Digits, epoch, [.. Enumerable.Range(0, 5)], default);
                backend.RunSteps(0, [1e-3f, 1e-3f]);
                backend.Save(weights, optimizer);
            }

            backend!.Dispose();
            return [.. weights.Trained, .. weights.Statistics, .. optimizer.Buffers[1]];
        }
    }

    /// <summary>The last hidden layer sums in as many parts as fill the GPU: in float32, whatever the precision.</summary>
    [Theory]
    [InlineData("odd", Precision.Bf16)]
    [InlineData("odd", Precision.Tf32)]
    [InlineData("odd", Precision.Fp32)]
    [InlineData("seven", Precision.Bf16)]
    [InlineData("seven", Precision.Fp32)]
    public void Predictions_do_not_depend_on_the_batch(string name, Precision precision)
    {
        NetworkWeights weights = Initializer.Create(Find(name), 5);
        float[] oneByOne = Logits(1);
        foreach (int batch in new[] { 3, 7 })
        {
            Compare.Close(Logits(batch), Array.ConvertAll(oneByOne, logit => (double)logit), 1e-6, $"batches of {batch}");
        }

        float[] Logits(int batch)
        {
            float[] logits = new float[7 * DigitDataset.Classes];
            using ITrainingBackend backend = Gpu.Create(weights.Network, new BackendOptions(batch, 3, AugmentationSpec.None)
            {
                Precision = precision,
                Kernels = CudaKernels.Fused
            });
            backend.Load(weights, new OptimizerState(weights.Network));
            backend.Predict(Digits, [.. Enumerable.Range(0, 7)], logits);
            return logits;
        }
    }

    /// <summary>What dropout has taken away is marked by a NaN: it must not be taken for one that the arithmetic has made.</summary>
    [Theory]
    [InlineData("conv1.weight", Precision.Bf16)]
    [InlineData("bn1.bias", Precision.Tf32)]
    [InlineData("conv3.weight", Precision.Fp32)]
    [InlineData("bn3.weight", Precision.Bf16)]
    [InlineData("conv4.bias", Precision.Fp32)]
    [InlineData("conv5.weight", Precision.Tf32)]
    public void A_run_that_diverged_says_so(string parameter, Precision precision)
    {
        NetworkWeights weights = Initializer.Create(Find("odd"), 5);
        weights[parameter].Fill(float.NaN);
        using ITrainingBackend backend = Gpu.Create(weights.Network, new BackendOptions(3, 3, AugmentationSpec.None)
        {
            Precision = precision,
            Kernels = CudaKernels.Fused
        });
        backend.Load(weights, new OptimizerState(weights.Network));
        backend.BeginEpoch(Digits, 0, [0, 1, 2], default);
        backend.RunSteps(0, [1e-3f]);
        Assert.True(double.IsNaN(backend.ReadSums().Loss));
    }

    private static NetworkSpec Find(string name) => All.Single(network => network.Name == name);

    private static void FollowDouble(string name, Precision precision, int batch)
    {
        (double logitTolerance, double gradientTolerance) =
            precision switch { Precision.Fp32 => (1e-5, 2e-5), Precision.Tf32 => (5e-3, 0.1), _ => (4e-2, 0.3) };
        NetworkSpec network = Find(name).WithDropout(0);
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
        double[] expected = new double[gradients.Length];
        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            reference.Gradients[slice.Name].CopyTo(expected, slice.Offset);
        }

        double error = Error(Array.ConvertAll(gradients, gradient => (double)gradient), expected, network);
        Assert.True(error <= gradientTolerance, $"gradients are off by {error:E2}, tolerated {gradientTolerance:E1}");
    }

    /// <summary>Gradients of the second step of an epoch, on the CPU where no precision is named.</summary>
    private static double[] Step(NetworkSpec network, Precision? precision, CudaKernels kernels, int epoch)
    {
        BackendOptions options = new(3, 3, AugmentationSpec.Standard) { Deterministic = true, Kernels = kernels };
        using ITrainingBackend backend = precision is { } on ? Gpu.Create(network, options with { Precision = on })
            : CpuDevice.Create(network, options, CpuDevice.VectorBits);
        backend.Load(Initializer.Create(network, 5), new OptimizerState(network));
        backend.BeginEpoch(Digits, epoch, EpochOrder.Create([.. Enumerable.Range(0, 6)], 3, epoch, shuffle: true), default);
        backend.RunSteps(1, [1e-3f]);
        float[] gradients = new float[network.Parameters.TrainedCount];
        ((IStepInspector)backend).SaveGradients(gradients);
        return Array.ConvertAll(gradients, gradient => (double)gradient);
    }

    /// <summary>Of all parameters' gradients, each relative to its own size.</summary>
    private static double Error(double[] actual, double[] expected, NetworkSpec network) =>
        Math.Sqrt(network.Parameters.Trained.Average(slice => Math.Pow(Compare.RelativeL2(
            Array.ConvertAll(actual[slice.Offset..(slice.Offset + slice.Size)], gradient => (float)gradient),
            expected.AsSpan(slice.Offset, slice.Size)), 2)));

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
