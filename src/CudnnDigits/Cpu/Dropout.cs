using CudnnDigits.Numerics;

namespace CudnnDigits.Cpu;

/// <summary>
/// Inverted dropout. Word i of the stream (seed, epoch, sample, Dropout + layer) decides on element i of the sample,
/// counted channels last, (h·W + w)·C + c: it is dropped where the word is below rate · 2³². The backward pass needs no
/// mask: a kept, active element is one whose output is above 0.
/// </summary>
internal static unsafe class Dropout<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Drops in place: x is (rows, columns, paddedChannels), rows xRow elements apart; padding is 0 and stays so.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Forward(
        uint* words, in Philox random, double rate, int layer, int sample, int epoch,
        float* x, int xRow, int rows, int columns, int channels, int paddedChannels)
    {
        random.Fill(new Span<uint>(words, rows * columns * channels), (uint)sample, (uint)epoch, RandomPurpose.Dropout + (uint)layer);
        uint threshold = (uint)Math.Min(rate * 4294967296.0, uint.MaxValue);
        V scale = S.Splat(KeepScale(rate));
        for (int h = 0; h < rows; h++)
        {
            for (int w = 0; w < columns; w++, words += channels)
            {
                float* pixel = x + h * xRow + w * paddedChannels;
                for (int c = 0; c < channels; c += S.Lanes)
                {
                    S.Store(pixel + c, S.KeepWhere(words + c, threshold, S.Multiply(S.Load(pixel + c), scale)));
                }
            }
        }
    }

    /// <summary>What kept elements are multiplied by.</summary>
    public static float KeepScale(double rate) => (float)(1 / (1 - rate));
}
