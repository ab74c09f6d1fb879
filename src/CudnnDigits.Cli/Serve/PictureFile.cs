using CudnnDigits.Data;
using CudnnDigits.Files;
using StbImageSharp;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// Decodes a PNG or JPEG file to pixels: upright, and reduced to a size that is large enough to find a digit.
/// <see cref="PngContainer"/> and <see cref="JpegContainer"/> check the file before the decoder sees it.
/// </summary>
internal static class PictureFile
{
    /// <summary>Longest side of the result, in pixels. A larger picture is reduced by a whole factor.</summary>
    public const int MostSide = 1024;

    /// <summary>
    /// Bytes that decoding one picture may need: together with the largest body, all memory that the server's requests share. They suffice
    /// for 17 million pixels of a JPEG as phones save them, 8 million of a JPEG decoded in colour, and 5 million of a PNG.
    /// </summary>
    public const long MostMemory = 60 << 20;

    /// <summary>Reads a digit into <paramref name="image"/>, (28, 28) uint8, as <see cref="DigitPicture.Read"/> does.</summary>
    /// <returns>Whether the digit was fitted and centred; otherwise it was taken as it is.</returns>
    /// <exception cref="InputException">The file is neither a PNG nor a JPEG, damaged, too large, or blank.</exception>
    public static bool Read(ReadOnlySpan<byte> bytes, Span<byte> image)
    {
        (byte[] rgba, int width, int height) = Decode(bytes);
        return DigitPicture.Read(rgba, width, height, image);
    }

    /// <summary>The number of pixels that a file claims, before it is checked. 0 if the claim is invalid.</summary>
    public static int Pixels(ReadOnlySpan<byte> bytes) => !JpegContainer.Begins(bytes) ? PngContainer.Pixels(bytes)
        : JpegContainer.Size(bytes) is { } jpeg ? jpeg.Width * jpeg.Height
        : 0;

    /// <summary>The bytes that decoding needs according to the file's claims.</summary>
    public static long Memory(ReadOnlySpan<byte> bytes) =>
        JpegContainer.Begins(bytes) ? JpegContainer.Size(bytes)?.Memory ?? 0 : PngContainer.Memory(bytes);

    /// <summary>Decodes a file.</summary>
    /// <returns>(height, width, 4) uint8: red, green, blue, alpha; sides of at most <see cref="MostSide"/>.</returns>
    /// <exception cref="InputException">The file is neither a PNG nor a JPEG, damaged, or too large.</exception>
    public static (byte[] Rgba, int Width, int Height) Decode(ReadOnlySpan<byte> bytes)
    {
        if (JpegContainer.Begins(bytes))
        {
            JpegContainer jpeg = JpegContainer.Check(bytes);
            byte[] pixels = Decode(bytes.ToArray(), jpeg.InColour ? ColorComponents.RedGreenBlue : ColorComponents.Grey, "JPEG");
            (byte[] small, int width, int height) = Reduce(pixels, jpeg.InColour ? 3 : 1, jpeg.Width, jpeg.Height);
            return Turn(small, width, height, jpeg.Orientation);
        }

        if (KnownFile.Name(bytes) is { } other && !bytes.StartsWith(PngContainer.Signature))
        {
            throw new InputException($"{other}, not a PNG or JPEG; save it as one of these");
        }

        PngContainer png = PngContainer.Check(bytes);
        byte[] decoded = Decode(png.Picture(), ColorComponents.RedGreenBlueAlpha, "PNG");
        (byte[] colours, int across, int down) = Reduce(decoded, 4, png.Width, png.Height);
        return png.Orientation == 1 ? (colours, across, down) : Turn(colours, across, down, png.Orientation);
    }

