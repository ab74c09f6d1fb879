using CudnnDigits.Data;
using CudnnDigits.Inference;

namespace CudnnDigits.Cpu;

/// <summary>uint8 pixels of one sample to the network's input, pixel/255, augmented on the way.</summary>
internal static unsafe class GatherAugment<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Side of a picture with a border of background: 1 before, 2 after, so that any clamped sample stays inside.</summary>
    private const int BorderedSide = DigitDataset.Side + 3;

    /// <summary>The first of some images as it is.</summary>
    /// <param name="images">(28, 28) uint8 or f32, 0 … 1.</param>
    /// <param name="x">(28, 28) f32, rows xRow elements apart.</param>
    /// <param name="xRow">Elements from one row to the next.</param>
    public static void Forward(in ImageBatch images, float* x, int xRow)
    {
        if (images.Type == PixelType.UInt8)
        {
            Forward(new ReadOnlySpan<byte>((byte*)images.Address, DigitDataset.PixelCount), x, xRow);
            return;
        }

        for (int h = 0; h < DigitDataset.Side; h++)
        {
            new ReadOnlySpan<float>((float*)images.Address + h * DigitDataset.Side, DigitDataset.Side).CopyTo(new Span<float>(x + h * xRow, DigitDataset.Side));
        }
    }

    /// <summary>Pixels as they are.</summary>
    /// <param name="image">(28, 28) uint8.</param>
    /// <param name="x">(28, 28) f32, rows xRow elements apart.</param>
    /// <param name="xRow">Elements from one row to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Forward(ReadOnlySpan<byte> image, float* x, int xRow)
    {
        V most = S.Splat(255);
        fixed (byte* pixels = image)
        {
            for (int h = 0; h < DigitDataset.Side; h++)
            {
                for (int column = 0; column < DigitDataset.Side; column += S.Lanes)
                {
                    int w = Math.Min(column, DigitDataset.Side - S.Lanes); // the last vector overlaps the one before
                    S.Store(x + h * xRow + w, S.Divide(S.FromBytes(pixels + h * DigitDataset.Side + w), most));
                }
            }
        }
    }

    /// <summary>Pixels rotated, shifted and zoomed (see <see cref="AugmentationSpec"/>), sampled bilinearly.</summary>
    /// <param name="image">(28, 28) uint8.</param>
    /// <param name="map">From output to source pixel.</param>
    /// <param name="x">(28, 28) f32, rows xRow elements apart.</param>
    /// <param name="xRow">Elements from one row to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Forward(ReadOnlySpan<byte> image, in AffineMap map, float* x, int xRow)
    {
        float* source = stackalloc float[BorderedSide * BorderedSide];
        new Span<float>(source, BorderedSide * BorderedSide).Clear();
        Forward(image, source + BorderedSide + 1, BorderedSide);
        for (int h = 0; h < DigitDataset.Side; h++)
        {
            float* to = x + h * xRow;
            for (int w = 0; w < DigitDataset.Side; w++)
            {
                float u = Math.Clamp(map.XX * w + map.XY * h + map.X0, -1, DigitDataset.Side) + 1;
                float v = Math.Clamp(map.YX * w + map.YY * h + map.Y0, -1, DigitDataset.Side) + 1;
                int column = (int)u, row = (int)v; // u, v ≥ 0: truncation is floor
                float right = u - column, down = v - row;
                float* at = source + row * BorderedSide + column;
                float above = at[0] + right * (at[1] - at[0]);
                float below = at[BorderedSide] + right * (at[BorderedSide + 1] - at[BorderedSide]);
                to[w] = above + down * (below - above);
            }
        }
    }
}
