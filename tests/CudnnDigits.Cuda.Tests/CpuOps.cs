using CudnnDigits.Cpu;
using CudnnDigits.Numerics;
using CpuConv = CudnnDigits.Cpu.Conv2d<CudnnDigits.Cpu.Simd128, System.Runtime.Intrinsics.Vector128<float>>;
using CpuDense = CudnnDigits.Cpu.Dense<CudnnDigits.Cpu.Simd128, System.Runtime.Intrinsics.Vector128<float>>;
using CpuDropout = CudnnDigits.Cpu.Dropout<CudnnDigits.Cpu.Simd128, System.Runtime.Intrinsics.Vector128<float>>;
using CpuNorm = CudnnDigits.Cpu.BatchNorm2d<CudnnDigits.Cpu.Simd128, System.Runtime.Intrinsics.Vector128<float>>;
using CpuPool = CudnnDigits.Cpu.MaxPool2d<CudnnDigits.Cpu.Simd128, System.Runtime.Intrinsics.Vector128<float>>;
using Tile = CudnnDigits.Cpu.RegisterTile<CudnnDigits.Cpu.Simd128, System.Runtime.Intrinsics.Vector128<float>>;

namespace CudnnDigits.Cuda.Tests;

/// <summary>The CPU backend's operations on plain channels-last arrays; channels and features are whole tiles.</summary>
internal static unsafe class CpuOps
{
    /// <summary>x (n, h, w, c), w (k, r, r, c) → y (n, oh, ow, k).</summary>
    public static float[] ConvForward(ConvShape s, int n, float[] x, float[] w)
    {
        float[] padded = Pad(s, n, x), panels = Panels(s, w), y = new float[n * s.OutputSize];
        fixed (float* from = padded, weights = panels, to = y)
        {
            for (int i = 0; i < n; i++)
            {
                CpuConv.Forward(s, from + i * s.InputSize, weights, to + i * s.OutputSize);
            }
        }

        return y;
    }

    public static float[] ConvBackwardData(ConvShape s, int n, float[] w, float[] dy)
    {
        ConvShape t = s.Transpose();
        float[] padded = Pad(t, n, dy), panels = Panels(s, w), turned = new float[t.WeightSize], dx = new float[n * t.OutputSize];
        fixed (float* from = padded, weights = panels, back = turned, to = dx)
        {
            CpuConv.TurnWeights(s, weights, back);
            for (int i = 0; i < n; i++)
            {
                CpuConv.Forward(t, from + i * t.InputSize, back, to + i * t.OutputSize);
            }
        }

        return dx;
    }

    public static float[] ConvBackwardWeights(ConvShape s, int n, float[] x, float[] dy)
    {
        ConvShape t = s.Transpose();
        float[] paddedX = Pad(s, n, x), paddedDY = Pad(t, n, dy), panels = new float[s.WeightSize];
        fixed (float* from = paddedX, gradient = paddedDY, to = panels)
        {
            for (int i = 0; i < n; i++)
            {
                CpuConv.BackwardWeights(s, from + i * s.InputSize, gradient + i * t.InputSize, to, accumulate: i > 0);
            }
        }

        return [.. WeightIndices(s).Select(at => panels[at])];
    }

    public static float[] DenseForward(DenseShape s, int n, float[] x, float[] w)
    {
        float[] panels = Panels(s, w), y = new float[n * s.Out], noBias = new float[s.Out];
        fixed (float* from = x, weights = panels, to = y, bias = noBias)
        {
            for (int item = 0; item < CpuDense.ForwardItems(s, n); item++)
            {
                CpuDense.Forward(item, s, n, from, weights, bias, relu: false, to);
            }
        }

        return y;
    }

    /// <summary>dW (out, in) and dX (n, in).</summary>
    public static (float[] DW, float[] DX) DenseBackward(DenseShape s, int n, float[] x, float[] w, float[] dy)
    {
        int padded = Tile.Pad(n);
        float[] panels = Panels(s, w), dPanels = new float[s.WeightSize], dx = new float[n * s.In], transposed = new float[s.Out * padded];
        for (int i = 0; i < n * s.Out; i++)
        {
            transposed[i % s.Out * padded + i / s.Out] = dy[i];
        }

        fixed (float* from = x, weights = panels, gradient = dy, turned = transposed, dWeights = dPanels, to = dx)
        {
            for (int item = 0; item < CpuDense.BackwardItems(s); item++)
            {
                CpuDense.Backward(item, s, n, from, weights, gradient, turned, padded, dWeights, to);
            }
        }

        return ([.. from o in Enumerable.Range(0, s.Out) from i in Enumerable.Range(0, s.In) select dPanels[Index(s, o, i)]], dx);
    }

