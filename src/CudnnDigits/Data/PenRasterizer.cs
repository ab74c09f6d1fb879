using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>Draws pen strokes with anti-aliasing, fitted and centred like MNIST's digits (see <see cref="DigitPicture"/>).</summary>
internal sealed class PenRasterizer
{
    private const int Side = DigitDataset.Side;

    /// <summary>Half the width of the soft edge of a stroke, in pixels.</summary>
    private const float EdgeSoftness = 0.7f;

    private readonly float[] _distance = new float[Side * Side];

    /// <summary>Draws polylines in any unit. The radius is half the pen's width, in pixels of the fitted digit; the ink is 0 … 1.</summary>
    public void Draw(IReadOnlyList<Vector2[]> polylines, float radius, float ink, Span<byte> image)
    {
        IEnumerable<Vector2> points = polylines.SelectMany(line => line);
        Vector2 low = points.Aggregate(Vector2.Min), high = points.Aggregate(Vector2.Max), size = high - low;
        float scale = (DigitPicture.FittedSide - 2 * radius) / Math.Max(Math.Max(size.X, size.Y), 1e-3f);
        Vector2 centre = new((Side - 1) / 2f), offset = centre - (low + high) / 2 * scale;
        Cover(polylines, scale, offset, radius, ink, image);
        Cover(polylines, scale, offset + centre - CentreOfMass(image), radius, ink, image);
    }

    private void Cover(IReadOnlyList<Vector2[]> polylines, float scale, Vector2 offset, float radius, float ink, Span<byte> image)
    {
        Array.Fill(_distance, float.MaxValue);
        foreach (Vector2[] line in polylines)
        {
            for (int i = 1; i < line.Length; i++)
            {
                CoverSegment(line[i - 1] * scale + offset, line[i] * scale + offset, radius + EdgeSoftness);
            }
        }

        for (int i = 0; i < image.Length; i++)
        {
            float coverage = Math.Clamp((radius - _distance[i]) / (2 * EdgeSoftness) + 0.5f, 0, 1);
            image[i] = (byte)MathF.Round(255 * ink * coverage);
        }
    }

    /// <summary>Lowers the distance of each pixel within reach of a segment.</summary>
    private void CoverSegment(Vector2 a, Vector2 b, float reach)
    {
        Vector2 low = Vector2.Min(a, b) - new Vector2(reach), high = Vector2.Max(a, b) + new Vector2(reach), along = b - a;
        float lengthSquared = Math.Max(along.LengthSquared(), 1e-12f);
        for (int y = Math.Max(0, (int)MathF.Ceiling(low.Y)); y <= Math.Min(Side - 1, (int)MathF.Floor(high.Y)); y++)
        {
            for (int x = Math.Max(0, (int)MathF.Ceiling(low.X)); x <= Math.Min(Side - 1, (int)MathF.Floor(high.X)); x++)
            {
                Vector2 pixel = new(x, y);
                float share = Math.Clamp(Vector2.Dot(pixel - a, along) / lengthSquared, 0, 1);
                ref float distance = ref _distance[y * Side + x];
                distance = Math.Min(distance, Vector2.Distance(pixel, a + share * along));
            }
        }
    }

    private static Vector2 CentreOfMass(ReadOnlySpan<byte> image)
    {
        Vector2 sum = default;
        float mass = 0;
        for (int i = 0; i < image.Length; i++)
        {
            sum += image[i] * new Vector2(i % Side, i / Side);
            mass += image[i];
        }

        return mass > 0 ? sum / mass : new Vector2((Side - 1) / 2f);
    }
}
