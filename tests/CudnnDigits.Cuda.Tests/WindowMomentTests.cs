using System.Runtime.InteropServices;
using CudnnDigits.Cpu;
using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using static CudnnDigits.Cuda.Tests.PlainLoops;

namespace CudnnDigits.Cuda.Tests;

/// <summary>The beginning of a step whose first layer has batch norm, against plain loops in double.</summary>
public class WindowMomentTests
{
    [Theory]
    [InlineData(Precision.Bf16, 3, 1, 32, 7)]
    [InlineData(Precision.Bf16, 5, 2, 64, 3)]
    [InlineData(Precision.Bf16, 3, 0, 24, 1)]
    [InlineData(Precision.Tf32, 3, 1, 32, 7)]
    [InlineData(Precision.Tf32, 5, 4, 8, 1)]
    [InlineData(Precision.Fp32, 3, 1, 32, 7)]
    [InlineData(Precision.Fp32, 3, 2, 256, 2)]
    [InlineData(Precision.Fp32, 5, 2, 64, 3)]
    [InlineData(Precision.Fp32, 5, 0, 136, 5)]
    [InlineData(Precision.Fp32, 3, 0, 8, 0)] // more samples than blocks
    public void Moments_and_statistics_follow_plain_loops(Precision precision, int side, int padding, int channels, int n) =>
        DeviceLab.Run(precision, lab =>
        {
            n = n > 0 ? n : 4 * lab.Session.Multiprocessors + 3;
            Beginning step = new(lab, side, padding, channels, n);
            step.Run(AugmentationSpec.None);
            float[] x = lab.Download(step.X);
            Assert.Equal(step.Pixels.Select(pixel => Rounded(precision, pixel / 255f)), x);
            double[] expected = Moments(x, n, side, padding), actual = step.Moments;
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.Equal(expected[i], actual[i], 1e-6 * expected[i]);
            }

            float[] w = Array.ConvertAll(step.W, value => Rounded(precision, value));
            double[] y = PlainConvolution.Forward(new ConvShape(1, 28, 28, channels, side, padding), n, Widen(x), Widen(w));
            step.CheckStatistics(y);
        });

    [Theory]
    [InlineData(Precision.Bf16)]
    [InlineData(Precision.Tf32)]
    [InlineData(Precision.Fp32)]
    public void A_step_begins_as_without_batch_norm_and_with_the_same_bits_every_time(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        int n = 4 * lab.Session.Multiprocessors + 3;
        AugmentationSpec augmentation = AugmentationSpec.Standard with { Elastic = 3 };
        Beginning first = new(lab, 3, 1, 32, n), second = new(lab, 3, 1, 32, n);
        first.Run(augmentation);
        second.Run(augmentation);
        Assert.Equal(first.All, second.All);

        DeviceTensor state = lab.State(n + 1, first.Pixels, epoch: 7, rate: 1e-3f), x = lab.Empty(n * 784);
        new GatherAugment(lab.Session, n).Training(state, x, Gathering.ForTraining(augmentation, Seed));
        Assert.Equal(lab.Download(x).Select(value => Rounded(precision, value)), lab.Download(first.X));
        (StepState after, StepState expected) = (lab.Download<StepState>(first.State), lab.Download<StepState>(state));
        (expected.Pixels, expected.Order, expected.LearningRates) = (after.Pixels, after.Order, after.LearningRates);
        Assert.Equal(expected, after);
    });

    [Fact]
    public void A_weight_that_is_no_number_stays_visible_in_its_channel_alone() => DeviceLab.Run(Precision.Bf16, lab =>
    {
        Beginning step = new(lab, 3, 1, 16, 2, nan: 9 * 5);
        step.Run(AugmentationSpec.None);
        Assert.All(step.Norm.Row(0).Index(), scale => Assert.Equal(scale.Index == 5, float.IsNaN(scale.Item)));
    });

    /// <summary>As products read it.</summary>
    private static float Rounded(Precision precision, float value) => precision switch
    {
        Precision.Bf16 => Bf16(value),
        Precision.Tf32 => BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(value) + 0x1000) & ~0x1FFFu),
        _ => value,
    };

    /// <summary>Sums of p_j · p_k, k at most j, over all windows; the last p is 1.</summary>
    private static double[] Moments(float[] x, int n, int side, int padding)
    {
        int taps = side * side, outputs = 28 + 2 * padding - side + 1;
        double[] sums = new double[(taps + 1) * (taps + 2) / 2], window = new double[taps + 1];
        window[taps] = 1;
        for (int pixel = 0; pixel < n * outputs * outputs; pixel++)
        {
            for (int tap = 0; tap < taps; tap++)
            {
                int h = pixel / outputs % outputs + tap / side - padding, w = pixel % outputs + tap % side - padding;
                window[tap] = h is >= 0 and < 28 && w is >= 0 and < 28 ? x[(pixel / (outputs * outputs) * 28 + h) * 28 + w] : 0;
            }

            for (int j = 0, at = 0; j <= taps; j++)
            {
                for (int k = 0; k <= j; k++, at++)
                {
                    sums[at] += window[j] * window[k];
                }
            }
        }

        return sums;
    }

    /// <summary>A first layer and n samples, on the device.</summary>
    private sealed class Beginning
    {
        private readonly DeviceLab _lab;
        private readonly WindowMoments _moments;
        private readonly DeviceTensor _w, _of;
        private readonly float[] _gamma;

        public Beginning(DeviceLab lab, int side, int padding, int channels, int n, int nan = -1)
        {
            Random random = new(n);
            _lab = lab;
            _moments = new WindowMoments(lab.Session, new Conv2dLayer("conv1", 1, channels, side, padding, Bias: false), n);
            Pixels = [.. Enumerable.Range(0, n * 784).Select(_ => (byte)(random.NextDouble() < 0.7 ? 0 : random.Next(256)))];
            W = [.. Enumerable.Range(0, channels * side * side).Select(i => i == nan ? float.NaN : (float)random.NextDouble() - 0.4f)];
            _gamma = [.. Enumerable.Range(0, channels).Select(c => c == 1 ? 0 : (float)random.NextDouble() * 2 - 0.5f)];
            float[] beta = [.. Enumerable.Range(0, channels).Select(_ => (float)random.NextDouble() - 0.3f)];
            double outputs = 28 + 2 * padding - side + 1;
            Norm = new NormLab(lab, _gamma, beta, _moments.Sums, n * outputs * outputs);
            (X, _w, _of) = (lab.Empty(n * 784), lab.Upload(W), lab.Empty(2 * _moments.Count, DeviceType.F32));
            State = lab.State(n + 1, Pixels, epoch: 7, rate: 1e-3f);
        }

        public byte[] Pixels { get; }

        public float[] W { get; }

        public NormLab Norm { get; }

        public DeviceTensor X { get; }

        public DeviceTensor State { get; }

        public double[] Moments => MemoryMarshal.Cast<float, double>(_lab.Download(_of)).ToArray();

        /// <summary>All that is left, to the bit.</summary>
        public float[] All => [.. _lab.Download(X), .. _lab.Download(_of), .. Norm.All];

        public void Run(AugmentationSpec augmentation)
        {
            _moments.Gather(State, X, Gathering.ForTraining(augmentation, Seed), _w, Norm.Norm, _of);
            Norm.CheckArrived();
        }

        public void CheckStatistics(double[] y)
        {
            int channels = _gamma.Length;
            for (int c = 0; c < channels; c++)
            {
                double[] values = [.. Enumerable.Range(0, y.Length / channels).Select(i => y[i * channels + c])];
                double mean = values.Average(), variance = values.Average(value => (value - mean) * (value - mean));
                double inverse = 1 / Math.Sqrt(variance + 1e-5), scale = _gamma[c] * inverse;
                Near(scale, Norm.Row(0)[c], Math.Abs(scale));
                Near(Norm.Beta[c] - scale * mean, Norm.Row(1)[c], 1);
                Near(mean, Norm.Row(4)[c], 1 / inverse);
                Near(inverse, Norm.Row(5)[c], inverse);
                Near(0.1 * mean, Norm.RunningMean[c], 1 / inverse);
                Near(0.9 + 0.1 * variance * values.Length / (values.Length - 1), Norm.RunningVariance[c], 1);
            }

            static void Near(double expected, double actual, double unit) => Assert.Equal(expected, actual, 1e-5 * unit);
        }
    }
}
