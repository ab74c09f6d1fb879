using CudnnDigits.Model;

namespace CudnnDigits.Cpu;

/// <summary>
/// Batch normalization over N, H, W (Ioffe, Szegedy 2015). Each image yields its own sums in float32; they are joined over
/// the batch in double, in the order of the images, so that the result does not depend on who computed them.
/// </summary>
internal static unsafe class BatchNorm2d<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Of one image a provisional mean, and Σ d and Σ d² of the deviations d from it, which make good its rounding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Moments(float* y, int height, int width, int channels, float* moments)
    {
        V inverse = S.Splat(1f / (height * width));
        for (int c = 0; c < channels; c += S.Lanes)
        {
            V sum = default;
            float* at = y + c;
            for (int h = 0; h < height; h++)
            {
                V row = default; // summed row by row: the error grows with H + W, not H·W
                for (int w = 0; w < width; w++, at += channels)
                {
                    row = S.Add(row, S.Load(at));
                }

                sum = S.Add(sum, row);
            }

            V mean = S.Multiply(sum, inverse), deviations = default, squares = default;
            at = y + c;
            for (int h = 0; h < height; h++)
            {
                V rowDeviations = default, rowSquares = default;
                for (int w = 0; w < width; w++, at += channels)
                {
                    V d = S.Subtract(S.Load(at), mean);
                    rowDeviations = S.Add(rowDeviations, d);
                    rowSquares = S.Fma(d, d, rowSquares);
                }

                deviations = S.Add(deviations, rowDeviations);
                squares = S.Add(squares, rowSquares);
            }

            S.Store(moments + c, mean);
            S.Store(moments + channels + c, deviations);
            S.Store(moments + 2 * channels + c, squares);
        }
    }
}

/// <summary>What one batch-norm layer keeps: its statistics, and the two linear maps that forward and backward come down to.</summary>
internal sealed unsafe class BatchNormState(NativeArena arena, int channels, int pixels, int capacity)
{
    private readonly double[] _mean = new double[channels];
    private readonly double[] _inverseDeviation = new double[channels];

    /// <summary>What <see cref="BatchNorm2d{S, V}.Moments"/> gives per image, (N, 3, channels) f32.</summary>
    public float* Moments { get; } = arena.Floats((long)capacity * 3 * channels);

    /// <summary>Batch mean, (channels) f32; the backward sums are taken about it.</summary>
    public float* Mean { get; } = arena.Floats(channels);

    public float* RunningMean { get; } = arena.Floats(channels);

    public float* RunningVariance { get; } = arena.Floats(channels);

    /// <summary>Joins the images' moments: scale and shift so that z = scale·y + shift, and new running statistics.</summary>
    public void FinishForward(int images, float* gamma, float* beta, float* scale, float* shift)
    {
        double count = (double)images * pixels;
        for (int c = 0; c < channels; c++)
        {
            double mean = 0;
            for (int n = 0; n < images; n++)
            {
                float* moments = Moments + n * 3 * channels + c;
                mean += moments[0] + (double)moments[channels] / pixels;
            }

            mean /= images;
            double squares = 0;
            for (int n = 0; n < images; n++)
            {
                float* moments = Moments + n * 3 * channels + c;
                double off = moments[0] - mean;
                squares += moments[2 * channels] + off * (2.0 * moments[channels] + pixels * off);
            }

            _mean[c] = mean;
            _inverseDeviation[c] = 1 / Math.Sqrt(squares / count + BatchNorm2dLayer.Epsilon);
            Mean[c] = (float)mean;
            Fold(gamma[c], beta[c], mean, _inverseDeviation[c], scale + c, shift + c);
            RunningMean[c] = Blend(RunningMean[c], mean);
            RunningVariance[c] = Blend(RunningVariance[c], squares / Math.Max(count - 1, 1));
        }
    }

    /// <summary>Scale and shift from the running statistics, for evaluation.</summary>
    public void FoldRunning(float* gamma, float* beta, float* scale, float* shift)
    {
        for (int c = 0; c < channels; c++)
        {
            double inverseDeviation = 1 / Math.Sqrt(RunningVariance[c] + BatchNorm2dLayer.Epsilon);
            Fold(gamma[c], beta[c], RunningMean[c], inverseDeviation, scale + c, shift + c);
        }
    }

    /// <summary>From Σ dZ and Σ dZ·(y − mean) of each image: dGamma, dBeta, and dY = scale·dZ + slope·y + offset.</summary>
    public void FinishBackward(int images, float* sums, float* gamma, float* dGamma, float* dBeta, float* slope, float* offset)
    {
        double count = (double)images * pixels;
        for (int c = 0; c < channels; c++)
        {
            double sum = 0, product = 0;
            for (int n = 0; n < images; n++)
            {
                sum += sums[n * 2 * channels + c];
                product += sums[n * 2 * channels + channels + c];
            }

            double inverse = _inverseDeviation[c];
            product *= inverse;
            dBeta[c] = (float)sum;
            dGamma[c] = (float)product;
            // dY = γ/σ · (dZ − mean(dZ) − x̂ · mean(dZ·x̂)), where x̂ = (y − mean)/σ.
            double slopeHere = -gamma[c] * inverse * inverse * product / count;
            slope[c] = (float)slopeHere;
            offset[c] = (float)(-gamma[c] * inverse * sum / count - slopeHere * _mean[c]);
        }
    }

    private static void Fold(float gamma, float beta, double mean, double inverseDeviation, float* scale, float* shift)
    {
        double factor = gamma * inverseDeviation;
        *scale = (float)factor;
        *shift = (float)(beta - mean * factor);
    }

    private static float Blend(float running, double batch) =>
        (float)((1 - BatchNorm2dLayer.Momentum) * running + BatchNorm2dLayer.Momentum * batch);
}
