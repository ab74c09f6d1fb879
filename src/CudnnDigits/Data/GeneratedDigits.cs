using System.Numerics;
using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>
/// Digits to train on without any data: pen strokes in several writing styles per digit, each with its own slant, proportions,
/// rotation, curvature and pen width, normalised like MNIST. docs/performance.md says how well a network that was trained on
/// them alone reads real digits.
/// </summary>
public static class GeneratedDigits
{
    /// <summary>The number of digits that <c>train</c> makes if it gets no data.</summary>
    public const int DefaultCount = 12_000;

    /// <summary>The default number of epochs on generated digits: about a minute for the improved network on two cores.</summary>
    internal const int DefaultEpochs = 10;

    private const int PointsPerSpan = 6;

    /// <summary>Makes digits; digit i shows i mod 10, and does not depend on how many are made.</summary>
    /// <param name="count">The number of digits, at least 1.</param>
    /// <param name="seed">The same seed makes the same digits.</param>
    /// <exception cref="ArgumentOutOfRangeException">The count is less than 1 or more than an array can hold.</exception>
    public static DigitDataset Create(int count = DefaultCount, ulong seed = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, PixelBuffer.Most);
        byte[] pixels = new byte[count * DigitDataset.PixelCount], labels = new byte[count];
        Parallel.For(0, count, () => new PenRasterizer(), (i, _, rasterizer) =>
        {
            labels[i] = (byte)(i % DigitDataset.Classes);
            Span<byte> image = pixels.AsSpan(i * DigitDataset.PixelCount, DigitDataset.PixelCount);
            Write(labels[i], new Draws(new Philox(seed), (uint)i), rasterizer, image);
            return rasterizer;
        }, _ => { });
        return new DigitDataset("generated digits", pixels, labels);
    }

    private static void Write(int digit, Draws draws, PenRasterizer rasterizer, Span<byte> image)
    {
        PenStyle style = Pick(PenStrokes.Digits[digit], draws.Uniform(0, 1));
        Converter<Vector2, Vector2> hand = Hand(draws);
        float wobble = draws.Uniform(0.01f, 0.045f);
        List<Vector2[]> lines = [];
        Dictionary<Vector2, Vector2> moved = []; // strokes that meet in a point must still meet after the point has moved
        foreach (PenStroke stroke in style.Strokes)
        {
            Vector2[] points = Array.ConvertAll(stroke.Points, point => moved.TryGetValue(point, out Vector2 place) ? place
                : moved[point] = point + wobble * new Vector2(draws.Normal(), draws.Normal()));
            lines.Add(Array.ConvertAll(stroke.Smooth ? Spline(points) : Subdivide(points), hand));
        }

        rasterizer.Draw(lines, draws.Uniform(0.75f, 1.9f), draws.Uniform(0.9f, 1), image);
    }

    private static PenStyle Pick(IReadOnlyList<PenStyle> styles, float share)
    {
        float left = share * styles.Sum(style => style.Weight);
        return styles.FirstOrDefault(style => (left -= style.Weight) < 0) ?? styles[^1];
    }

    /// <summary>A uniform Catmull–Rom spline through all points.</summary>
    private static Vector2[] Spline(Vector2[] p) => Line(p, (i, t) =>
    {
        Vector2 before = i > 0 ? p[i - 1] : 2 * p[0] - p[1], after = i + 2 < p.Length ? p[i + 2] : 2 * p[i + 1] - p[i];
        float t2 = t * t, t3 = t2 * t;
        return 0.5f * (2 * p[i] + (p[i + 1] - before) * t + (2 * before - 5 * p[i] + 4 * p[i + 1] - after) * t2
            + (3 * p[i] - before - 3 * p[i + 1] + after) * t3);
    });

    /// <summary>Divides straight lines into pieces, so that they can be bent.</summary>
    private static Vector2[] Subdivide(Vector2[] p) => Line(p, (i, t) => Vector2.Lerp(p[i], p[i + 1], t));

    /// <summary>Places points between each two given ones: at span i, t goes from 0 to 1.</summary>
    private static Vector2[] Line(Vector2[] p, Func<int, float, Vector2> at) =>
        [p[0], .. Enumerable.Range(0, PointsPerSpan * (p.Length - 1))
            .Select(n => at(n / PointsPerSpan, (float)(n % PointsPerSpan + 1) / PointsPerSpan))];

    /// <summary>The transformation of all points of one digit: bend, stretch, slant, rotate.</summary>
    private static Converter<Vector2, Vector2> Hand(Draws draws)
    {
        float bendX = 0.05f * draws.Normal(), bendY = 0.04f * draws.Normal();
        float phaseX = draws.Uniform(0, MathF.Tau), phaseY = draws.Uniform(0, MathF.Tau);
        float pinch = 0.12f * draws.Normal(), stretch = draws.Uniform(0.55f, 1.15f);
        float slant = Math.Clamp(0.18f + 0.24f * draws.Normal(), -0.5f, 0.9f);
        Matrix3x2 linear = new Matrix3x2(1, 0, -slant, 1, 0, 0) * Matrix3x2.CreateRotation(0.1f * draws.Normal());
        return point =>
        {
            Vector2 p = point - new Vector2(0.5f);
            float x = p.X * (1 + pinch * 2 * p.Y) + bendX * MathF.Sin(MathF.Tau * p.Y * 0.8f + phaseX);
            float y = p.Y + bendY * MathF.Sin(MathF.Tau * p.X * 0.8f + phaseY);
            return Vector2.Transform(new Vector2(x * stretch, y), linear);
        };
    }

    /// <summary>The stream of random numbers for one digit.</summary>
    private sealed class Draws(Philox random, uint sample)
    {
        private uint _block;

        public float Uniform(float from, float to)
        {
            (uint word, _, _, _) = random.Block(_block++, sample, 0, RandomPurpose.GeneratedDigits);
            return from + (to - from) * Philox.ToUniform(word);
        }

        /// <summary>Standard normal, by Box and Muller.</summary>
        public float Normal()
        {
            (uint a, uint b, _, _) = random.Block(_block++, sample, 0, RandomPurpose.GeneratedDigits);
            return MathF.Sqrt(-2 * MathF.Log(1 - Philox.ToUniform(a))) * MathF.Cos(MathF.Tau * Philox.ToUniform(b));
        }
    }
}
