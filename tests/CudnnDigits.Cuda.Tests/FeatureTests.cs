using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using CudnnDigits.Numerics;
using static CudnnDigits.Cuda.Tests.PlainLoops;

namespace CudnnDigits.Cuda.Tests;

/// <summary>What the dense layers read and the way back from their gradient, against plain loops.</summary>
public class FeatureTests
{
    [Theory]
    [InlineData(Precision.Bf16, 14, 14, 32, 0.25, 3)]
    [InlineData(Precision.Bf16, 6, 6, 24, 0.25, 2)]
    [InlineData(Precision.Bf16, 3, 3, 256, 0, 5)]
    [InlineData(Precision.Bf16, 3, 3, 8, 0.5, 1)]
    [InlineData(Precision.Bf16, 3, 3, 72, 0, 13)]
    [InlineData(Precision.Tf32, 13, 13, 8, 0.25, 1)]
    [InlineData(Precision.Tf32, 5, 5, 64, 0, 3)]
    [InlineData(Precision.Tf32, 3, 3, 24, 0.25, 7)]
    [InlineData(Precision.Fp32, 14, 14, 24, 0, 2)]
    [InlineData(Precision.Fp32, 13, 13, 64, 0.25, 3)]
    [InlineData(Precision.Fp32, 3, 3, 256, 0.25, 11)]
    [InlineData(Precision.Fp32, 1, 1, 136, 0.5, 401)] // more pixels than fit at once
    public void Features_and_their_gradient_follow_plain_loops(
        Precision precision, int height, int width, int channels, double rate, int n) => DeviceLab.Run(precision, lab =>
        {
            End end = new(lab, new Shape(channels, height, width), rate, n);
            end.Forward();
            (float[] marked, float[] z) = end.Expected();
            Assert.Equal(marked, lab.Download(end.Marked));
            Assert.Equal(z, lab.Download(end.Z));
            end.ForwardOfMarked();
            Assert.Equal(z, lab.Download(end.Z));

            end.Backward();
            float[] du = lab.Download(end.Du);
            Assert.Equal(end.ExpectedDu(marked), du);
            end.CheckGradients(marked, du);
            float[] first = [.. du, .. end.Norm.All];
            end.Backward();
            float[] second = [.. lab.Download(end.Du), .. end.Norm.All];
            Assert.Equal(first, second);

            end.Predict();
            Assert.Equal(end.Expected(drops: false).Z, lab.Download(end.Z));
        });