    /// <summary>Refuses a picture that has no pixels or whose decoding would need too many bytes.</summary>
    public static void CheckSize(long width, long height, long memory)
    {
        if (width == 0 || height == 0 || memory > MostMemory)
        {
            long most = memory == 0 ? 4 << 20 : MostMemory * width * height / memory;
            throw new InputException($"a picture of {width}×{height} pixels; "
                + $"expected at most {most / 1e6:F1} million pixels in a file of its kind, and at least 1×1; make it smaller");
        }
    }

    private static byte[] Decode(byte[] bytes, ColorComponents colors, string format)
    {
        try
        {
            return ImageResult.FromMemory(bytes, colors).Data;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new InputException($"the {format} is damaged; save it again", e);
        }
    }

    /// <summary>
    /// Reduces a picture to sides of at most <see cref="MostSide"/>: each new pixel is the mean of a square of old ones, weighted by their
    /// opacity.
    /// </summary>
    /// <param name="pixels">(height, width, channels) uint8: grey; red, green, blue; or these and alpha.</param>
    private static (byte[] Pixels, int Width, int Height) Reduce(byte[] pixels, int channels, int width, int height)
    {
        int factor = (Math.Max(width, height) + MostSide - 1) / MostSide;
        if (factor == 1)
        {
            return (pixels, width, height);
        }

        int across = (width + factor - 1) / factor, down = (height + factor - 1) / factor, colours = Math.Min(channels, 3);
        byte[] small = new byte[across * down * channels];
        Span<long> sums = stackalloc long[3];
        for (int y = 0; y < down; y++)
        {
            int bottom = Math.Min(height, (y + 1) * factor);
            for (int x = 0; x < across; x++)
            {
                int right = Math.Min(width, (x + 1) * factor), count = (bottom - y * factor) * (right - x * factor);
                long opacity = 0;
                sums.Clear();
                for (int row = y * factor; row < bottom; row++)
                {
                    for (int column = x * factor; column < right; column++)
                    {
                        ReadOnlySpan<byte> pixel = pixels.AsSpan((row * width + column) * channels, channels);
                        int weight = channels == 4 ? pixel[3] : byte.MaxValue;
                        opacity += weight;
                        for (int colour = 0; colour < colours; colour++)
                        {
                            sums[colour] += pixel[colour] * weight;
                        }
                    }
                }

                Span<byte> mean = small.AsSpan((y * across + x) * channels, channels);
                long total = Math.Max(1, opacity);
                for (int colour = 0; colour < colours; colour++)
                {
                    mean[colour] = (byte)((sums[colour] + total / 2) / total);
                }

                if (channels == 4)
                {
                    mean[3] = (byte)((opacity + count / 2) / count);
                }
            }
        }

        return (small, across, down);
    }

    /// <summary>Turns a photograph upright, and converts it to colours with alpha.</summary>
    /// <param name="pixels">(height, width, channels) uint8 of 1, 3 or 4 channels.</param>
    /// <param name="orientation">Exif's orientation, 1 to 8.</param>
    private static (byte[] Rgba, int Width, int Height) Turn(byte[] pixels, int width, int height, int orientation)
    {
        (int across, int down) = orientation >= 5 ? (height, width) : (width, height);
        int channels = pixels.Length / (width * height);
        byte[] rgba = new byte[4 * across * down];
        for (int y = 0; y < down; y++)
        {
            for (int x = 0; x < across; x++)
            {
                (int column, int row) = orientation switch
                {
                    2 => (width - 1 - x, y),
                    3 => (width - 1 - x, height - 1 - y),
                    4 => (x, height - 1 - y),
                    5 => (y, x),
                    6 => (y, height - 1 - x),
                    7 => (width - 1 - y, height - 1 - x),
                    8 => (width - 1 - y, x),
                    _ => (x, y),
                };
                Span<byte> pixel = rgba.AsSpan(4 * (y * across + x), 4);
                pixel[3] = byte.MaxValue;
                for (int channel = 0; channel < Math.Max(channels, 3); channel++)
                {
                    pixel[channel] = pixels[(row * width + column) * channels + channel % channels];
                }
            }
        }

        return (rgba, across, down);
    }
}
