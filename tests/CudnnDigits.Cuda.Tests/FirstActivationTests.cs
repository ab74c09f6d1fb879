using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// The second convolution where it makes the activation of the first one itself, against plain loops. All numbers are small multiples of
/// an eighth, of which no precision rounds any before the last sum.
/// </summary>
public class FirstActivationTests
{
    [Theory]
    [InlineData(Precision.Bf16, 28, 28, 1, 32, 3, 1, 32, 3)] // as in `improved`
    [InlineData(Precision.Bf16, 28, 28, 0, 24, 5, 2, 16, 2)] // channels and rows of zeros
    [InlineData(Precision.Bf16, 11, 13, 1, 40, 3, 0, 64, 5)] // odd widths, two chunks of channels, two groups of outputs
    [InlineData(Precision.Bf16, 3, 3, 0, 8, 3, 1, 8, 1)]     // a single pixel
    [InlineData(Precision.Tf32, 28, 28, 1, 32, 3, 1, 32, 2)]
    [InlineData(Precision.Tf32, 11, 7, 1, 24, 5, 2, 8, 7)]
    [InlineData(Precision.Fp32, 28, 28, 0, 16, 5, 0, 32, 2)]
    [InlineData(Precision.Fp32, 9, 13, 1, 40, 3, 1, 8, 3)]
    public void It_is_what_two_convolutions_give(
        Precision precision, int height, int width, int firstPadding, int channels, int side, int padding, int outs, int n) =>
        DeviceLab.Run(precision, lab =>
        {
            ConvPlan below = Plan("first", 1, channels, 3, firstPadding, new(1, height, width));
            Shape middle = below.Conv.Infer(below.Input);
            ConvPlan plan = Plan("second", channels, outs, side, padding, middle);
            Shape output = plan.Conv.Infer(middle);
            Random random = new(n);
            float[] x = Draw(n * height * width, 4), w1 = Draw(channels * 9, 2), scale = Draw(channels, 2),
                shift = Draw(channels, 8), w2 = Draw(outs * channels * side * side, 1);

            CudaSession session = lab.Session;
            int bytes = (int)session.ActivationType;
            TileShape shape = TileShape.Second(plan, below, n, new(session.Multiprocessors, session.SharedMemory), bytes);
            TileShape windows = TileShape.First(below, shape.Slots);
            StageOrder order = new(outs, side * side, channels, bytes);
            float[] stages = new float[order.Size];
            for (int i = 0; i < w2.Length; i++)
            {
                (int o, int c, int tap) = (i / (side * side) / channels, i / (side * side) % channels, i % (side * side));
                stages[order.Place(o, tap, c)] = w2[i];
            }

            Assert.Equal(precision == Precision.Bf16 && outs > 32 ? 64 : 32, shape.WidthOfBlock);
            DeviceTensor y = lab.Empty((long)n * output.Size);
            nint zeros = lab.Upload(new float[channels], DeviceType.F32).Address;
            Affine affine = new(
                lab.Upload(scale, DeviceType.F32).Address, lab.Upload(shift, DeviceType.F32).Address, zeros, zeros);
            Batch batch = shape.Tiled(n);
            session.LaunchLayer(
                $"conv_forward_{shape.WidthOfBlock}", batch.Grid(session.Multiprocessors * shape.BlocksAtOnce, shape.Groups),
                shape.SharedBytes + windows.ActivationBytes(bytes),
                new ConvForward(
                    batch, shape, new PreviousLayer(0, affine, 1, 0), lab.Upload(stages).Address, y.Address, Pooled: 0, State: 0,
                    Dropout.None, Gamma: 0, default, default, new FirstInput(windows, lab.Upload(x).Address),
                    lab.Upload(w1, DeviceType.F32).Address),
                overlapped: false);

            float[] activation = Convolve(x, w1, below, (sum, c) => Math.Max((sum * scale[c]) + shift[c], 0));
            float[] expected = Convolve(activation, w2, plan, (sum, _) => bytes == 2 ? PlainLoops.Bf16(sum) : sum);
            Assert.Equal(expected, lab.Download(y));

            float[] Draw(int count, int most) => [.. Enumerable.Range(0, count).Select(_ => random.Next(-most, most + 1) / (float)most)];

            // Of (N, H, W, C), with weights (outputs, inputs, taps).
            float[] Convolve(float[] from, float[] w, ConvPlan of, Func<float, int, float> end)
            {
                (Shape input, Shape made, int k) = (of.Input, of.Conv.Infer(of.Input), of.Conv.Kernel);
                float[] to = new float[n * made.Size];
                for (int i = 0; i < to.Length; i++)
                {
                    (int o, int column, int row) = (i % made.C, i / made.C % made.W, i / made.C / made.W % made.H);
                    int image = i / made.Size;
                    float sum = 0;
                    for (int tap = 0; tap < k * k; tap++)
                    {
                        (int r, int c) = (row + (tap / k) - of.Conv.Padding, column + (tap % k) - of.Conv.Padding);
                        for (int channel = 0; r >= 0 && r < input.H && c >= 0 && c < input.W && channel < input.C; channel++)
                        {
                            sum += from[((((image * input.H) + r) * input.W) + c) * input.C + channel]
                                * w[(((o * input.C) + channel) * k * k) + tap];
                        }
                    }

                    to[i] = end(sum, o);
                }

                return to;
            }
        });

    private static ConvPlan Plan(string name, int inputs, int outputs, int side, int padding, Shape input) => new(
        new(name, inputs, outputs, side, padding, Bias: true), Norm: null, Pool: null, Dropout: null, DropoutIndex: 0, input);
}