    /// <summary>What batch norm → ReLU → max-pool of the CPU gives for n pictures.</summary>
    public sealed record NormResult(float[] A, float[] DY, float[] DGamma, float[] DBeta, float[] RunningMean, float[] RunningVariance);

    public static NormResult NormPool(PoolShape s, int n, float[] y, float[] gamma, float[] beta, float[] dA)
    {
        using NativeArena arena = new();
        int c = s.Channels, size = s.H * s.W * c;
        BatchNormState state = new(arena, c, s.H * s.W, n);
        float[] a = new float[n * s.OutputSize], dY = new float[y.Length], dGamma = new float[c], dBeta = new float[c];
        float* scale = arena.Floats(c), shift = arena.Floats(c), slope = arena.Floats(c), offset = arena.Floats(c),
        sums = arena.Floats(n * 2 * c);
        new Span<float>(state.RunningVariance, c).Fill(1);
        fixed (float* input = y, g = gamma, b = beta, output = a, gradient = dA, to = dY, dg = dGamma, db = dBeta)
        {
            for (int i = 0; i < n; i++)
            {
                CpuNorm.Moments(input + i * size, s.H, s.W, c, state.Moments + i * 3 * c);
            }

            state.FinishForward(n, g, b, scale, shift);
            for (int i = 0; i < n; i++)
            {
                CpuPool.Forward(s, input + i * size, scale, shift, output + i * s.OutputSize, s.OutW * c);
                CpuPool.BackwardSums(s, input + i * size, scale, shift, state.Mean, output + i * s.OutputSize, s.OutW * c, gradient
                    + i * s.OutputSize, 1, sums + i * 2 * c);
            }

            state.FinishBackward(n, sums, g, dg, db, slope, offset);
            for (int i = 0; i < n; i++)
            {
                CpuPool.Backward(
                    s, input + i * size, scale, shift, slope, offset, output + i * s.OutputSize, s.OutW * c, gradient + i * s.OutputSize, 1,
                    to + i * size, s.W * c);
            }

            return new NormResult(a, dY, dGamma, dBeta, new Span<float>(state.RunningMean, c).ToArray(),
                new Span<float>(state.RunningVariance, c).ToArray());
        }
    }

    /// <summary>Dropout of samples 0 … n − 1, each (size), after a ReLU.</summary>
    public static float[] Dropout(int n, int size, float[] x, ulong seed, double rate, int layer, int epoch)
    {
        float[] result = Array.ConvertAll(x, value => Math.Max(value, 0));
        uint[] words = new uint[size];
        fixed (float* to = result)
        {
            fixed (uint* room = words)
            {
                for (int i = 0; i < n; i++)
                {
                    CpuDropout.Forward(room, new Philox(seed), rate, layer, i, epoch, to + i * size, size, 1, 1, size, size);
                }
            }
        }

        return result;
    }

    private static float[] Pad(ConvShape s, int n, float[] x)
    {
        float[] padded = new float[n * s.InputSize];
        int row = s.W * s.C;
        for (int i = 0; i < n; i++)
        {
            for (int h = 0; h < s.H; h++)
            {
                x.AsSpan((i * s.H + h) * row, row).CopyTo(padded.AsSpan(i * s.InputSize + s.Interior + h * s.PaddedW * s.C));
            }
        }

        return padded;
    }

    private static float[] Panels(ConvShape s, float[] w)
    {
        float[] panels = new float[s.WeightSize];
        foreach ((int at, int from) in WeightIndices(s).Select((at, from) => (at, from)))
        {
            panels[at] = w[from];
        }

        return panels;
    }

    private static float[] Panels(DenseShape s, float[] w)
    {
        float[] panels = new float[s.WeightSize];
        for (int i = 0; i < w.Length; i++)
        {
            panels[Index(s, i / s.In, i % s.In)] = w[i];
        }

        return panels;
    }

    /// <summary>Places in the panels, in the order (k, r, s, c).</summary>
    private static IEnumerable<int> WeightIndices(ConvShape s) =>
        from k in Enumerable.Range(0, s.K)
        from tap in Enumerable.Range(0, s.R * s.R)
        from c in Enumerable.Range(0, s.C)
        select CpuConv.WeightIndex(s, k, c, tap);

    private static int Index(DenseShape s, int o, int i) => (o / Tile.Columns * s.In + i) * Tile.Columns + o % Tile.Columns;
}