    [Theory]
    [InlineData(Precision.Bf16)]
    [InlineData(Precision.Fp32)]
    public void A_bias_has_the_sum_of_du_as_its_gradient(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        End end = new(lab, new Shape(32, 5, 5), rate: 0, n: 5, bias: true);
        end.Forward();
        end.Backward();
        float[] du = lab.Download(end.Du);
        double[] sums = new double[32];
        for (int i = 0; i < du.Length; i++)
        {
            sums[i % 32] += du[i];
        }

        Compare.Close(end.Norm.DBeta, sums, 1e-6, "gradient of the bias");
        Assert.All(end.Norm.DGamma, value => Assert.Equal(0, value));
    });

    [Theory]
    [InlineData(Precision.Bf16)]
    [InlineData(Precision.Tf32)]
    [InlineData(Precision.Fp32)]
    public void What_is_no_number_or_infinite_stays_visible(Precision precision) => DeviceLab.Run(precision, lab =>
    {
        const float Infinity = float.PositiveInfinity;
        End end = new(lab, new Shape(8, 1, 1), rate: 0, n: 1);
        end.Set([float.NaN, float.NaN, Infinity, -Infinity, -Infinity, Infinity, 1, 4], [1, -1, 1, -1, 1, -1, float.NaN, 1], new float[8]);
        end.Forward();
        Assert.Equal([float.NaN, float.NaN, Infinity, Infinity, 0, 0, float.NaN, 4], lab.Download(end.Z));
    });

    [Theory]
    [InlineData(8)]
    [InlineData(264)]
    public void Coefficients_of_a_prediction_follow_from_the_running_statistics(int channels) => DeviceLab.Run(Precision.Bf16, lab =>
    {
        float[] Draw(int seed) => [.. Enumerable.Range(0, channels).Select(i => (float)new Random(seed + i).NextDouble() - 0.3f)];
        float[] gamma = Draw(1), beta = Draw(2), mean = Draw(3), variance = [.. Draw(4).Select(MathF.Abs)];
        NormLab norm = new(lab, gamma, beta, 1, 1) { RunningMean = mean, RunningVariance = variance };
        Features.UseRunningStatistics(lab.Session, norm.Norm);
        for (int c = 0; c < channels; c++)
        {
            double scale = gamma[c] / Math.Sqrt(variance[c] + 1e-5);
            Assert.Equal(scale, norm.Row(0)[c], 1e-6 * Math.Abs(scale));
            Assert.Equal(beta[c] - scale * mean[c], norm.Row(1)[c], 1e-6 * (1 + Math.Abs(scale)));
        }
    });

    /// <summary>The end of the convolutions of n samples, on the device.</summary>
    private sealed class End
    {
        private const uint Epoch = 5, Layer = 1;

        private readonly DeviceLab _lab;
        private readonly Features _features;
        private readonly Dropout _dropout;
        private readonly Shape _shape;
        private readonly int _n;
        private readonly DeviceTensor _y, _dz, _state;
        private readonly float[] _gradient;
        private float[] _values, _scale, _shift;

        public End(DeviceLab lab, Shape shape, double rate, int n, bool bias = false)
        {
            (_lab, _shape, _n) = (lab, shape, n);
            _features = new Features(lab.Session, shape, n);
            _dropout = rate > 0 ? Dropout.Of(new DropoutLayer("drop", rate), (int)Layer, Seed) : Dropout.None;
            Random random = new(n);
            int channels = shape.C, count = n * shape.Size;
            _values = [.. Enumerable.Range(0, count).Select(_ => Stored(random.Next(-8, 8) / 5f))];
            _gradient = [.. Enumerable.Range(0, count).Select(_ => Stored((float)random.NextDouble() - 0.5f))];
            _scale = [.. Enumerable.Range(0, channels).Select(c => bias ? 1 : c == 1 ? 0 : (float)random.NextDouble() - 0.3f)];
            _shift = [.. Enumerable.Range(0, channels).Select(_ => (float)random.NextDouble() - 0.4f)];
            Norm = new NormLab(lab, bias ? null : _scale, _shift, _features.Sums, n * shape.H * shape.W);
            Set(_values, _scale, _shift);
            (_y, _dz, _state) = (lab.Upload(_values), lab.Upload(_gradient), lab.State(n, epoch: Epoch));
            (Marked, Z, Du) = (lab.Empty(count), lab.Empty(count), lab.Empty(count));
        }

        public NormLab Norm { get; }

        public DeviceTensor Marked { get; }

        public DeviceTensor Z { get; }

        public DeviceTensor Du { get; }

        public void Set(float[] y, float[] scale, float[] shift)
        {
            (_values, _scale, _shift) = (y, scale, shift);
            float[] ofBackward = new float[2 * _shape.C], mean = [.. scale.Select(_ => 0.1f)], inverse = [.. scale.Select(_ => 2f)];
            Norm.Coefficients = [.. scale, .. shift, .. ofBackward, .. mean, .. inverse];
            if (_y.Count > 0)
            {
                _lab.Upload(y, _y);
            }
        }

        public void Forward() => _features.Forward(_state, _y, Norm.Affine, Marked, Z, _dropout);

        /// <summary>Where a convolution has marked what it pooled.</summary>
        public void ForwardOfMarked()
        {
            _lab.Upload(new float[Z.Count], Z);
            _features.Forward(_state, Marked, Norm.Affine, null, Z, _dropout);
        }

        public void Predict() => _features.Forward(_lab.State(1), _y, Norm.Affine, null, Z, Dropout.None);

        public void Backward()
        {
            _features.Backward(_dz, Marked, Norm.Affine, Du, Norm.Norm, _dropout.KeepScale);
            Norm.CheckArrived();
        }

        public (float[] Marked, float[] Z) Expected(bool drops = true)
        {
            int size = _shape.Size;
            float[] marked = [.. _values];
            for (int sample = 0; sample < _n && drops && _dropout.Threshold > 0; sample++)
            {
                uint[] words = new uint[size];
                new Philox(Seed).Fill(words, (uint)sample, Epoch, RandomPurpose.Dropout + Layer);
                for (int i = 0; i < size; i++)
                {
                    marked[sample * size + i] = words[i] < _dropout.Threshold ? float.NaN : marked[sample * size + i];
                }
            }

            float keep = drops ? _dropout.KeepScale : 1;
            return (marked, [.. marked.Select((y, i) => float.IsNaN(y) ? 0 : Operand(Math.Max(U(y, i, keep), 0)))]);
        }

        public float[] ExpectedDu(float[] marked) =>
            [.. marked.Select((y, i) => U(y, i) > 0 ? Stored(_gradient[i] * _dropout.KeepScale) : 0)];

        /// <summary>With the mean and the deviation that <see cref="Set"/> has chosen.</summary>
        public void CheckGradients(float[] marked, float[] du)
        {
            int channels = _shape.C;
            double[] sum = new double[channels], product = new double[channels];
            for (int i = 0; i < du.Length; i++)
            {
                sum[i % channels] += du[i];
                product[i % channels] += du[i] != 0 ? (double)du[i] * marked[i] : 0;
            }

            double values = Norm.Norm.Values;
            double[] gamma = [.. product.Select((value, c) => 2.0 * (value - 0.1f * sum[c]))];
            double[] fromY = [.. gamma.Select((value, c) => -_scale[c] * 2.0 * value / values)];
            Compare.Close(Norm.DBeta, sum, 1e-6, "dβ");
            Compare.Close(Norm.DGamma, gamma, 1e-6, "dγ");
            Compare.Close(Norm.Row(2), fromY, 1e-6, "what dY takes from y");
            Compare.Close(Norm.Row(3), [.. fromY.Select((value, c) => -_scale[c] * sum[c] / values - value * 0.1f)], 1e-6, "constant");
        }

        private float U(float y, int index, float factor = 1) =>
            MathF.FusedMultiplyAdd(y, _scale[index % _shape.C] * factor, _shift[index % _shape.C] * factor);

        private float Stored(float value) => _lab.Session.Precision == Precision.Bf16 ? Bf16(value) : value;

        private float Operand(float value) => _lab.Session.Precision == Precision.Tf32
            ? BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(value) + 0x1000) & ~0x1FFFu) : Stored(value);
    }
}
