using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>
/// Brings digits from other sources into MNIST's form: fitted into 20×20 pixels with their proportions kept, centred by their mass in
/// 28×28, light ink on dark. Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
/// </summary>
public static class DigitPicture
{
    /// <summary>The longer side of a fitted digit, in pixels.</summary>
    internal const float FittedSide = 20;

    private const int Side = DigitDataset.Side;
    private const int Least = 16; // smaller pictures have too few pixels to tell ink from noise, and are enlarged
    private const byte Faint = 32; // fainter ink is ignored when the digit is located: paper and compression leave some everywhere

    /// <summary>
    /// Reads a picture of one digit. Its ink is whatever differs from the paper around it, darker or lighter, in any colour, except
    /// ruled lines, squares, the frame of a form's box and the desk under the sheet. If all visible pixels have one colour, the
    /// opacity is the ink; otherwise transparent pixels are paper. A picture of 28×28 that looks like one of MNIST's is copied; any
    /// other is fitted and centred as MNIST's are.
    /// </summary>
    /// <param name="rgba">(height, width, 4) uint8: red, green, blue, and 0 = transparent … 255 = opaque.</param>
    /// <param name="width">Pixels in a row, at least 1.</param>
    /// <param name="height">Rows, at least 1.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <returns>Whether the digit was fitted and centred; false if it was copied.</returns>
    /// <exception cref="InputException">The picture is blank: nothing in it differs from the rest.</exception>
    /// <exception cref="ArgumentException">The sizes do not fit each other.</exception>
    public static bool Read(ReadOnlySpan<byte> rgba, int width, int height, Span<byte> image)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfNotEqual(rgba.Length, 4L * width * height, nameof(rgba));
        ArgumentOutOfRangeException.ThrowIfNotEqual(image.Length, DigitDataset.PixelCount, nameof(image));
        byte[] sheet = rgba.ToArray();
        Opacity.Flatten(sheet);
        if (width == Side && height == Side && IsLikeMnist(sheet, image))
        {
            return false;
        }

        // The usual dither patterns are of 4×4 pixels.
        if (IsDithered(sheet, width, height))
        {
            byte[] dots = sheet;
            sheet = Make(width, height, (x, y, channel) => Mean(dots, width, height, x - 1, y - 1, 4, channel));
        }

