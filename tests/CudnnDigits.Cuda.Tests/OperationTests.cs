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

    public static TheoryData<Precision, int, int, int, int, int, int> Convolutions
    {
        get
        {
            TheoryData<Precision, int, int, int, int, int, int> data = [];
            foreach (Precision precision in Enum.GetValues<Precision>())
            {
                data.Add(precision, 3, 1, 28, 32, 3, 1);
                data.Add(precision, 5, 1, 28, 32, 3, 0);
                data.Add(precision, 3, 32, 28, 32, 3, 1);
                data.Add(precision, 2, 32, 13, 64, 3, 0);
                data.Add(precision, 4, 64, 14, 64, 3, 1);
                data.Add(precision, 2, 16, 9, 24, 5, 2);
                data.Add(precision, 2, 8, 7, 8, 1, 0);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Convolutions))]
    public void Convolution(Precision precision, int n, int c, int side, int k, int kernel, int padding) => DeviceLab.Run(precision, lab =>
    {
        ConvShape shape = new(c, side, side, k, kernel, padding);
        float[] x = Values(precision, 1, n * side * side * c), w = Values(precision, 2, shape.WeightSize), dy = Values(precision, 3, n * shape.OutputSize);
        using Conv2d conv = new(lab.Session, new ConvPlan(new Conv2dLayer("conv", c, k, kernel, padding, false), null, null, null, 0, new Shape(c, side, side)), n, 64 << 20, training: true);
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

    [Theory]
    [MemberData(nameof(Precisions))]
    public void Dense_layer(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        const int N = 13;
        DenseShape shape = new(320, 48);
        float[] x = Values(precision, 1, N * shape.In), w = Values(precision, 2, shape.WeightSize), dy = Values(precision, 3, N * shape.Out);
        Dense dense = new(lab.Session, N, shape.In, shape.Out);
        lab.Session.SetBlasWorkspace(lab.Empty(Interop.CublasHandle.WorkspaceBytes, DeviceType.U8));
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
        using BatchNorm2d layer = new(lab.Session, N, shape);
        using MaxPool2d? pooling = window > 1 ? new MaxPool2d(lab.Session, new MaxPool2dLayer("pool", window), N, shape) : null;
        Activation activation = new(lab.Session, N, pooled, null, 0);
        layer.Forward(x, normal, norm, training: true);
        pooling?.Forward(normal, p);
        activation.Forward(lab.State(N), p, null, z, Seed, training: true);
        activation.Backward(z, gradient, null);
        pooling?.Backward(p, gradient, normal, unpooled);
        layer.Backward(x, unpooled, dX, norm);

        Close(precision, expected.A, lab.Download(z), "a");
        // Rounded to bfloat16, neighbours in a window may be equal, and the first takes the gradient that was the other's.
        double? ties = precision == Precision.Bf16 && window > 1 ? 1e-2 : null;
        Close(precision, expected.DY, lab.Download(dX), "dY", ties);
        Close(precision, expected.DGamma, lab.Download(norm.DGamma), "dγ", ties);
        Close(precision, expected.DBeta, lab.Download(norm.DBeta), "dβ");
        Close(precision, expected.RunningMean, lab.Download(norm.RunningMean), "running mean");
        Close(precision, expected.RunningVariance, lab.Download(norm.RunningVariance), "running variance");
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
        activation.Backward(z, gradient, sums);
        activation.BackwardBias(sums, dBias);
        Close(precision, expected, lab.Download(z), "z");
        Close(precision, expectedDY, lab.Download(gradient), "dY");
        Close(precision, expectedDBias, lab.Download(dBias), "dB");

        activation.Forward(state, lab.Upload(y), lab.Upload(bias, DeviceType.F32), z, Seed, training: false);
        Close(precision, Array.ConvertAll(biased, value => Math.Max(value, 0)), lab.Download(z), "z in evaluation");
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
        new GatherAugment(lab.Session, N).Forward(lab.State(N, data.Pixels.ToArray(), epoch: 7), x, augmentation, Seed);
        Close(precision, expected, lab.Download(x), "x");
    });

    [Theory]
    [InlineData(Precision.Fp32, 64)]
    [InlineData(Precision.Fp32, 1500)] // more than one sample per thread
    [InlineData(Precision.Bf16, 64)]
    public void Softmax_and_cross_entropy(Precision precision, int n) => DeviceLab.Run(precision, lab =>
    {
        const int Classes = 10;
        float[] z = [.. Values(Precision.Fp32, 1, n * Classes).Select(value => 6 * value)], bias = Values(Precision.Fp32, 2, Classes), dz = new float[z.Length];
        z[0] = 300; // far from the others: probabilities of exactly 1 and 0
        byte[] labels = [.. Enumerable.Range(0, n).Select(i => (byte)(i * 7 % Classes))];
        float[] biased = [.. z.Select((value, i) => value + bias[i % Classes])];
        double loss = 0;
        long correct = 0;
        for (int i = 0; i < n; i++)
        {
            (double one, bool hit) = CudnnDigits.Cpu.SoftmaxCrossEntropy.Backward(biased.AsSpan(i * Classes, Classes), labels[i], 1.0 / n, dz.AsSpan(i * Classes, Classes));
            loss += one;
            correct += hit ? 1 : 0;
        }

        DeviceTensor state = lab.State(n, labels: labels), logits = lab.Upload(z, DeviceType.F32), gradient = lab.Empty(z.Length), dBias = lab.Empty(Classes, DeviceType.F32);
        SoftmaxCrossEntropy operation = new(lab.Session, n, Classes);
        operation.Backward(state, logits, lab.Upload(bias, DeviceType.F32), gradient, dBias);
        float[] stored = lab.Download(gradient);
        Close(precision, dz, stored, "dLogits");
        Close(Precision.Fp32, [.. Enumerable.Range(0, Classes).Select(c => (float)Enumerable.Range(0, n).Sum(row => (double)stored[row * Classes + c]))], lab.Download(dBias), "dB");
        Assert.Equal(biased, lab.Download(logits));
        StepState sums = lab.Download<StepState>(state);
        Assert.Equal(loss, sums.Loss, loss * 1e-6);
        Assert.Equal(correct, sums.Correct);
    });

    [Theory]
    [InlineData(0)]
    [InlineData(999)]
    public unsafe void Adam_update(int stepsBefore) => DeviceLab.Run(Precision.Fp32, lab =>
    {
        const int Count = 1000;
        const float Rate = 3e-3f;
        float[] w = Values(Precision.Fp32, 1, Count), dw = Values(Precision.Fp32, 2, Count), m = Values(Precision.Fp32, 3, Count), v = Array.ConvertAll(Values(Precision.Fp32, 4, Count), Math.Abs);
        DeviceTensor state = lab.State(1, adamStep: stepsBefore, rate: Rate), dW = lab.Upload(w), dM = lab.Upload(m), dV = lab.Upload(v);
        nint stateAt = state.Address, wAt = dW.Address, gradientAt = lab.Upload(dw).Address, mAt = dM.Address, vAt = dV.Address, none = 0;
        int one = 1, count = Count, narrow = 0;
        void** begin = stackalloc void*[] { &stateAt, &one };
        lab.Session.Launch("begin_training_step", (1, 1), (32, 1), begin);
        void** update = stackalloc void*[] { &stateAt, &wAt, &gradientAt, &none, &mAt, &vAt, &none, &count, &narrow };
        lab.Session.Launch("adam", (4, 1), (256, 1), update);
        float[] before = [.. w];
        fixed (float* cw = w, cdw = dw, cm = m, cv = v)
        {
            Adam<Simd128, System.Runtime.Intrinsics.Vector128<float>>.Update(Count, cw, cdw, cm, cv, Rate, stepsBefore + 1);
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
