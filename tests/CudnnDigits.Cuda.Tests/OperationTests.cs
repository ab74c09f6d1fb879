using CudnnDigits.Cpu;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Each operation against the CPU backend's, on random tensors. docs/numerics.md says where the tolerances come from.</summary>
public class OperationTests
{
    private const ulong Seed = 0x1234_5678_9ABC;

    public static TheoryData<Precision> Precisions => [Precision.Fp32, Precision.Tf32, Precision.Bf16];

    public static TheoryData<Precision, int, int, int, int, int, int, bool> Convolutions
    {
        get
        {
            TheoryData<Precision, int, int, int, int, int, int, bool> data = [];
            foreach (Precision precision in Enum.GetValues<Precision>())
            {
                data.Add(precision, 3, 1, 28, 32, 3, 1, false);
                data.Add(precision, 5, 1, 28, 32, 3, 0, false);
                data.Add(precision, 3, 32, 28, 32, 3, 1, false);
                data.Add(precision, 2, 32, 13, 64, 3, 0, false);
                data.Add(precision, 4, 64, 14, 64, 3, 1, false);
                data.Add(precision, 2, 16, 9, 24, 5, 2, false);
                data.Add(precision, 2, 8, 7, 8, 1, 0, false);
                data.Add(precision, 3, 1, 28, 32, 3, 1, true);
                data.Add(precision, 50, 1, 28, 32, 3, 0, true); // more runs of pixels than threads
                data.Add(precision, 2, 1, 7, 8, 3, 1, true);
                data.Add(precision, 1, 1, 3, 256, 3, 0, true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void Convolution(Precision precision, int n, int c, int side, int k, int kernel, int padding, bool ours) => DeviceLab.Run(precision, lab =>
    {
        ConvShape shape = new(c, side, side, k, kernel, padding);
        float[] x = Values(precision, 1, n * side * side * c), w = Values(precision, 2, shape.WeightSize), dy = Values(precision, 3, n * shape.OutputSize);
        ConvPlan plan = new(new Conv2dLayer("conv", c, k, kernel, padding, false), null, null, null, 0, new Shape(c, side, side));
        using IConvolution conv = ours ? new FirstConv2d(lab.Session, plan, n) : new Conv2d(lab.Session, plan, n, 64 << 20, training: true);
        Assert.True(!ours || FirstConv2d.Fits(plan));
        DeviceTensor workspace = lab.Empty(Math.Max(conv.WorkspaceBytes, 1), DeviceType.U8);
        DeviceTensor dX = lab.Upload(x), dW = lab.Upload(w), dDY = lab.Upload(dy), y = lab.Empty(dy.Length), dx = lab.Empty(x.Length), dw = lab.Empty(w.Length);
        conv.Forward(dX, dW, y, workspace);
        Close(precision, CpuOps.ConvForward(shape, n, x, w), lab.Download(y), "y");
        conv.BackwardWeights(dX, dDY, dw, workspace);
        Close(precision, CpuOps.ConvBackwardWeights(shape, n, x, dy), lab.Download(dw), "dW");
        if (c > 1)
        {
            conv.BackwardData(dW, dDY, dx, workspace);
            Close(precision, CpuOps.ConvBackwardData(shape, n, w, dy), lab.Download(dx), "dX");
        }
    });

    /// <summary>They lay images out anew, and so ask for more the more samples there are.</summary>
    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Deterministic_algorithms_get_their_workspace_however_large_the_batch_is(string model) => DeviceLab.Run(Precision.Fp32, lab =>
    {
        foreach (ConvPlan plan in new BlockPlan(DigitNetworks.Find(model)!).Convs)
        {
            foreach (int n in new[] { 64, 4096, 8192 })
            {
                using Conv2d conv = new(lab.Session, plan, n, Conv2d.MostWorkspace(n), training: true);
                Assert.Equal(plan.Input.C > 1, conv.Algorithms.Contains("data", StringComparison.Ordinal)); // nobody asks for the gradient of the input
                if (Gpu.IsSoftware && n > 64 && plan.Input.C > 1)
                {
                    Assert.Throws<CudaUnavailableException>(() => new Conv2d(lab.Session, plan, n, 64 << 20, training: true));
                }
            }
        }
    });

    [Theory]
    [MemberData(nameof(Precisions))]
    public void Dense_layer(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        const int N = 13;
        DenseShape shape = new(320, 48);
        float[] x = Values(precision, 1, N * shape.In), w = Values(precision, 2, shape.WeightSize), dy = Values(precision, 3, N * shape.Out);
        Dense dense = new(lab.Session, N, shape.In, shape.Out);
        using DeviceArena arena = new();
        lab.Session.ReserveBlasWorkspaces(arena, ofBranches: false);
        arena.Allocate(lab.Session.Context);
        lab.Session.UseBlasWorkspaces();
        DeviceTensor dX = lab.Upload(x), dW = lab.Upload(w), dDY = lab.Upload(dy);
        DeviceTensor y = lab.Empty(dy.Length), logits = lab.Empty(dy.Length, DeviceType.F32), dx = lab.Empty(x.Length), dw = lab.Empty(w.Length, DeviceType.F32);
        dense.Forward(dX, dW, y);
        dense.Forward(dX, dW, logits);
        dense.BackwardWeights(dX, dDY, dw);
        dense.BackwardData(dW, dDY, dx);
        float[] expected = CpuOps.DenseForward(shape, N, x, w);
        (float[] expectedDW, float[] expectedDX) = CpuOps.DenseBackward(shape, N, x, w, dy);
        Close(precision, expected, lab.Download(y), "y");
        Close(precision, expected, lab.Download(logits), "y in f32");
        Close(precision, expectedDW, lab.Download(dw), "dW");
        Close(precision, expectedDX, lab.Download(dx), "dX");
    });

    [Theory]
    [InlineData(Precision.Fp32, 1)]
    [InlineData(Precision.Fp32, 2)]
    [InlineData(Precision.Fp32, 3)]
    [InlineData(Precision.Bf16, 1)]
    [InlineData(Precision.Bf16, 2)]
    public void Batch_norm_relu_and_pooling(Precision precision, int window) => DeviceLab.Run(precision, lab =>
    {
        const int N = 6, Side = 14, Channels = 32;
        PoolShape pool = new(Channels, Side, Side, window);
        Shape shape = new(Channels, Side, Side), pooled = new(Channels, pool.OutH, pool.OutW);
        float[] y = Values(precision, 1, N * shape.Size), gamma = Values(Precision.Fp32, 2, Channels), beta = Values(Precision.Fp32, 3, Channels), dA = Values(precision, 4, N * pooled.Size);
        CpuOps.NormResult expected = CpuOps.NormPool(pool, N, y, gamma, beta, dA);

        BatchNormTensors norm = new(
            lab.Upload(gamma, DeviceType.F32), lab.Upload(beta, DeviceType.F32), lab.Empty(Channels, DeviceType.F32), lab.Empty(Channels, DeviceType.F32),
            lab.Upload(new float[Channels], DeviceType.F32), lab.Upload([.. Enumerable.Repeat(1f, Channels)], DeviceType.F32), lab.Empty(Channels, DeviceType.F32), lab.Empty(Channels, DeviceType.F32));
        DeviceTensor x = lab.Upload(y), normal = lab.Empty(y.Length), p = window > 1 ? lab.Empty(dA.Length) : normal, z = window > 1 ? lab.Empty(dA.Length) : normal;
        DeviceTensor gradient = lab.Upload(dA), unpooled = window > 1 ? lab.Empty(y.Length) : gradient, dX = lab.Empty(y.Length);
        using BatchNorm2d layer = new(lab.Session, N, shape, training: true);
        DeviceTensor workspace = lab.Empty(Math.Max(layer.WorkspaceBytes, 1), DeviceType.U8), reserve = lab.Empty(Math.Max(layer.ReserveBytes, 1), DeviceType.U8);
        using MaxPool2d? pooling = window > 1 ? new MaxPool2d(lab.Session, new MaxPool2dLayer("pool", window), N, shape) : null;
        Activation activation = new(lab.Session, N, pooled, null, 0);
        layer.Training(x, normal, norm, workspace, reserve);
        pooling?.Forward(normal, p);
        activation.Forward(lab.State(N), p, null, z, Seed, training: true);
        activation.Backward(z, gradient, null, null);
        pooling?.Backward(p, gradient, normal, unpooled);
        layer.Backward(x, unpooled, dX, norm, workspace, reserve);

        Close(precision, expected.A, lab.Download(z), "a");
        // Rounded to bfloat16, neighbours in a window may be equal, and the first takes the gradient that was the other's.
        double? ties = precision == Precision.Bf16 && window > 1 ? 1e-2 : null;
        Close(precision, expected.DY, lab.Download(dX), "dY", ties);
        Close(precision, expected.DGamma, lab.Download(norm.DGamma), "dγ", ties);
        Close(precision, expected.DBeta, lab.Download(norm.DBeta), "dβ");
        Close(precision, expected.RunningMean, lab.Download(norm.RunningMean), "running mean");
        Close(precision, expected.RunningVariance, lab.Download(norm.RunningVariance), "running variance");
    });

    /// <summary>In evaluation: a convolution by the weights that batch norm is folded into, and a bias, is convolution and batch norm.</summary>
    [Theory]
    [MemberData(nameof(Precisions))]
    public void Batch_norm_folded_into_a_convolution(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        const int N = 3, In = 8, Out = 16, Side = 9;
        ConvShape shape = new(In, Side, Side, Out, 3, 1);
        float[] x = Values(precision, 1, N * Side * Side * In), w = Values(precision, 2, shape.WeightSize), beta = Values(Precision.Fp32, 4, Out), mean = Values(Precision.Fp32, 5, Out);
        float[] gamma = [.. Values(Precision.Fp32, 3, Out).Select(value => value - 0.2f)], variance = [.. Values(Precision.Fp32, 6, Out).Select(value => 0.1f + value * value)];
        float[] y = CpuOps.ConvForward(shape, N, x, w);
        float[] expected = [.. y.Select((value, i) => (float)(gamma[i % Out] * (value - mean[i % Out]) / Math.Sqrt(variance[i % Out] + BatchNorm2dLayer.Epsilon) + beta[i % Out]))];

        DeviceTensor none = lab.Empty(Out, DeviceType.F32);
        BatchNormTensors norm = new(lab.Upload(gamma, DeviceType.F32), lab.Upload(beta, DeviceType.F32), none, none, lab.Upload(mean, DeviceType.F32), lab.Upload(variance, DeviceType.F32), none, none);
        (DeviceTensor Weights, DeviceTensor Bias) folded = (lab.Empty(w.Length), lab.Empty(Out, DeviceType.F32));
        using BatchNorm2d layer = new(lab.Session, N, new Shape(Out, Side, Side), training: false);
        layer.Fold(lab.Upload(w, DeviceType.F32), norm, folded);
        float[] bias = lab.Download(folded.Bias);
        Close(precision, expected, [.. CpuOps.ConvForward(shape, N, x, lab.Download(folded.Weights)).Select((value, i) => value + bias[i % Out])], "y");
    });

    [Theory]
    [InlineData(Precision.Fp32, 3, 14 * 14, 32)]
    [InlineData(Precision.Fp32, 5, 1, 256)]
    [InlineData(Precision.Fp32, 4, 1, 19)] // no multiple of four: sample by sample, element by element
    [InlineData(Precision.Bf16, 3, 14 * 14, 32)]
    [InlineData(Precision.Bf16, 4, 1, 19)]
    public void Bias_relu_and_dropout(Precision precision, int n, int pixels, int channels) => DeviceLab.Run(precision, lab =>
    {
        const double Rate = 0.3;
        int size = pixels * channels;
        float[] y = Values(precision, 1, n * size), bias = Values(Precision.Fp32, 2, channels), dz = Values(precision, 3, n * size);
        float[] biased = [.. y.Select((value, i) => value + bias[i % channels])];
        float[] expected = CpuOps.Dropout(n, size, biased, Seed, Rate, layer: 2, epoch: 5);
        float keep = (float)(1 / (1 - Rate));
        float[] expectedDY = [.. dz.Select((value, i) => expected[i] > 0 ? value * keep : 0)];
        float[] expectedDBias = [.. Enumerable.Range(0, channels).Select(c => (float)Enumerable.Range(0, n * pixels).Sum(row => (double)expectedDY[row * channels + c]))];

        Activation activation = new(lab.Session, n, new Shape(channels, pixels, 1), new DropoutLayer("drop", Rate), 2);
        DeviceTensor z = lab.Empty(y.Length), gradient = lab.Upload(dz), dBias = lab.Empty(channels, DeviceType.F32);
        DeviceTensor sums = lab.Empty(Activation.MostSums * channels, DeviceType.F32), state = lab.State(n, epoch: 5);
        activation.Forward(state, lab.Upload(y), lab.Upload(bias, DeviceType.F32), z, Seed, training: true);
        activation.Backward(z, gradient, sums, dBias);
        Close(precision, expected, lab.Download(z), "z");
        Close(precision, expectedDY, lab.Download(gradient), "dY");
        Close(precision, expectedDBias, lab.Download(dBias), "dB");

        activation.Forward(state, lab.Upload(y), lab.Upload(bias, DeviceType.F32), z, Seed, training: false);
        Close(precision, Array.ConvertAll(biased, value => Math.Max(value, 0)), lab.Download(z), "z in evaluation");
    });

    [Theory]
    [InlineData(Precision.Fp32, 3, 28, 32, true)]
    [InlineData(Precision.Fp32, 4, 11, 64, true)] // a row and a column are in no window
    [InlineData(Precision.Fp32, 100, 26, 32, true)] // more windows than threads
    [InlineData(Precision.Fp32, 1, 3, 4, false)]
    [InlineData(Precision.Bf16, 4, 11, 64, true)]
    [InlineData(Precision.Bf16, 3, 28, 256, false)]
    public void Pooling_bias_relu_and_dropout_in_one_pass(Precision precision, int n, int side, int channels, bool withBias) => DeviceLab.Run(precision, lab =>
    {
        const double Rate = 0.3;
        int half = side / 2, pooledSize = half * half * channels;
        float[] x = Values(precision, 1, n * side * side * channels), bias = withBias ? Values(Precision.Fp32, 2, channels) : new float[channels], dz = Values(precision, 3, n * pooledSize);
        int[] greatest = [.. Enumerable.Range(0, dz.Length).Select(Greatest)];
        float[] biased = [.. greatest.Select((at, i) => x[at] + bias[i % channels])];
        float[] z = CpuOps.Dropout(n, pooledSize, biased, Seed, Rate, layer: 2, epoch: 5), dx = new float[x.Length];
        double[] dBias = new double[channels];
        for (int i = 0; i < dz.Length; i++)
        {
            float masked = z[i] > 0 ? dz[i] * (float)(1 / (1 - Rate)) : 0;
            dx[greatest[i]] = masked;
            dBias[i % channels] += masked;
        }

        PooledActivation pooled = new(lab.Session, n, new Shape(channels, side, side), new DropoutLayer("drop", Rate), 2);
        DeviceTensor from = lab.Upload(x), to = lab.Empty(z.Length), gradient = lab.Upload(Array.ConvertAll(dx, _ => float.NaN)), state = lab.State(n, epoch: 5);
        DeviceTensor? biasOnDevice = withBias ? lab.Upload(bias, DeviceType.F32) : null, sums = withBias ? lab.Empty(Activation.MostSums * channels, DeviceType.F32) : null, total = withBias ? lab.Empty(channels, DeviceType.F32) : null;
        pooled.Forward(state, from, biasOnDevice, to, Seed, training: true);
        pooled.Backward(from, to, lab.Upload(dz), gradient, sums, total);
        Close(precision, z, lab.Download(to), "z");
        Close(precision, dx, lab.Download(gradient), "dX");
        Assert.Equal(dx.Select(value => value == 0), lab.Download(gradient).Select(value => value == 0));
        if (total is { } left)
        {
            Close(precision, Array.ConvertAll(dBias, value => (float)value), lab.Download(left), "dB");
        }

        x[greatest[0]] = float.NaN;
        lab.Upload(x, from);
        pooled.Forward(state, from, biasOnDevice, to, Seed, training: false);
        float[] predicted = lab.Download(to);
        Assert.True(float.IsNaN(predicted[0]));
        Close(precision, [.. biased.Select(value => Math.Max(value, 0)).Skip(1)], predicted[1..], "z in evaluation");

        int Greatest(int i) // the first of them
        {
            (int channel, int column, int row, int sample) = (i % channels, i / channels % half, i / channels / half % half, i / pooledSize);
            int corner = ((((sample * side) + (2 * row)) * side) + (2 * column)) * channels + channel;
            return new[] { corner, corner + channels, corner + (side * channels), corner + ((side + 1) * channels) }.MaxBy(at => x[at]);
        }
    });

    [Fact]
    public void A_tensor_that_is_too_small_or_of_another_type_is_refused() => DeviceLab.Run(Precision.Fp32, lab =>
    {
        Dense dense = new(lab.Session, 4, 8, 3);
        DeviceTensor x = lab.Empty(32), w = lab.Empty(24), y = lab.Empty(12);
        Assert.Throws<InvalidOperationException>(() => dense.Forward(x, w, y.Slice(0, 11)));
        Assert.Throws<InvalidOperationException>(() => dense.Forward(x.Slice(0, 31), w, y));
        Assert.Throws<InvalidOperationException>(() => dense.Forward(lab.Empty(32, DeviceType.Bf16), w, y));
    });

    [Theory]
    [InlineData(Precision.Fp32, false)]
    [InlineData(Precision.Fp32, true)]
    [InlineData(Precision.Bf16, true)]
    public void Gathering_and_augmentation(Precision precision, bool augmented) => DeviceLab.Run(precision, lab =>
    {
        const int N = 40;
        DigitDataset data = GeneratedDigits.Create(N, seed: 3);
        AugmentationSpec augmentation = augmented ? new AugmentationSpec(180, 0.2f, 0.3f) : AugmentationSpec.None;
        float[] expected = new float[N * DigitDataset.PixelCount];
        for (int n = 0; n < N; n++)
        {
            CpuGather(data.Image(n), augmentation, n, epoch: 7, expected.AsSpan(n * DigitDataset.PixelCount, DigitDataset.PixelCount));
        }

        DeviceTensor x = lab.Empty(expected.Length);
        DeviceTensor state = lab.State(N + 1, data.Pixels.ToArray(), epoch: 7, rate: 1e-3f);
        new GatherAugment(lab.Session, N, fused: null).Training(state, x, augmentation, Seed, weightDecay: 0);
        Close(precision, expected, lab.Download(x), "x");
        StepState after = lab.Download<StepState>(state);
        Assert.Equal((0u, (uint)N, 1u, 1L, (long)N, 0u), (after.First, after.Next, after.Step, after.AdamStep, after.Samples, after.Arrived));
    });

    [Theory]
    [InlineData(Precision.Fp32, 1, 1, 72)] // not all lanes have features
    [InlineData(Precision.Fp32, 64, 1, 256)]
    [InlineData(Precision.Fp32, 64, 3, 72)] // the product comes in parts
    [InlineData(Precision.Fp32, 1500, 1, 72)] // more than one sample per warp
    [InlineData(Precision.Bf16, 64, 2, 72)]
    public void Head(Precision precision, int n, int parts, int features) => DeviceLab.Run(precision, lab =>
    {
        const int Classes = 10;
        const double Rate = 0.3;
        NetworkSpec network = new(
            "narrow", new Shape(1, 28, 28),
            [
                new Conv2dLayer("conv1", 1, 2, 3, 0, Bias: true), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 2), new FlattenLayer("flatten"),
                new LinearLayer("fc1", 2 * 13 * 13, features), new ReLULayer("relu2"), new DropoutLayer("drop1", Rate), new LinearLayer("fc2", features, Classes),
            ]);
        using DeviceArena arena = new();
        CudaNetwork net = new(lab.Session, arena, network, n, training: true, Convolver.Cudnn);
        HeadTensors tensors = new(lab.Session, arena, new BlockPlan(network), net.Parameters, n, parts * n, training: true);
        arena.Allocate(lab.Session.Context);
        lab.Session.Stream.Clear((nint)arena.Base, arena.Bytes);
        using DeviceParameters parameters = net.Parameters;
        NetworkWeights weights = Initializer.Create(network, 1);
        float[] hiddenBias = Values(Precision.Fp32, 3, features), w = [.. Values(precision, 4, Classes * features).Select(value => value / 8)], bias = Values(Precision.Fp32, 5, Classes);
        hiddenBias.CopyTo(weights["fc1.bias"]);
        w.CopyTo(weights["fc2.weight"]);
        bias.CopyTo(weights["fc2.bias"]);
        bias[3] = weights["fc2.bias"][3] += 40; // far from the others: probabilities of 1 and next to 0
        parameters.Load(lab.Session.Stream, weights, new AdamState(network));
        new Adam(lab.Session).RoundWeights(parameters);

        float[] y = Values(precision, 6, n * features);
        byte[] labels = [.. Enumerable.Range(0, n).Select(i => (byte)(i * 7 % Classes))];
        float[] biased = [.. y.Select((value, i) => value + hiddenBias[i % features])], z = CpuOps.Dropout(n, features, biased, Seed, Rate, layer: 0, epoch: 5);
        double[] dLogits = new double[n * Classes];
        float[] logits = new float[n * Classes], one = new float[Classes];
        double loss = 0;
        long correct = 0;
        for (int i = 0; i < n; i++)
        {
            for (int c = 0; c < Classes; c++)
            {
                logits[i * Classes + c] = (float)(bias[c] + Enumerable.Range(0, features).Sum(k => (double)z[i * features + k] * w[c * features + k]));
            }

            (double of, bool hit) = CudnnDigits.Cpu.SoftmaxCrossEntropy.Backward(logits.AsSpan(i * Classes, Classes), labels[i], 1.0 / n, one);
            (loss, correct) = (loss + of, correct + (hit ? 1 : 0));
            Array.ConvertAll(one, value => (double)value).CopyTo(dLogits, i * Classes);
        }

        float keep = (float)(1 / (1 - Rate));
        float[] dy = [.. z.Select((value, i) => value > 0 ? keep * (float)Enumerable.Range(0, Classes).Sum(c => dLogits[i / features * Classes + c] * w[c * features + i % features]) : 0)];

        float[] inParts = [.. Values(Precision.Fp32, 7, (parts - 1) * y.Length), .. y];
        for (int i = 0; i < (parts - 1) * y.Length; i++)
        {
            inParts[((parts - 1) * y.Length) + (i % y.Length)] -= inParts[i];
        }

        lab.Upload(inParts, tensors.Y);
        DeviceTensor state = lab.State(n, labels: labels, epoch: 5);
        Head head = new(lab.Session, tensors, n, parts);
        head.Training(state, Seed);
        head.AddUp();
        Close(precision, logits, lab.Download(tensors.Logits), "logits");
        Close(precision, dy, lab.Download(tensors.DY), "dY");
        Close(precision, Sums(features, (i, k) => dy[i * features + k]), lab.Download(parameters.Gradient("fc1.bias")), "d hidden bias");
        Close(precision, Sums(Classes, (i, c) => dLogits[i * Classes + c]), lab.Download(parameters.Gradient("fc2.bias")), "d bias");
        Close(precision, Sums(Classes * features, (i, at) => dLogits[i * Classes + at / features] * z[i * features + at % features]), lab.Download(parameters.Gradient("fc2.weight")), "dW");
        Assert.All(lab.Download(tensors.Gradients)[features..((features + 63) / 64 * 64)], padding => Assert.Equal(0, padding));
        StepState sums = lab.Download<StepState>(state);
        Assert.Equal(loss, sums.Loss, loss * 1e-6);
        Assert.Equal(correct, sums.Correct);

        // Prediction: no dropout; rows that only fill up the batch are left out.
        float[] whole = Array.ConvertAll(biased, value => Math.Max(value, 0)), predicted = new float[n * Classes];
        for (int i = 0; i < (n - 1) * Classes; i++)
        {
            predicted[i] = (float)(bias[i % Classes] + Enumerable.Range(0, features).Sum(k => (double)whole[i / Classes * features + k] * w[i % Classes * features + k]));
        }

        DeviceTensor to = lab.Upload(new float[n * Classes], DeviceType.F32);
        head.Prediction(lab.Upload<StepState>([new StepState { Rows = (uint)(n - 1), Predictions = to.Address }]));
        if (n > 1)
        {
            Close(precision, predicted, lab.Download(to), "predictions");
        }

        float[] Sums(int count, Func<int, int, double> value) => [.. Enumerable.Range(0, count).Select(at => (float)Enumerable.Range(0, n).Sum(i => value(i, at)))];
    });

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 30)] // far more than anyone takes: each parameter loses a tenth
    [InlineData(999, 0.1)]
    public unsafe void Adam_update(int stepsBefore, double weightDecay) => DeviceLab.Run(Precision.Fp32, lab =>
    {
        const int Count = 1000;
        const float Rate = 3e-3f;
        float[] w = Values(Precision.Fp32, 1, Count), dw = Values(Precision.Fp32, 2, Count), m = Values(Precision.Fp32, 3, Count), v = Array.ConvertAll(Values(Precision.Fp32, 4, Count), Math.Abs);
        DeviceTensor state = lab.State(1, new byte[DigitDataset.PixelCount], adamStep: stepsBefore, rate: Rate), dW = lab.Upload(w), dM = lab.Upload(m), dV = lab.Upload(v);
        nint stateAt = state.Address, wAt = dW.Address, gradientAt = lab.Upload(dw).Address, mAt = dM.Address, vAt = dV.Address, none = 0;
        int count = Count, narrow = 0, first = 0, end = 0;
        new GatherAugment(lab.Session, 1, fused: null).Training(state, lab.Empty(DigitDataset.PixelCount), AugmentationSpec.None, Seed, weightDecay);
        void** update = stackalloc void*[] { &stateAt, &wAt, &gradientAt, &none, &mAt, &vAt, &none, &none, &first, &end, &count, &narrow };
        lab.Session.Launch("adam", (4, 1), (256, 1), update);
        float[] before = [.. w];
        fixed (float* cw = w, cdw = dw, cm = m, cv = v)
        {
            Adam<Simd128, System.Runtime.Intrinsics.Vector128<float>>.Update(Count, cw, cdw, cm, cv, Rate, weightDecay, stepsBefore + 1);
        }

        Close(Precision.Fp32, m, lab.Download(dM), "m");
        Close(Precision.Fp32, v, lab.Download(dV), "v");
        Close(Precision.Fp32, Difference(w, before), Difference(lab.Download(dW), before), "the change of w");
        Assert.Equal(stepsBefore + 1, lab.Download<StepState>(state).AdamStep);
    });

    /// <summary>Random values in ±1, rounded where they will be bfloat16, so that both sides compute from the same ones.</summary>
    private static float[] Values(Precision precision, uint stream, int count)
    {
        uint[] words = new uint[count];
        new Philox(Seed).Fill(words, stream, 0, 99);
        float[] values = Array.ConvertAll(words, word => 2 * Philox.ToUniform(word) - 1);
        return precision == Precision.Bf16 ? Array.ConvertAll(values, value => BitConverter.UInt32BitsToSingle((uint)DeviceLab.Round(value) << 16)) : values;
    }

    /// <summary>Normalised mean squared error, Σ (a − b)² / Σ a².</summary>
    private static void Close(Precision precision, float[] expected, float[] actual, string what, double? tolerated = null)
    {
        double tolerance = tolerated ?? precision switch { Precision.Fp32 => 1e-8, Precision.Tf32 => 1e-6, _ => 1e-4 };
        Assert.Equal(expected.Length, actual.Length);
        double error = 0, norm = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            error += Math.Pow((double)expected[i] - actual[i], 2);
            norm += Math.Pow(expected[i], 2);
        }

        Assert.True(norm > 0 && error / norm <= tolerance, $"{what}: normalised mean squared error {error / norm:E2}, tolerated {tolerance:E0}");
    }

    private static float[] Difference(float[] a, float[] b) => [.. a.Zip(b, (x, y) => x - y)];

    private static unsafe void CpuGather(ReadOnlySpan<byte> image, AugmentationSpec augmentation, int sample, uint epoch, Span<float> x)
    {
        fixed (float* to = x)
        {
            if (augmentation.IsEnabled)
            {
                CudnnDigits.Cpu.GatherAugment<CudnnDigits.Cpu.Simd256, System.Runtime.Intrinsics.Vector256<float>>.Forward(image, augmentation.Draw(new Philox(Seed), (uint)sample, epoch), to, DigitDataset.Side);
            }
            else
            {
                CudnnDigits.Cpu.GatherAugment<CudnnDigits.Cpu.Simd256, System.Runtime.Intrinsics.Vector256<float>>.Forward(image, to, DigitDataset.Side);
            }
        }
    }
}
