using CudnnDigits.Data;
using StbImageSharp;

namespace CudnnDigits.Cli.Serve;

/// <summary>A digit from a PNG of any kind.</summary>
internal static class PngPicture
{
    /// <summary>
    /// Reads a digit. Where the picture has transparent parts, its ink is what is not transparent; elsewhere it is what differs in
    /// brightness from the border. A picture of 28×28 is taken as it is, any other is normalised as MNIST is.
    /// </summary>
    /// <param name="bytes">The file.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <returns>Whether the picture had to be normalised.</returns>
    /// <exception cref="InputException">Not a PNG, damaged, too large, or blank.</exception>
    public static bool Read(ReadOnlySpan<byte> bytes, Span<byte> image)
    {
        PngContainer png = PngContainer.Check(bytes);
        (int width, int height) = (png.Width, png.Height);
        byte[] ink = ReadInk(Decode(png.Picture()), width, height);
        if (width == DigitDataset.Side && height == DigitDataset.Side)
        {
            ink.CopyTo(image);
            return ink.AsSpan().ContainsAnyExcept((byte)0) ? false : throw Blank();
        }

        return DigitPicture.Normalize(ink, width, height, image) ? true : throw Blank();
    }

    private static byte[] Decode(byte[] bytes)
    {
        try
        {
            return ImageResult.FromMemory(bytes, ColorComponents.RedGreenBlueAlpha).Data;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new InputException("the PNG is damaged", e);
        }
    }

    // rgba: (height, width, 4) uint8
    private static byte[] ReadInk(ReadOnlySpan<byte> rgba, int width, int height)
    {
        byte[] brightness = new byte[width * height], alpha = new byte[width * height];
        for (int i = 0; i < brightness.Length; i++)
        {
            ReadOnlySpan<byte> pixel = rgba.Slice(4 * i, 4);
            brightness[i] = (byte)((299 * pixel[0] + 587 * pixel[1] + 114 * pixel[2] + 500) / 1000); // ITU-R BT.601
            alpha[i] = pixel[3];
        }

        if (alpha.AsSpan().ContainsAnyInRange((byte)0, (byte)127))
        {
            return alpha;
        }

        if (IsLightPaper(brightness, width, height))
        {
            for (int i = 0; i < brightness.Length; i++)
            {
                brightness[i] = (byte)(255 - brightness[i]);
            }
        }

        return brightness;
    }

    private static bool IsLightPaper(byte[] brightness, int width, int height)
    {
        long sum = 0, count = 0;
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x += y == 0 || y == height - 1 ? 1 : Math.Max(1, width - 1))
            {
                sum += brightness[y * width + x];
                count++;
            }
        }

        return sum > 127 * count;
    }

    private static InputException Blank() => new("the picture is blank");
}
