using CudnnDigits.Cpu;
using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Each operation against the CPU backend's, on random tensors. docs/numerics.md says where the tolerances come from.</summary>
public partial class OperationTests
{
    private const ulong Seed = 0x1234_5678_9ABC;

    public static TheoryData<Precision> Precisions => [Precision.Fp32, Precision.Tf32, Precision.Bf16];

    /// <summary>In double: what comes out is the sum, rounded once. Gradients of weights leave 1 to 264 rows.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(17)]
    [InlineData(40)]
    [InlineData(41)]
    [InlineData(73)]
    [InlineData(264)]
    public void Columns_are_added_up(int rows) => DeviceLab.Run(Precision.Fp32, lab =>
    {
        const int Columns = 70; // of blocks of 32
        float[] x = Values(Precision.Fp32, 1, rows * Columns);
        DeviceTensor total = lab.Empty(Columns, DeviceType.F32);
        ColumnSums.AddUp(lab.Session, lab.Upload(x), rows, Columns, total);
        double[] sums = [.. Enumerable.Range(0, Columns).Select(c => Enumerable.Range(0, rows).Sum(row => (double)x[row * Columns + c]))];
        Assert.Equal(Array.ConvertAll(sums, sum => (float)sum), lab.Download(total));
    });

    [Theory]
    [MemberData(nameof(Precisions))]
    public void Dense_layer(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        const int N = 13;
        DenseShape shape = new(320, 48);
        float[] x = Values(precision, 1, N * shape.In), w = Values(precision, 2, shape.WeightSize),
        dy = Values(precision, 3, N * shape.Out);
        Dense dense = new(lab.Session, N, new LinearLayer("fc", shape.In, shape.Out));
        DeviceArena arena = new();
        lab.Session.ReserveBlasWorkspaces(arena, ofBranches: false);
        arena.Allocate(lab.Session.Context.Handles);
        lab.Session.UseBlasWorkspaces();
        DeviceTensor dX = lab.Upload(x), dW = lab.Upload(w), dDY = lab.Upload(dy);
        DeviceTensor y = lab.Empty(dy.Length), logits = lab.Empty(dy.Length, DeviceType.F32), dx = lab.Empty(x.Length),
        dw = lab.Empty(w.Length, DeviceType.F32);
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
        float[] expectedDBias =
            [.. Enumerable.Range(0, channels)
            .Select(c => (float)Enumerable.Range(0, n * pixels).Sum(row => (double)expectedDY[row * channels + c]))];

        Activation activation = new(lab.Session, n, new Shape(channels, pixels, 1), Dropout.Of(new DropoutLayer("drop", Rate), 2, Seed));
        DeviceTensor z = lab.Empty(y.Length), gradient = lab.Upload(dz), dBias = lab.Empty(channels, DeviceType.F32);
        DeviceTensor sums = lab.Empty(Activation.MostSums * channels, DeviceType.F32), state = lab.State(n, epoch: 5);
        activation.Forward(state, lab.Upload(y), lab.Upload(bias, DeviceType.F32), z, training: true);
        activation.Backward(z, gradient, sums, dBias);
        Close(precision, expected, lab.Download(z), "z");
        Close(precision, expectedDY, lab.Download(gradient), "dY");
        Close(precision, expectedDBias, lab.Download(dBias), "dB");

        activation.Forward(state, lab.Upload(y), lab.Upload(bias, DeviceType.F32), z, training: false);
        Close(precision, Array.ConvertAll(biased, value => Math.Max(value, 0)), lab.Download(z), "z in evaluation");
    });

    [Fact]
    public void A_tensor_that_is_too_small_or_of_another_type_is_refused() => DeviceLab.Run(Precision.Fp32, lab =>
    {
        Dense dense = new(lab.Session, 4, new LinearLayer("fc", 8, 3));
        DeviceTensor x = lab.Empty(32), w = lab.Empty(24), y = lab.Empty(12);
        Assert.Throws<InvalidOperationException>(() => dense.Forward(x, w, y.Slice(0, 11)));
        Assert.Throws<InvalidOperationException>(() => dense.Forward(x.Slice(0, 31), w, y));
        Assert.Throws<InvalidOperationException>(() => dense.Forward(lab.Empty(32, DeviceType.Bf16), w, y));
    });

    [Theory]
    [InlineData(Precision.Fp32, false, 0)]
    [InlineData(Precision.Fp32, true, 0)]
    [InlineData(Precision.Fp32, true, 4)]
    [InlineData(Precision.Bf16, true, 4)]
    public void Gathering_and_augmentation(Precision precision, bool augmented, double elastic) => DeviceLab.Run(precision, lab =>
    {
        const int N = 40;
        DigitDataset data = GeneratedDigits.Create(N, seed: 3);
        AugmentationSpec augmentation = augmented ? new AugmentationSpec(180, 0.2, 0.3, elastic) : AugmentationSpec.None;
        float[] expected = new float[N * DigitDataset.PixelCount];
        for (int n = 0; n < N; n++)
        {
            CpuGather(data.Image(n), augmentation, n, epoch: 7, expected.AsSpan(n * DigitDataset.PixelCount, DigitDataset.PixelCount));
        }

        DeviceTensor x = lab.Empty(expected.Length);
        DeviceTensor state = lab.State(N + 1, data.Pixels.ToArray(), epoch: 7, rate: 1e-3f);
        new GatherAugment(lab.Session, N).Training(state, x, Gathering.ForTraining(augmentation, Seed));
        Close(precision, expected, lab.Download(x), "x");
        StepState after = lab.Download<StepState>(state);
        Assert.Equal((0u, (uint)N, 1u, 0L, (long)N, 0u),
            (after.First, after.Next, after.Step, after.AdamStep, after.Samples, after.Arrived));
    });

    [Theory]
    [InlineData(Precision.Fp32, 1, 1, 72, 0)] // not all lanes have features
    [InlineData(Precision.Fp32, 64, 1, 256, 0.1)]
    [InlineData(Precision.Fp32, 64, 3, 72, 0)] // the product comes in parts
    [InlineData(Precision.Fp32, 1500, 1, 72, 0.1)] // more than one sample per warp
    [InlineData(Precision.Bf16, 64, 2, 72, 0)]
    public void Head(Precision precision, int n, int parts, int features, double smoothing) => DeviceLab.Run(precision, lab =>
    {
        const int Classes = 10;
        const double Rate = 0.3;
        NetworkSpec network = new(
            "narrow", new Shape(1, 28, 28),
            [
                new Conv2dLayer("conv1", 1, 2, 3, 0, Bias: true), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 2),
                new FlattenLayer("flatten"),
                new LinearLayer("fc1", 2 * 13 * 13, features), new ReLULayer("relu2"), new DropoutLayer("drop1", Rate),
                new LinearLayer("fc2", features, Classes),
            ]);
        DeviceArena arena = new();
        LayeredNetwork net = new(lab.Session, arena, network, n, new OptimizerSpec().Buffers);
        HeadTensors tensors = new(lab.Session, arena, new BlockPlan(network), net.Parameters, n, _ => parts * n, training: true);
        arena.Allocate(lab.Session.Context.Handles);
        lab.Session.Stream.Clear((nint)arena.Base, arena.Bytes);
        DeviceParameters parameters = net.Parameters;
        NetworkWeights weights = Initializer.Create(network, 1);
        float[] hiddenBias = Values(Precision.Fp32, 3, features),
        w = [.. Values(precision, 4, Classes * features).Select(value => value / 8)], bias = Values(Precision.Fp32, 5, Classes);
        hiddenBias.CopyTo(weights["fc1.bias"]);
        w.CopyTo(weights["fc2.weight"]);
        bias.CopyTo(weights["fc2.bias"]);
        bias[3] = weights["fc2.bias"][3] += 40; // far from the others: probabilities of 1 and next to 0
        parameters.Load(lab.Session.Stream, weights, new OptimizerState(network));
        Adam.RoundWeights(lab.Session, parameters);

        float[] y = Values(precision, 6, n * features);
        byte[] labels = [.. Enumerable.Range(0, n).Select(i => (byte)(i * 7 % Classes))];
        float[] biased = [.. y.Select((value, i) => value + hiddenBias[i % features])],
        z = CpuOps.Dropout(n, features, biased, Seed, Rate, layer: 0, epoch: 5);
        double[] dLogits = new double[n * Classes];
        float[] logits = new float[n * Classes], one = new float[Classes];
        double loss = 0;
        long correct = 0;
        for (int i = 0; i < n; i++)
        {
            for (int c = 0; c < Classes; c++)
            {
                logits[i * Classes + c] =
                    (float)(bias[c] + Enumerable.Range(0, features).Sum(k => (double)z[i * features + k] * w[c * features + k]));
            }

            (double of, bool hit) =
                CudnnDigits.Cpu.SoftmaxCrossEntropy.Backward(logits.AsSpan(i * Classes, Classes), labels[i], (float)smoothing, 1.0 / n,
                one);
            (loss, correct) = (loss + of, correct + (hit ? 1 : 0));
            Array.ConvertAll(one, value => (double)value).CopyTo(dLogits, i * Classes);
        }

        float keep = (float)(1 / (1 - Rate));
        float[] dy = [.. z.Select((value, i) => value > 0
            ? keep * (float)Enumerable.Range(0, Classes).Sum(c => dLogits[i / features * Classes + c] * w[c * features + i % features])
            : 0)];

        float[] inParts = [.. Values(Precision.Fp32, 7, (parts - 1) * y.Length), .. y];
        for (int i = 0; i < (parts - 1) * y.Length; i++)
        {
            inParts[((parts - 1) * y.Length) + (i % y.Length)] -= inParts[i];
        }

        lab.Upload(inParts, tensors.Y);
        DeviceTensor state = lab.State(n, labels: labels, epoch: 5, smoothing: (float)smoothing);
        Head head = new(lab.Session, tensors, n, parts);
        head.Training(state, Seed);
        head.AddUp();
        Close(precision, logits, lab.Download(tensors.Logits), "logits");
        Close(precision, dy, lab.Download(tensors.DY), "dY");
        Close(precision, Sums(features, (i, k) => dy[i * features + k]), lab.Download(parameters.Gradient("fc1.bias")), "d hidden bias");
        Close(precision, Sums(Classes, (i, c) => dLogits[i * Classes + c]), lab.Download(parameters.Gradient("fc2.bias")), "d bias");
        Close(precision, Sums(Classes * features, (i, at) => dLogits[i * Classes + at / features] * z[i * features + at % features]),
            lab.Download(parameters.Gradient("fc2.weight")), "dW");
        Assert.All(lab.Download(tensors.Gradients)[features..((features + 63) / 64 * 64)], padding => Assert.Equal(0, padding));
        StepState sums = lab.Download<StepState>(state);
        Assert.Equal(loss, sums.Loss, loss * 1e-6);
        Assert.Equal(correct, sums.Correct);

        // Prediction: no dropout; rows that only fill up the batch are left out.
        float[] whole = Array.ConvertAll(biased, value => Math.Max(value, 0)), predicted = new float[n * Classes];
        for (int i = 0; i < (n - 1) * Classes; i++)
        {
            predicted[i] = (float)(bias[i % Classes]
                + Enumerable.Range(0, features).Sum(k => (double)whole[i / Classes * features + k] * w[i % Classes * features + k]));
        }

        DeviceTensor to = lab.Upload(new float[n * Classes], DeviceType.F32);
        head.Prediction(lab.Upload<StepState>([new StepState { Rows = (uint)(n - 1), Predictions = to.Address }]));
        if (n > 1)
        {
            Close(precision, predicted, lab.Download(to), "predictions");
        }

        float[] Sums(int count, Func<int, int, double> value) =>
            [.. Enumerable.Range(0, count).Select(at => (float)Enumerable.Range(0, n).Sum(i => value(i, at)))];
    });

    /// <summary>The end of a network without a hidden layer that the other kernel takes, against its definition in double.</summary>
    [Theory]
    [InlineData(Precision.Fp32, 1, 0)]
    [InlineData(Precision.Fp32, 64, 0.1)]
    [InlineData(Precision.Fp32, 1500, 0.9)] // more than one sample per warp
    [InlineData(Precision.Bf16, 64, 0.1)]
    public void Head_that_begins_with_the_logits(Precision precision, int n, double smoothing) => DeviceLab.Run(precision, lab =>
    {
        const int Classes = 10;
        NetworkSpec network = new("regression", new Shape(1, 28, 28), [new FlattenLayer("flatten"), new LinearLayer("fc1", 784, Classes)]);
        DeviceArena arena = new();
        LayeredNetwork net = new(lab.Session, arena, network, n, new OptimizerSpec().Buffers);
        HeadTensors tensors = new(lab.Session, arena, new BlockPlan(network), net.Parameters, n, _ => n, training: true);
        arena.Allocate(lab.Session.Context.Handles);
        lab.Session.Stream.Clear((nint)arena.Base, arena.Bytes);
        NetworkWeights weights = Initializer.Create(network, 1);
        Values(Precision.Fp32, 5, Classes).CopyTo(weights["fc1.bias"]);
        weights["fc1.bias"][3] += 40; // far from the others: probabilities of 1 and next to 0
        net.Parameters.Load(lab.Session.Stream, weights, new OptimizerState(network));

        float[] y = Values(Precision.Fp32, 6, n * Classes), logits = [.. y.Select((value, i) => value + weights["fc1.bias"][i % Classes])];
        byte[] labels = [.. Enumerable.Range(0, n).Select(i => (byte)(i * 7 % Classes))];
        double[] gradient = new double[n * Classes];
        double loss = 0;
        long correct = 0;
        for (int i = 0; i < n; i++)
        {
            double[] z = [.. logits.Skip(i * Classes).Take(Classes).Select(value => (double)value)];
            double most = z.Max(), logSum = most + Math.Log(z.Sum(value => Math.Exp(value - most)));
            for (int c = 0; c < Classes; c++)
            {
                double target = (c == labels[i] ? 1 - (double)(float)smoothing : 0) + (float)smoothing / (double)Classes;
                loss += target * (logSum - z[c]);
                gradient[i * Classes + c] = (Math.Exp(z[c] - logSum) - target) / n;
            }

            correct += z[labels[i]] == most ? 1 : 0;
        }

        lab.Upload(y, tensors.Y);
        DeviceTensor state = lab.State(n, labels: labels, smoothing: (float)smoothing);
        Head head = new(lab.Session, tensors, n, parts: 1);
        head.Training(state, Seed);
        head.AddUp();
        Close(Precision.Fp32, logits, lab.Download(tensors.Logits), "logits");
        Close(precision, Array.ConvertAll(gradient, value => (float)value), lab.Download(tensors.DY), "dY");
        float[] bias = [.. Enumerable.Range(0, Classes).Select(c => (float)Enumerable.Range(0, n).Sum(i => gradient[i * Classes + c]))];
        Close(Precision.Fp32, bias, lab.Download(net.Parameters.Gradient("fc1.bias")), "d bias");
        StepState sums = lab.Download<StepState>(state);
        Assert.Equal(loss, sums.Loss, loss * 1e-6);
        Assert.Equal(correct, sums.Correct);
    });

    [Theory]
    [InlineData(0, 0, 0.9)]
    [InlineData(0, 30, 0.5)] // far more than anyone takes: each parameter loses a tenth
    [InlineData(999, 0.1, 0.9)]
    public unsafe void Adam_update(int stepsBefore, double weightDecay, double beta1) => DeviceLab.Run(Precision.Fp32, lab =>
    {
        const int Count = 1000;
        const float Rate = 3e-3f;
        float[] w = Values(Precision.Fp32, 1, Count), dw = Values(Precision.Fp32, 2, Count), m = Values(Precision.Fp32, 3, Count),
        v = Array.ConvertAll(Values(Precision.Fp32, 4, Count), Math.Abs);
        DeviceTensor state = lab.State(1, new byte[DigitDataset.PixelCount], adamStep: stepsBefore, rate: Rate), dW = lab.Upload(w),
        dM = lab.Upload(m), dV = lab.Upload(v);
        OptimizerSpec spec = new() { WeightDecay = weightDecay, Beta1 = beta1, Beta2 = 0.99, Epsilon = 1e-6 };
        Adam adam = new(lab.Session, spec);
        new GatherAugment(lab.Session, 1)
            .Training(state, lab.Empty(DigitDataset.PixelCount), Gathering.ForTraining(AugmentationSpec.None, Seed));
        adam.BeginStep(state);
        adam.Update(new AdamUpdate
        {
            State = state.Address,
            W = dW.Address,
            DW = lab.Upload(dw).Address,
            M = dM.Address,
            V = dV.Address,
            Count = Count
        });
        float[] before = [.. w];
        fixed (float* cw = w, cdw = dw, cm = m, cv = v)
        {
            Adam<Simd128, System.Runtime.Intrinsics.Vector128<float>>.Update(Count, cw, cdw, cm, cv, spec, Rate, stepsBefore + 1);
        }

        Close(Precision.Fp32, m, lab.Download(dM), "m");
        Close(Precision.Fp32, v, lab.Download(dV), "v");
        Close(Precision.Fp32, Difference(w, before), Difference(lab.Download(dW), before), "the change of w");
        Assert.Equal(stepsBefore + 1, lab.Download<StepState>(state).AdamStep);
    });

    /// <summary>Steps on both sides of where the decay of the warm-up reaches the limit.</summary>
    [Theory]
    [InlineData(1, 0.999)]
    [InlineData(79, 0.9)]
    [InlineData(100, 0.9)]
    public void Weight_average(int step, double decay) => DeviceLab.Run(Precision.Fp32, lab =>
    {
        const int Count = 1000; // no multiple of a block
        float[] w = Values(Precision.Fp32, 1, Count), before = Values(Precision.Fp32, 2, Count);
        DeviceTensor average = lab.Upload(before);
        new Ema(lab.Session, decay).Update(lab.State(1, adamStep: step), lab.Upload(w), average);
        double share = 1 - Math.Min(decay, (1.0 + step) / (10 + step));
        double[] expected = [.. before.Zip(w, (old, now) => old + share * (now - old))];
        Assert.All(expected.Zip(lab.Download(average)), pair => Assert.Equal(pair.First, pair.Second, 2e-7));
    });

    /// <summary>Random values in ±1, rounded where they will be bfloat16, so that both sides compute from the same ones.</summary>
    private static float[] Values(Precision precision, uint stream, int count)
    {
        uint[] words = new uint[count];
        new Philox(Seed).Fill(words, stream, 0, 99);
        float[] values = Array.ConvertAll(words, word => 2 * Philox.ToUniform(word) - 1);
        return precision == Precision.Bf16
            ? Array.ConvertAll(values, value => BitConverter.UInt32BitsToSingle((uint)DeviceLab.Round(value) << 16)) : values;
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

        Assert.True(norm > 0 && error / norm <= tolerance,
            $"{what}: normalised mean squared error {error / norm:E2}, tolerated {tolerance:E0}");
    }

    private static float[] Difference(float[] a, float[] b) => [.. a.Zip(b, (x, y) => x - y)];

    private static unsafe void CpuGather(ReadOnlySpan<byte> image, AugmentationSpec augmentation, int sample, uint epoch, Span<float> x)
    {
        fixed (float* to = x)
        {
            if (augmentation.IsEnabled)
            {
                CudnnDigits.Cpu.GatherAugment<CudnnDigits.Cpu.Simd256, System.Runtime.Intrinsics.Vector256<float>>.Forward(image,
                    augmentation.Draw(new Philox(Seed), (uint)sample, epoch),
                    augmentation.DrawElastic(new Philox(Seed), (uint)sample, epoch, new float[AugmentationSpec.ElasticWords]), to,
                    DigitDataset.Side);
            }
            else
            {
                CudnnDigits.Cpu.GatherAugment<CudnnDigits.Cpu.Simd256, System.Runtime.Intrinsics.Vector256<float>>.Forward(image, to,
                    DigitDataset.Side);
            }
        }
    }
}
