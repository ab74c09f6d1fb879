using System.Runtime.Intrinsics;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Numerics;

namespace CudnnDigits.Cpu;

/// <summary>uint8 pixels of one sample to the network's input, pixel/255, augmented on the way.</summary>
internal static unsafe class GatherAugment<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Side of a picture with a border of background: 1 before, 2 after, so that any clamped sample stays inside.</summary>
    private const int BorderedSide = DigitDataset.Side + 3;

    /// <summary>The first of some images, (28, 28) uint8 or f32, as it is; x is (28, 28) f32, rows xRow elements apart.</summary>
    public static void Forward(in ImageBatch images, float* x, int xRow)
    {
        if (images.Type == PixelType.UInt8)
        {
            Forward(new ReadOnlySpan<byte>((byte*)images.Address, DigitDataset.PixelCount), x, xRow);
            return;
        }

        Span<float> from = new((float*)images.Address, DigitDataset.PixelCount);
        for (int h = 0; h < DigitDataset.Side; h++)
        {
            from.Slice(h * DigitDataset.Side, DigitDataset.Side).CopyTo(new Span<float>(x + h * xRow, DigitDataset.Side));
        }
    }

    /// <summary>Pixels as they are.</summary>
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

    /// <summary>Pixels as a sample shows them in an epoch.</summary>
    public static void Forward(
        AugmentationSpec spec, in Philox random, uint sample, uint epoch, ReadOnlySpan<byte> image, float* x, int xRow)
    {
        if (spec.IsEnabled)
        {
            ReadOnlySpan<float> knots = spec.DrawElastic(random, sample, epoch, stackalloc float[AugmentationSpec.ElasticWords]);
            Forward(image, spec.Draw(random, sample, epoch), knots, x, xRow);
        }
        else
        {
            Forward(image, x, xRow);
        }
    }

    /// <summary>Pixels rotated, shifted, zoomed and, unless there are no knots, distorted (see <see cref="AugmentationSpec"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Forward(ReadOnlySpan<byte> image, in AffineMap map, ReadOnlySpan<float> knots, float* x, int xRow)
    {
        float* source = stackalloc float[BorderedSide * BorderedSide];
        new Span<float>(source, BorderedSide * BorderedSide).Clear();
        Forward(image, source + BorderedSide + 1, BorderedSide);
        Span<float> dx = stackalloc float[DigitDataset.Side], dy = stackalloc float[DigitDataset.Side];
        for (int h = 0; h < DigitDataset.Side; h++)
        {
            float* to = x + h * xRow;
            Displacements(knots, h, dx, dy);
            for (int w = 0; w < DigitDataset.Side; w++)
            {
                float u = Math.Clamp(map.XX * w + map.XY * h + map.X0 + dx[w], -1, DigitDataset.Side) + 1;
                float v = Math.Clamp(map.YX * w + map.YY * h + map.Y0 + dy[w], -1, DigitDataset.Side) + 1;
                int column = (int)u, row = (int)v; // u, v ≥ 0: truncation is floor
                float right = u - column, down = v - row;
                float* at = source + row * BorderedSide + column;
                float above = at[0] + right * (at[1] - at[0]);
                float below = at[BorderedSide] + right * (at[BorderedSide + 1] - at[BorderedSide]);
                to[w] = above + down * (below - above);
            }
        }
    }

    /// <summary>Displacements of the pixels in one row, interpolated between the knots; 0 where there are none.</summary>
    private static void Displacements(ReadOnlySpan<float> knots, int row, Span<float> dx, Span<float> dy)
    {
        dx.Clear();
        dy.Clear();
        if (knots.IsEmpty)
        {
            return;
        }

        const int Knots = AugmentationSpec.Knots;
        Span<float> down = stackalloc float[4], across = stackalloc float[4];
        int above = CubicWeights(row, down);
        for (int w = 0; w < DigitDataset.Side; w++)
        {
            int left = CubicWeights(w, across);
            for (int i = 0; i < 16; i++)
            {
                // Outer knots are repeated.
                int knot = Math.Clamp(above + i / 4, 0, Knots - 1) * Knots + Math.Clamp(left + i % 4, 0, Knots - 1);
                float weight = down[i / 4] * across[i % 4];
                dx[w] += weight * knots[knot];
                dy[w] += weight * knots[Knots * Knots + knot];
            }
        }
    }

    /// <summary>The first of four knots around a pixel, −1 … 2, and their weights in Keys' cubic convolution (1981, a = −1/2).</summary>
    private static int CubicWeights(int pixel, Span<float> weights)
    {
        float at = pixel * ((AugmentationSpec.Knots - 1f) / (DigitDataset.Side - 1));
        int cell = Math.Min((int)at, AugmentationSpec.Knots - 2);
        float t = at - cell;
        weights[0] = ((1 - 0.5f * t) * t - 0.5f) * t;
        weights[1] = (1.5f * t - 2.5f) * t * t + 1;
        weights[2] = ((2 - 1.5f * t) * t + 0.5f) * t;
        weights[3] = (0.5f * t - 0.5f) * t * t;
        return cell - 1;
    }
}

/// <summary>One sample as training sees it, (28, 28) uint8, as a picture for people.</summary>
internal static unsafe class AugmentedPicture
{
    public static byte[] Of(AugmentationSpec spec, in Philox random, uint sample, uint epoch, ReadOnlySpan<byte> image)
    {
        float* x = stackalloc float[DigitDataset.PixelCount];
        GatherAugment<Simd128, Vector128<float>>.Forward(spec, random, sample, epoch, image, x, DigitDataset.Side);
        return Array.ConvertAll(new Span<float>(x, DigitDataset.PixelCount).ToArray(), value => (byte)MathF.Round(255 * value));
    }
}
