using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using CudnnDigits.Numerics;
using static CudnnDigits.Cuda.Tests.PlainLoops;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// What the kernel of a convolution pools and what dropout marks of it, against plain loops, with what is no number and what is infinite.
/// </summary>
public class PoolingTests
{
    private const float Large = 1ul << 63; // as all values here, exact in bf16 and tf32

    private const float Larger = Large * 8; // their product is infinite

    private const uint Epoch = 3;

    private static readonly float[] Weights = [1, -1, 2, -2, Larger, -Larger, 0.5f, 1], Gamma = [1, 1, -1, -1, 1, 1, -1, 0];

    [Theory]
    [InlineData(Precision.Bf16, 28, 28, 8, 0, 3)]
    [InlineData(Precision.Bf16, 13, 13, 8, 0.25, 5)] // the last row and column are not pooled
    [InlineData(Precision.Bf16, 2, 2, 8, 0.5, 1)]
    [InlineData(Precision.Bf16, 28, 28, 40, 0.25, 2)]
    [InlineData(Precision.Bf16, 14, 11, 136, 0.5, 13)]
    [InlineData(Precision.Tf32, 28, 28, 8, 0, 1)]
    [InlineData(Precision.Tf32, 9, 7, 40, 0.25, 3)]
    [InlineData(Precision.Fp32, 28, 28, 64, 0.25, 2)]
    [InlineData(Precision.Fp32, 3, 5, 8, 0.5, 7)]
    public void What_is_greatest_of_u_is_kept(
        Precision precision, int height, int width, int channels, double rate, int n) => DeviceLab.Run(precision, lab =>
    {
        const int Taps = 9;
        ConvPlan plan = new(
            new("conv", 1, channels, 3, 1, Bias: true), Norm: null, new("pool", 2), Dropout: null, DropoutIndex: 0, new(1, height, width));
        CudaSession session = lab.Session;
        int bytes = (int)session.ActivationType;
        TileRoom room = new(session.Multiprocessors, session.SharedMemory);
        TileShape shape = TileShape.Forward(plan, n, room, bytes), windows = TileShape.First(plan, shape.Slots);
        Batch batch = shape.Tiled(n);

        // One tap sees a pixel alone: y is that pixel times the channel's weight, and no number where any tap sees none.
        StageOrder order = new(channels, Taps, 1, bytes);
        float[] weights = new float[order.Size], x = new float[n * height * width];
        Random random = new(n);
        for (int c = 0; c < channels; c++)
        {
            weights[order.Place(c, Taps / 2, 0)] = Weights[c % Weights.Length];
        }

        for (int i = 0; i < x.Length; i++)
        {
            x[i] = i % 97 == 50 ? float.NaN : i % 29 == 3 ? (random.Next(2) == 0 ? Large : -Large) : random.Next(-4, 4) / 4f;
        }

        Dropout dropout = Dropout.Of(new DropoutLayer("drop", rate), index: 1, Seed);
        float[] gamma = [.. Enumerable.Range(0, channels).Select(c => Gamma[c % Gamma.Length])];
        DeviceTensor y = lab.Empty((long)x.Length * channels), pooled = lab.Empty((long)n * (height / 2) * (width / 2) * channels);
        session.LaunchLayer(
            $"conv_forward_{shape.WidthOfBlock}", batch.Grid(room.Multiprocessors * shape.BlocksAtOnce, shape.Groups),
            shape.SharedBytes + windows.InputBytes(bytes),
            new ConvForward(
                batch, shape, default, lab.Upload(weights).Address, y.Address, pooled.Address,
                lab.State(n, epoch: Epoch).Address, dropout, lab.Upload(gamma, DeviceType.F32).Address, default, default,
                new FirstInput(windows, lab.Upload(x).Address), FirstW: 0),
            overlapped: false);

        float[] made = lab.Download(y);
        Assert.Equal([.. Enumerable.Range(0, made.Length).Select(Expected)], made);
        Assert.Contains(float.PositiveInfinity, made);
        float[] kept = lab.Download(pooled);
        int size = kept.Length / n;
        for (int sample = 0; sample < n; sample++)
        {
            uint[] words = new uint[size];
            new Philox(Seed).Fill(words, (uint)sample, Epoch, RandomPurpose.Dropout + 1);
            for (int i = 0; i < size; i++)
            {
                float value = kept[sample * size + i];
                bool isMarked = BitConverter.SingleToUInt32Bits(value) >= 0xFFFF0000; // no number that was computed is
                Assert.Equal(words[i] < dropout.Threshold, isMarked);
                Assert.Equal(isMarked ? value : Kept(sample * size + i), value);
            }
        }

        float Expected(int i)
        {
            int pixel = i / channels, row = pixel / width % height, column = pixel % width;
            for (int dy = Math.Max(row - 1, 0); dy <= Math.Min(row + 1, height - 1); dy++)
            {
                for (int dx = Math.Max(column - 1, 0); dx <= Math.Min(column + 1, width - 1); dx++)
                {
                    if (float.IsNaN(x[pixel + ((dy - row) * width) + dx - column]))
                    {
                        return float.NaN;
                    }
                }
            }

            return x[pixel] * Weights[i % channels % Weights.Length];
        }

        float Kept(int i)
        {
            int window = i / channels, channel = i % channels, across = width / 2, down = height / 2;
            int row = (window / across / down * height) + (window / across % down * 2), first = (row * width) + (window % across * 2);
            float[] of = [.. new[] { 0, 1, width, width + 1 }.Select(d => made[((first + d) * channels) + channel])];
            return of.Any(float.IsNaN) ? float.NaN : gamma[channel] < 0 ? of.Min() : of.Max();
        }
    });
}
