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
    [InlineData(Precision.Bf16, 28, 28, 1, 8, 0, 3)]
    [InlineData(Precision.Bf16, 13, 13, 1, 8, 0.25, 5)] // the last row and column are not pooled
    [InlineData(Precision.Bf16, 2, 2, 1, 8, 0.5, 1)]
    [InlineData(Precision.Bf16, 28, 28, 1, 40, 0.25, 2)]
    [InlineData(Precision.Bf16, 14, 11, 1, 136, 0.5, 13)]
    [InlineData(Precision.Bf16, 14, 14, 64, 64, 0.25, 3)]
    [InlineData(Precision.Bf16, 9, 12, 40, 72, 0.5, 7)] // the second block's outputs end in its first group
    [InlineData(Precision.Bf16, 3, 3, 24, 256, 0.25, 2)]
    [InlineData(Precision.Tf32, 28, 28, 1, 8, 0, 1)]
    [InlineData(Precision.Tf32, 9, 7, 8, 40, 0.25, 3)]
    [InlineData(Precision.Fp32, 28, 28, 1, 64, 0.25, 2)]
    [InlineData(Precision.Fp32, 3, 5, 24, 72, 0.5, 7)]
    public void What_is_greatest_of_u_is_kept(
        Precision precision, int height, int width, int inputs, int channels, double rate, int n) => DeviceLab.Run(precision, lab =>
    {
        const int Taps = 9;
        ConvPlan plan = new(
            new("conv", inputs, channels, 3, 1, Bias: true), Norm: null, new("pool", 2), Dropout: null, DropoutIndex: 0,
            new(inputs, height, width));
        CudaSession session = lab.Session;
        int bytes = (int)session.ActivationType;

        // The widest blocks that a GPU with as much shared memory would run.
        TileShape shape = Enumerable.Range(1, 200)
            .Select(multiprocessors => TileShape.Forward(plan, n, new TileRoom(multiprocessors, session.SharedMemory), bytes))
            .MaxBy(shape => shape.WidthOfBlock);
        Assert.Equal(precision == Precision.Bf16 && inputs > 1 ? 64 : 32, shape.WidthOfBlock);
        TileShape? windows = inputs == 1 ? TileShape.First(plan, shape.Slots) : null;
        Batch batch = shape.Tiled(n);

        // One tap sees a pixel's first channel alone: y is that times the channel's weight, and no number where any tap sees none.
        StageOrder order = new(channels, Taps, inputs, bytes);
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
        float[] before = [.. x.SelectMany(value => Enumerable.Range(0, inputs).Select(c => c == 0 ? value : -1))];
        nint images = lab.Upload(before).Address;
        DeviceTensor y = lab.Empty((long)x.Length * channels), pooled = lab.Empty((long)n * (height / 2) * (width / 2) * channels);
        session.LaunchLayer(
            $"conv_forward_{shape.WidthOfBlock}", batch.Grid(session.Multiprocessors * shape.BlocksAtOnce, shape.Groups),
            shape.SharedBytes + (windows?.InputBytes(bytes) ?? 0),
            new ConvForward(
                batch, shape, new PreviousLayer(windows is null ? images : 0, default, 1, 0), lab.Upload(weights).Address, y.Address,
                pooled.Address, lab.State(n, epoch: Epoch).Address, dropout, lab.Upload(gamma, DeviceType.F32).Address, default, default,
                windows is { } first ? new FirstInput(first, images) : default, FirstW: 0),
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
            int row = (window / across / down * height) + (window / across % down * 2), pixel = (row * width) + (window % across * 2);
            float[] of = [.. new[] { 0, 1, width, width + 1 }.Select(d => made[((pixel + d) * channels) + channel])];
            return of.Any(float.IsNaN) ? float.NaN : gamma[channel] < 0 ? of.Min() : of.Max();
        }
    });
}
