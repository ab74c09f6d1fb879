using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>
/// Random rotation, shift and zoom about the centre, and elastic distortion. Each is drawn anew for every sample in every epoch,
/// uniformly in ± its range. The picture is sampled bilinearly, with background around it.
/// </summary>
/// <param name="Rotate">Rotation, degrees, 0 … 180.</param>
/// <param name="Shift">Shift along each axis, as a share of the side, 0 … 0.5.</param>
/// <param name="Zoom">Zoom, as a share of the size, 0 … 0.5.</param>
/// <param name="Elastic">
/// Elastic distortion: displacement of each knot of a 5×5 grid along each axis, pixels, 0 … 4. Between the knots the displacement is
/// interpolated by Keys' cubic convolution (Keys 1981, a = −1/2), as in Ronneberger et al. 2015, "U-Net", section 3.1.
/// </param>
public readonly record struct AugmentationSpec(double Rotate = 0, double Shift = 0, double Zoom = 0, double Elastic = 0)
{
    /// <summary>Knots along each side of the elastic grid; the outer ones lie on the outer pixels.</summary>
    internal const int Knots = 5;

    /// <summary>Random words of an elastic grid: a displacement along x for each knot, then one along y, in whole blocks of four.</summary>
    internal const int ElasticWords = (2 * Knots * Knots + 3) / 4 * 4;

    /// <summary>No augmentation: the network gets the pixels as they are.</summary>
    public static AugmentationSpec None => default;

    /// <summary>±10°, ±10 %, ±10 %.</summary>
    public static AugmentationSpec Standard => new(10, 0.1, 0.1);

    /// <summary>Whether any range is above 0.</summary>
    public bool IsEnabled => this != None;

    /// <summary>One sample's map from output to source pixel. It undoes a zoom, then a rotation, then a shift.</summary>
    internal AffineMap Draw(in Philox random, uint sample, uint epoch)
    {
        (uint a, uint b, uint c, uint d) = random.Block(0, sample, epoch, RandomPurpose.Augmentation);
        (float sin, float cos) = MathF.SinCos(Signed(a) * (float)Rotate * (MathF.PI / 180));
        float shiftX = Signed(b) * (float)Shift * DigitDataset.Side, shiftY = Signed(c) * (float)Shift * DigitDataset.Side;
        float scale = 1 / (1 + Signed(d) * (float)Zoom);
        const float Centre = (DigitDataset.Side - 1) / 2f;

        float xx = cos * scale, xy = sin * scale;
        float fromX = Centre + shiftX, fromY = Centre + shiftY;
        return new AffineMap(xx, xy, Centre - xx * fromX - xy * fromY, -xy, xx, Centre + xy * fromX - xx * fromY);
    }

    /// <summary>One sample's displacements along x, (5, 5), then along y, in pixels; empty if there are none.</summary>
    internal ReadOnlySpan<float> DrawElastic(in Philox random, uint sample, uint epoch, Span<float> knots)
    {
        for (int i = 0; Elastic > 0 && i < ElasticWords; i += 4)
        {
            // Block 0 is the affine map's.
            (uint a, uint b, uint c, uint d) = random.Block(1 + (uint)i / 4, sample, epoch, RandomPurpose.Augmentation);
            float range = (float)Elastic;
            (knots[i], knots[i + 1]) = (Signed(a) * range, Signed(b) * range);
            (knots[i + 2], knots[i + 3]) = (Signed(c) * range, Signed(d) * range);
        }

        return Elastic > 0 ? knots[..ElasticWords] : default;
    }

    private static float Signed(uint word) => 2 * Philox.ToUniform(word) - 1;
}

/// <summary>An affine map of the plane: (x, y) → (XX·x + XY·y + X0, YX·x + YY·y + Y0), in pixels.</summary>
internal readonly record struct AffineMap(float XX, float XY, float X0, float YX, float YY, float Y0);
