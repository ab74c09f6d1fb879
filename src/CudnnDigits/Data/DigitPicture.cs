using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>
/// Digits from elsewhere in the form that the networks know: fitted into 20×20 pixels with their proportions kept, centred by
/// their mass in 28×28, light ink on dark. Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
/// </summary>
public static class DigitPicture
{
    private const int Side = DigitDataset.Side;
    private const float FittedSide = 20, PenRadius = 1.25f;

    /// <summary>Ink fainter than this, of 255, does not count when the digit is looked for: paper and compression leave some everywhere.</summary>
    private const byte Faint = 32;

    /// <summary>A picture of any size.</summary>
    /// <param name="ink">(height, width) uint8, 0 = paper … 255 = ink.</param>
    /// <param name="width">Pixels in a row, at least 1.</param>
    /// <param name="height">Rows, at least 1.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <returns>Whether there was any ink; without, <paramref name="image"/> is empty.</returns>
    public static bool Normalize(ReadOnlySpan<byte> ink, int width, int height, Span<byte> image)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfNotEqual(ink.Length, (long)width * height, nameof(ink));
        int left = width, right = 0, top = height, bottom = 0;
        double mass = 0, massX = 0, massY = 0;
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                byte here = ink[y * width + x];
                if (here >= Faint)
                {
                    (left, right, top, bottom) = (Math.Min(left, x), Math.Max(right, x + 1), Math.Min(top, y), Math.Max(bottom, y + 1));
                    mass += here;
                    massX += here * (x + 0.5);
                    massY += here * (y + 0.5);
                }
            }
        }

        image.Clear();
        if (mass == 0)
        {
            return false;
        }

        // A pixel of the result covers a square of the source, whose mean it takes.
        double size = Math.Max(right - left, bottom - top) / (double)FittedSide;
        for (int y = 0; y < Side; y++)
        {
            for (int x = 0; x < Side; x++)
            {
                double fromX = massX / mass + (x - Side / 2) * size, fromY = massY / mass + (y - Side / 2) * size;
                image[y * Side + x] = Mean(ink, width, (fromX, fromX + size, left, right), (fromY, fromY + size, top, bottom), size * size);
            }
        }

        return true;
    }

    /// <summary>Pen strokes in any unit, drawn with a pen as wide as those of real digits.</summary>
    /// <param name="strokes">Polylines, x to the right, y down; a single point is a dot.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <exception cref="ArgumentException">No stroke has a point.</exception>
    public static void Draw(IEnumerable<Vector2[]> strokes, Span<byte> image)
    {
        Vector2[][] lines = [.. strokes.Where(stroke => stroke.Length > 0)];
        if (lines.Length == 0)
        {
            throw new ArgumentException("no stroke has a point", nameof(strokes));
        }

        // From the corner of their box, so that far-away coordinates lose nothing to rounding.
        Vector2 corner = lines.SelectMany(line => line).Aggregate(Vector2.Min);
        lines = [.. lines.Select(line => Array.ConvertAll(line.Length > 1 ? line : [line[0], line[0]], point => point - corner))];
        new PenRasterizer().Draw(lines, PenRadius, ink: 1, image);
    }

    /// <summary>Mean over a rectangle, of which only the part within the digit's box has ink.</summary>
    private static byte Mean(
        ReadOnlySpan<byte> ink, int width, (double From, double To, int Least, int Most) columns, (double From, double To, int Least, int Most) rows, double area)
    {
        double sum = 0;
        for (int y = Math.Max(rows.Least, (int)Math.Floor(rows.From)); y < Math.Min(rows.Most, rows.To); y++)
        {
            double high = Math.Min(y + 1, rows.To) - Math.Max(y, rows.From);
            for (int x = Math.Max(columns.Least, (int)Math.Floor(columns.From)); x < Math.Min(columns.Most, columns.To); x++)
            {
                sum += high * (Math.Min(x + 1, columns.To) - Math.Max(x, columns.From)) * ink[y * width + x];
            }
        }

        return (byte)Math.Round(Math.Min(255, sum / area));
    }
}
