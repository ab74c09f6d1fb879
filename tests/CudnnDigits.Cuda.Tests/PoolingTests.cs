using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;

namespace CudnnDigits.Cuda.Tests;

/// <summary>What the kernel of a convolution pools, against plain loops, with what is no number and what is infinite.</summary>
public class PoolingTests
{
    private const float Large = 1ul << 63; // as all values here, exact in bf16 and tf32

    private const float Larger = Large * 8; // their product is infinite

    private static readonly float[] Weights = [1, -1, 2, -2, Larger, -Larger, 0.5f, 1], Gamma = [1, 1, -1, -1, 1, 1, -1, 0];

    [Theory]
    [InlineData(Precision.Bf16, 28, 28, 3)]
    [InlineData(Precision.Bf16, 13, 13, 5)] // the last row and column are not pooled
    [InlineData(Precision.Bf16, 2, 2, 1)]
    [InlineData(Precision.Tf32, 28, 28, 1)]
    [InlineData(Precision.Fp32, 28, 28, 1)]
    [InlineData(Precision.Fp32, 3, 5, 7)]
    public void What_is_greatest_of_u_is_kept(Precision precision, int height, int width, int n) => DeviceLab.Run(precision, lab =>
    {
        int channels = Weights.Length, taps = 9;
        ConvPlan plan = new(
            new("conv", 1, channels, 3, 1, Bias: true), Norm: null, new("pool", 2), Dropout: null, DropoutIndex: 0, new(1, height, width));
        CudaSession session = lab.Session;
        int bytes = (int)session.ActivationType;
        TileRoom room = new(session.Multiprocessors, session.SharedMemory);
        TileShape shape = TileShape.Forward(plan, n, room, bytes), windows = TileShape.First(plan, shape.Slots);
        Batch batch = shape.Tiled(n);

        // One tap sees a pixel alone: y is that pixel times the channel's weight, and no number where any tap sees none.
        StageOrder order = new(channels, taps, 1, bytes);
        float[] weights = new float[order.Size], x = new float[n * height * width];
        Random random = new(n);
        for (int c = 0; c < channels; c++)
        {
            weights[order.Place(c, taps / 2, 0)] = Weights[c];
        }

        for (int i = 0; i < x.Length; i++)
        {
            x[i] = i % 97 == 50 ? float.NaN : i % 29 == 3 ? (random.Next(2) == 0 ? Large : -Large) : random.Next(-4, 4) / 4f;
        }

        DeviceTensor y = lab.Empty((long)x.Length * channels), pooled = lab.Empty((long)n * (height / 2) * (width / 2) * channels);
        session.LaunchLayer(
            $"conv_forward_{shape.WidthOfBlock}", batch.Grid(room.Multiprocessors * shape.BlocksAtOnce, shape.Groups),
            shape.SharedBytes + windows.InputBytes(bytes),
            new ConvForward(
                batch, shape, default, lab.Upload(weights).Address, y.Address, pooled.Address, lab.Upload(Gamma, DeviceType.F32).Address,
                default, default,
                new FirstInput(windows, lab.Upload(x).Address), FirstW: 0),
            overlapped: false);

        float[] made = lab.Download(y);
        Assert.Equal([.. Enumerable.Range(0, made.Length).Select(Expected)], made);
        Assert.Contains(float.PositiveInfinity, made);
        Assert.Equal([.. Enumerable.Range(0, (int)pooled.Count).Select(Kept)], lab.Download(pooled));

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

            return x[pixel] * Weights[i % channels];
        }

        float Kept(int i)
        {
            int window = i / channels, channel = i % channels, across = width / 2, down = height / 2;
            int row = (window / across / down * height) + (window / across % down * 2), first = (row * width) + (window % across * 2);
            float[] of = [.. new[] { 0, 1, width, width + 1 }.Select(d => made[((first + d) * channels) + channel])];
            return of.Any(float.IsNaN) ? float.NaN : Gamma[channel] < 0 ? of.Min() : of.Max();
        }
    });
}
