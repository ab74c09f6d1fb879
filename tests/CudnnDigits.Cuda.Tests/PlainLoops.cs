using CudnnDigits.Cpu;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cuda.Tests;

/// <summary>What the fused kernels compute, in plain loops in double.</summary>
internal static class PlainLoops
{
    public const ulong Seed = 0x1234_5678_9ABC;

    /// <summary>Tolerances: one rounding to bfloat16; sums in float32.</summary>
    public const double Rounded = 4e-3, Summed = 1e-4;

    public static float[] Ones => [.. Enumerable.Repeat(1f, 64)];

    /// <summary>
    /// Batch norm's parameters moved away from 1 and 0, some below zero: pooling before or after it is not the same then.
    /// </summary>
    public static NetworkWeights Start(NetworkSpec network)
    {
        NetworkWeights weights = Initializer.Create(network, 5);
        Random random = new(1);
        foreach (string name in new[] { "bn1", "bn2", "bn3", "bn4" })
        {
            foreach (ref float gamma in weights[$"{name}.weight"])
            {
                gamma = (float)(random.NextDouble() * 2 - 0.5);
            }

            foreach (ref float beta in weights[$"{name}.bias"])
            {
                beta = (float)(random.NextDouble() - 0.3);
            }
        }

        return weights;
    }

    public static double Keep(double rate) => (float)(1 / (1 - rate));

    public static float[] Values(int count, Func<double> draw) => [.. Enumerable.Range(0, count).Select(_ => Bf16(draw()))];

    public static float Bf16(double value) => BitConverter.UInt32BitsToSingle((uint)DeviceLab.Round((float)value) << 16);

    public static double[] Widen(float[] values) => Array.ConvertAll(values, value => (double)value);

    public static float[] Narrow(double[] values) => Array.ConvertAll(values, value => (float)value);

    /// <summary>relu(u), rounded; 0 where a pooled y is marked as dropped.</summary>
    public static double[] Activate(double[] y, LayerState layer, double keep) =>
        [.. y.Select((value, i) => double.IsNaN(value) ? 0 : (double)Bf16((float)(Math.Max(layer.U((float)value, i), 0) * (float)keep)))];

    /// <summary>The gradient of u from that of what follows ReLU and dropout, rounded where the kernels round it.</summary>
    public static double[] Mask(double[] gradient, float[] y, LayerState layer, double keep) =>
        [.. gradient.Select((value, i) => !float.IsNaN(y[i]) && layer.U(y[i], i) > 0 ? (double)Bf16((float)(value * keep)) : 0)];

    public static void AssertPooled(float[] pooled, float[] y, LayerState layer, int n, int side, double rate, uint dropoutLayer)
    {
        int half = side / 2, size = half * half * layer.Channels;
        uint threshold = (uint)(rate * 4294967296.0);
        for (int sample = 0; sample < n; sample++)
        {
            uint[] words = new uint[size];
            new Philox(Seed).Fill(words, (uint)sample, 0, RandomPurpose.Dropout + dropoutLayer);
            for (int i = 0; i < size; i++)
            {
                float expected = words[i] < threshold ? float.NaN
                    : y[Best(y, layer, sample, i / layer.Channels / half, i / layer.Channels % half, i % layer.Channels, side)];
                Assert.Equal(expected, pooled[sample * size + i]);
            }
        }
    }

    /// <summary>Where the first maximum of u in a 2×2 window lies.</summary>
    public static int Best(float[] y, LayerState layer, int sample, int row, int column, int channel, int side)
    {
        int[] at = [.. new[] { (0, 0), (0, 1), (1, 0),
            (1, 1) }.Select(d => ((sample * side + 2 * row + d.Item1) * side + 2 * column + d.Item2) * layer.Channels + channel)];
        return at.MaxBy(i => layer.U(y[i], i));
    }

    public static double[] Unpool(double[] du, float[] y, LayerState layer, int n, int side)
    {
        double[] all = new double[y.Length];
        int half = side / 2;
        for (int i = 0; i < du.Length; i++)
        {
            int pixel = i / layer.Channels;
            all[Best(y, layer, pixel / (half * half), pixel / half % half, pixel % half, i % layer.Channels, side)] = du[i];
        }

        return all;
    }

    /// <summary>(N, side, side, In) ∗ (Out, 3, 3, In), padding 1.</summary>
    public static double[] Convolve(double[] x, float[] w, int n, int side, int inputs, int outputs) =>
        PlainConvolution.Forward(new ConvShape(inputs, side, side, outputs, 3, 1), n, x, Widen(w));

    /// <summary>What comes in parts.</summary>
    public static float[] AddUp(float[] parts, int count, int size) =>
        [.. Enumerable.Range(0, size).Select(i => Enumerable.Range(0, count).Sum(part => parts[(part * size) + i]))];

    /// <summary>The hidden layer: y (N, 256) of x (N, 3136) and w (256, 3136), and from dY the gradients of both.</summary>
    public static (double[] Y, double[] DX, double[] DW) Dense(double[] x, double[] w, double[] dy, int n)
    {
        const int In = 3136, Out = 256;
        double[] y = new double[n * Out], dx = new double[n * In], dw = new double[Out * In];
        Parallel.For(0, n, sample =>
        {
            Span<double> into = dx.AsSpan(sample * In, In);
            for (int k = 0; k < Out; k++)
            {
                ReadOnlySpan<double> row = w.AsSpan(k * In, In);
                ReadOnlySpan<double> from = x.AsSpan(sample * In, In);
                double sum = 0, gradient = dy[(sample * Out) + k];
                for (int i = 0; i < In; i++)
                {
                    sum += from[i] * row[i];
                    into[i] += gradient * row[i];
                }

                y[(sample * Out) + k] = sum;
            }
        });
        Parallel.For(0, Out, k =>
        {
            Span<double> into = dw.AsSpan(k * In, In);
            for (int sample = 0; sample < n; sample++)
            {
                ReadOnlySpan<double> from = x.AsSpan(sample * In, In);
                double gradient = dy[(sample * Out) + k];
                for (int i = 0; i < In; i++)
                {
                    into[i] += gradient * from[i];
                }
            }
        });
        return (y, dx, dw);
    }

