using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// The convolution that every other is compared with: in double, in plain loops, stride 1. Images are (N, H, W, C), weights (K, R, R, C).
/// </summary>
internal static class PlainConvolution
{
    /// <summary>y (N, OutH, OutW, K).</summary>
    public static double[] Forward(ConvShape s, int n, double[] x, double[] w)
    {
        double[] y = new double[n * s.OutputSize];
        Parallel.For(0, n * s.OutH * s.OutW, pixel => VisitTaps(s, pixel, (tap, from) =>
        {
            ReadOnlySpan<double> values = x.AsSpan(from, s.C);
            for (int k = 0; k < s.K; k++)
            {
                ReadOnlySpan<double> taps = w.AsSpan((k * s.R * s.R + tap) * s.C, s.C);
                double sum = 0;
                for (int c = 0; c < s.C; c++)
                {
                    sum += values[c] * taps[c];
                }

                y[pixel * s.K + k] += sum;
            }
        }));
        return y;
    }

    /// <summary>The gradient of x: the convolution of dY with the weights that <see cref="Turn"/> makes.</summary>
    public static double[] BackwardData(ConvShape s, int n, double[] w, double[] dy) => Forward(s.Transpose(), n, dy, Turn(s, w));

    /// <summary>The gradient of w.</summary>
    public static double[] BackwardWeights(ConvShape s, int n, double[] x, double[] dy)
    {
        double[] dw = new double[s.WeightSize];
        Parallel.For(0, s.K, k =>
        {
            for (int pixel = 0; pixel < n * s.OutH * s.OutW; pixel++)
            {
                double gradient = dy[pixel * s.K + k];
                VisitTaps(s, pixel, (tap, from) =>
                {
                    ReadOnlySpan<double> values = x.AsSpan(from, s.C);
                    Span<double> to = dw.AsSpan((k * s.R * s.R + tap) * s.C, s.C);
                    for (int c = 0; c < s.C; c++)
                    {
                        to[c] += gradient * values[c];
                    }
                });
            }
        });
        return dw;
    }

    /// <summary>(K, R, R, C) to (C, R, R, K), each window turned by 180°.</summary>
    public static double[] Turn(ConvShape s, double[] w)
    {
        int taps = s.R * s.R;
        double[] turned = new double[w.Length];
        for (int i = 0; i < w.Length; i++)
        {
            (int k, int tap, int c) = (i / (taps * s.C), i / s.C % taps, i % s.C);
            turned[(c * taps + taps - 1 - tap) * s.K + k] = w[i];
        }

        return turned;
    }

    /// <summary>
    /// Gives for an output pixel, counted over all samples, each tap that lies inside the image, and where the pixel below it begins.
    /// </summary>
    private static void VisitTaps(ConvShape s, int pixel, Action<int, int> visit)
    {
        (int sample, int row, int column) = (pixel / (s.OutH * s.OutW), pixel / s.OutW % s.OutH, pixel % s.OutW);
        for (int tap = 0; tap < s.R * s.R; tap++)
        {
            (int h, int w) = (row + tap / s.R - s.Padding, column + tap % s.R - s.Padding);
            if (h >= 0 && h < s.H && w >= 0 && w < s.W)
            {
                visit(tap, ((sample * s.H + h) * s.W + w) * s.C);
            }
        }
    }
}