        sheet = Desk.CutOut(sheet, ref width, ref height) ?? sheet;
        sheet = Math.Max(width, height) < Least ? Enlarge(sheet, ref width, ref height) : Shrink(sheet, ref width, ref height);
        Ruling.Remove(sheet, width, height);
        (byte[] ink, width) = Ink.Find(sheet, width, height) ?? throw new InputException("the picture is blank");
        Normalize(ink, width, image);
        return true;
    }

    /// <summary>Whether a picture has the contrast, size and centre of MNIST's digits. Writes its brightness.</summary>
    private static bool IsLikeMnist(ReadOnlySpan<byte> sheet, Span<byte> image)
    {
        const int Paper = 48, Full = 200, Half = 128;
        bool isLight = sheet[0] >= Half;
        int most = 0, paper = 0, border = 0;
        for (int i = 0; i < image.Length; i++)
        {
            (int x, int y) = (i % Side, i / Side);
            int brightness = (299 * sheet[4 * i] + 587 * sheet[4 * i + 1] + 114 * sheet[4 * i + 2] + 500) / 1000; // ITU-R BT.601
            image[i] = (byte)(isLight ? 255 - brightness : brightness);
            border += image[i] >= Paper && (x is 0 or Side - 1 || y is 0 or Side - 1) ? 1 : 0;
            most = Math.Max(most, image[i]);
            paper += image[i] < Faint / 2 ? 1 : 0;
        }

        (int left, int right, int top, int bottom, _, _) = Measure(image, Side, Half);
        (_, _, _, _, double centreX, double centreY) = Measure(image, Side, 0);
        return border <= Side / 2 && most >= Full && 2 * paper > image.Length && Math.Max(right - left, bottom - top) is >= 15 and <= 21
            && Math.Abs(centreX - Side / 2) < 1.25 && Math.Abs(centreY - Side / 2) < 1.25;
    }

    /// <summary>The box of the pixels that are at least so bright, and the centre of their mass.</summary>
    private static (int Left, int Right, int Top, int Bottom, double X, double Y) Measure(ReadOnlySpan<byte> ink, int width, byte least)
    {
        int left = width, right = 0, top = ink.Length / width, bottom = 0;
        double mass = 0, massX = 0, massY = 0;
        for (int i = 0; i < ink.Length; i++)
        {
            if (ink[i] >= least)
            {
                (int x, int y) = (i % width, i / width);
                (left, right, top, bottom) = (Math.Min(left, x), Math.Max(right, x + 1), Math.Min(top, y), Math.Max(bottom, y + 1));
                (mass, massX, massY) = (mass + ink[i], massX + ink[i] * (x + 0.5), massY + ink[i] * (y + 0.5));
            }
        }

        return (left, right, top, bottom, massX / mass, massY / mass);
    }

    /// <summary>Whether grey is made of dots: many pixels differ from the next one by half of the range or more.</summary>
    private static bool IsDithered(byte[] sheet, int width, int height)
    {
        const int Differs = 128, LeastSide = 64;
        const double Many = 0.15;
        int many = 0;
        for (int i = 4; i < sheet.Length; i += 4)
        {
            many += Math.Abs(sheet[i + 1] - sheet[i - 3]) >= Differs ? 1 : 0;
        }

        return Math.Min(width, height) >= LeastSide && many > Many * width * height;
    }

    /// <summary>Makes (height, width, 4) uint8 pixels from a function of the column, the row and the channel.</summary>
    private static byte[] Make(int width, int height, Func<int, int, int, byte> at)
    {
        byte[] rgba = new byte[4 * width * height];
        for (int i = 0; i < rgba.Length; i++)
        {
            rgba[i] = at(i / 4 % width, i / 4 / width, i % 4);
        }

        return rgba;
    }

    /// <summary>The mean of one channel in a square of pixels, as far as the square lies in the picture.</summary>
    private static byte Mean(byte[] sheet, int width, int height, int left, int top, int side, int channel)
    {
        int sum = 0, count = 0, right = Math.Min(width, left + side), bottom = Math.Min(height, top + side);
        for (int y = Math.Max(0, top); y < bottom; y++)
        {
            for (int x = Math.Max(0, left); x < right; x++, count++)
            {
                sum += sheet[4 * (y * width + x) + channel];
            }
        }

        return (byte)((sum + count / 2) / count);
    }

    /// <summary>Enlarges a picture by interpolation between its pixels.</summary>
    private static byte[] Enlarge(byte[] sheet, ref int width, ref int height)
    {
        int factor = (2 * Least + Math.Max(width, height) - 1) / Math.Max(width, height);
        (int fromWidth, int fromHeight) = (width, height);
        (width, height) = (width * factor, height * factor);
        return Make(width, height, (x, y, channel) =>
        {
            (int left, int right, float across) = Paper.Between((x + 0.5f) / factor - 0.5f, fromWidth);
            (int top, int bottom, float down) = Paper.Between((y + 0.5f) / factor - 0.5f, fromHeight);
            return (byte)(0.5f + float.Lerp(Row(top), Row(bottom), down));
            float Row(int row) => float.Lerp(Pixel(row, left), Pixel(row, right), across);
            byte Pixel(int row, int column) => sheet[4 * (row * fromWidth + column) + channel];
        });
    }

    /// <summary>Shrinks a picture that has more pixels than it takes to read a digit, to means of squares of pixels.</summary>
    private static byte[] Shrink(byte[] sheet, ref int width, ref int height)
    {
        const int Longest = 640;
        int factor = (Math.Max(width, height) + Longest - 1) / Longest;
        if (factor == 1)
        {
            return sheet;
        }

        (int fromWidth, int fromHeight) = (width, height);
        (width, height) = ((width + factor - 1) / factor, (height + factor - 1) / factor);
        return Make(width, height, (x, y, channel) => Mean(sheet, fromWidth, fromHeight, x * factor, y * factor, factor, channel));
    }

    /// <summary>Fits and centres ink, (height, width) uint8, 0 = paper … 255 = ink, as MNIST's digits are.</summary>
    private static void Normalize(ReadOnlySpan<byte> ink, int width, Span<byte> image)
    {
        (int left, int right, int top, int bottom, double centreX, double centreY) = Measure(ink, width, Faint);
        double size = Math.Max(right - left, bottom - top) / (double)FittedSide;
        for (int i = 0; i < image.Length; i++)
        {
            // A pixel of the result takes the mean of a square of the source, counting only the ink within the digit's box.
            double fromX = centreX + (i % Side - Side / 2) * size, fromY = centreY + (i / Side - Side / 2) * size, sum = 0;
            (double firstX, double endX) = (Math.Max(left, fromX), Math.Min(right, fromX + size));
            (double firstY, double endY) = (Math.Max(top, fromY), Math.Min(bottom, fromY + size));
            for (int y = (int)firstY; y < endY; y++)
            {
                double high = Math.Min(y + 1, endY) - Math.Max(y, firstY);
                for (int x = (int)firstX; x < endX; x++)
                {
                    sum += high * (Math.Min(x + 1, endX) - Math.Max(x, firstX)) * ink[y * width + x];
                }
            }

            image[i] = (byte)Math.Round(Math.Min(255, sum / (size * size)));
        }
    }

    /// <summary>Draws pen strokes, given in any unit, with a pen as wide as that of real digits.</summary>
    /// <param name="strokes">Polylines, x to the right, y down; a single point is a dot.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <exception cref="ArgumentException">No stroke has a point, or a point is NaN or infinite.</exception>
    public static void Draw(IEnumerable<Vector2[]> strokes, Span<byte> image)
    {
        ArgumentNullException.ThrowIfNull(strokes);
        Vector2[][] lines = [.. strokes.Where(stroke => stroke is { Length: > 0 })];
        if (lines.Length == 0 || !lines.All(line => line.All(point => float.IsFinite(point.X) && float.IsFinite(point.Y))))
        {
            throw new ArgumentException(
                lines.Length == 0 ? "no stroke has a point" : "a point is NaN or infinite, expected numbers", nameof(strokes));
        }

        // Relative to the corner of their box, so that rounding does not blur far-away coordinates.
        Vector2 corner = lines.SelectMany(line => line).Aggregate(Vector2.Min);
        lines = [.. lines.Select(line => Array.ConvertAll(line.Length > 1 ? line : [line[0], line[0]], point => point - corner))];
        new PenRasterizer().Draw(lines, radius: 1.25f, ink: 1, image);
    }
}