    /// <summary>(Out, 3, 3, In) to (In, 3, 3, Out), each window turned by 180°.</summary>
    public static float[] Turn(float[] w, int inputs, int outputs) =>
        Narrow(PlainConvolution.Turn(new ConvShape(inputs, 1, 1, outputs, 3, 1), Widen(w)));

    /// <summary>A layer's weights and what its batch norm on the device came to.</summary>
    public sealed record LayerState(int Channels, float[] W, float[] DW, float[] DGamma, float[] DBeta, float[] RunningMean,
        float[] RunningVariance, float[] Gamma, float[] Beta, float[] All, int N)
    {
        public LayerState(DeviceLab lab, FusedLayer layer, NetworkWeights weights, int n)
            : this(
                layer.Plan.Conv.OutChannels, ChannelsLast(layer.Plan, weights), Gradient(lab, layer.DW), Gradient(lab, layer.Norm.DGamma),
                Gradient(lab, layer.Norm.DBeta),
                lab.Download(layer.Norm.RunningMean), lab.Download(layer.Norm.RunningVariance),
                weights[$"{layer.Plan.Norm!.Name}.weight"].ToArray(), weights[$"{layer.Plan.Norm.Name}.bias"].ToArray(),
                lab.Download(layer.Coefficients), n)
        {
        }

        /// <summary>(K, 3, 3, C), rounded.</summary>
        private static float[] ChannelsLast(ConvPlan plan, NetworkWeights weights)
        {
            ReadOnlySpan<float> from = weights[plan.Conv.WeightName];
            float[] w = new float[from.Length];
            for (int i = 0; i < w.Length; i++)
            {
                (int k, int c, int tap) = (i / (9 * plan.Input.C), i / 9 % plan.Input.C, i % 9);
                w[(k * 9 + tap) * plan.Input.C + c] = BitConverter.UInt32BitsToSingle((uint)DeviceLab.Round(from[i]) << 16);
            }

            return w;
        }

        public static float[] Gradient(DeviceLab lab, DeviceTensor tensor) => tensor.Count > 0 ? lab.Download(tensor)
            : []; // none where nothing is trained

        public float[] Scale { get; init; } = All[..64];

        public float[] Shift { get; init; } = All[64..128];

        /// <summary>After batch norm, as the kernels compute it.</summary>
        public float U(float y, int index) => MathF.FusedMultiplyAdd(y, Scale[index % Channels], Shift[index % Channels]);

        public void CheckRunning()
        {
            for (int c = 0; c < Channels; c++)
            {
                double scale = Gamma[c] / Math.Sqrt(RunningVariance[c] + 1e-5);
                Assert.Equal(scale, Scale[c], 1e-6);
                Assert.Equal(Beta[c] - scale * RunningMean[c], Shift[c], 1e-6);
            }
        }

        public void CheckStatistics(double[] y)
        {
            for (int c = 0; c < Channels; c++)
            {
                double[] values = [.. y.Where((_, i) => i % Channels == c)];
                double mean = values.Average(), variance = values.Average(value => (value - mean) * (value - mean)),
                scale = Gamma[c] / Math.Sqrt(variance + 1e-5);
                double deviation = Math.Sqrt(variance);
                Assert.Equal(mean, All[256 + c], Summed * deviation);
                Assert.Equal(1, All[320 + c] * Math.Sqrt(variance + 1e-5), Summed);
                Assert.Equal(scale, Scale[c], Summed * Math.Abs(scale));
                Assert.Equal(Beta[c] - scale * mean, Shift[c], Summed);
                Assert.Equal(0.1 * mean, RunningMean[c], Summed * deviation);
                Assert.Equal(0.9 + 0.1 * variance * values.Length / (values.Length - 1), RunningVariance[c], Summed);
            }
        }

        /// <summary>dγ and dβ; gives dY, rounded.</summary>
        public double[] CheckGradients(double[] y, double[] du, double tolerance = Summed)
        {
            double count = y.Length / Channels;
            double[] gamma = new double[Channels], beta = new double[Channels];
            for (int i = 0; i < y.Length; i++)
            {
                gamma[i % Channels] += du[i] * (y[i] - All[256 + i % Channels]) * All[320 + i % Channels];
                beta[i % Channels] += du[i];
            }

            Compare.Close(DGamma, gamma, tolerance, $"dγ of {Channels}");
            Compare.Close(DBeta, beta, tolerance, $"dβ of {Channels}");
            return [.. y.Select((value, i) =>
            {
                int c = i % Channels;
                double normal = (value - All[256 + c]) * All[320 + c];
                return (double)Bf16(Scale[c] * (du[i] - beta[c] / count - normal * gamma[c] / count));
            })];
        }

        public void CheckWeights(double[] dy, double[] input, int side, int inputs, int outputs)
        {
            double[] dw = PlainConvolution.BackwardWeights(new ConvShape(inputs, side, side, outputs, 3, 1), N, input, dy);
            Compare.Close(DW, dw, inputs == 1 ? 1e-2 : Rounded, $"gradient of the weights, {inputs} to {outputs}");
        }
    }
}
