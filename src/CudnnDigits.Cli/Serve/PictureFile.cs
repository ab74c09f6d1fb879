namespace CudnnDigits.Cli.Serve;

/// <summary>Decodes a PNG or JPEG file to pixels: upright, and reduced to a size that is large enough to find a digit.</summary>
internal static class PictureFile
{
    /// <summary>Longest side of the result, in pixels. A larger picture is reduced by a whole factor.</summary>
    public const int MostSide = 1024;

    /// <summary>Reads a digit, (28, 28) uint8. Returns whether it was fitted and centred; otherwise it was taken as it is.</summary>
    public static bool Read(ReadOnlySpan<byte> bytes, Span<byte> image)
    {
        (byte[] rgba, int width, int height) = Decode(bytes);
        return DigitPicture.Read(rgba, width, height, image);
    }

    /// <summary>The pixels of a file, and the bytes to decode it, as it claims before it is checked. 0 if the claim is invalid.</summary>
    public static (int Pixels, long Memory) Claim(ReadOnlySpan<byte> bytes)
    {
        PictureFormat file = PictureFormat.Of(bytes);
        try
        {
            file.ReadSize(bytes);
        }
        catch (InputException)
        {
            // Decoding refuses it.
        }

        return (file.Width * file.Height, file.Memory);
    }

    /// <summary>Decodes a file to (height, width, 4) uint8: red, green, blue, alpha; sides of at most <see cref="MostSide"/>.</summary>
    public static (byte[] Rgba, int Width, int Height) Decode(ReadOnlySpan<byte> bytes)
    {
        PictureFormat file = PictureFormat.Of(bytes);
        if (file is PngContainer && KnownFile.Name(bytes) is { } other && !bytes.StartsWith(PngContainer.Signature))
        {
            throw new InputException($"{other}, not a PNG or JPEG; save it as one of these");
        }

        return Fit(file.Decode(bytes), file.Width, file.Height, file.Orientation);
    }

    /// <summary>Reduces a picture, (height, width, channels) uint8, turns it upright, and converts it to colours with alpha.</summary>
    private static (byte[] Rgba, int Width, int Height) Fit(byte[] pixels, int width, int height, int orientation)
    {
        int factor = (Math.Max(width, height) + MostSide - 1) / MostSide;
        if (factor == 1 && orientation == 1 && pixels.Length == 4 * width * height)
        {
            return (pixels, width, height);
        }

        int columns = (width + factor - 1) / factor, rows = (height + factor - 1) / factor;
        (int across, int down) = orientation >= 5 ? (rows, columns) : (columns, rows);
        byte[] rgba = new byte[4 * across * down];
        for (int y = 0; y < down; y++)
        {
            for (int x = 0; x < across; x++)
            {
                (int column, int row) = orientation switch
                {
                    2 => (columns - 1 - x, y),
                    3 => (columns - 1 - x, rows - 1 - y),
                    4 => (x, rows - 1 - y),
                    5 => (y, x),
                    6 => (y, rows - 1 - x),
                    7 => (columns - 1 - y, rows - 1 - x),
                    8 => (columns - 1 - y, x),
                    _ => (x, y),
                };
                Mean(pixels, width, height, column * factor, row * factor, factor, rgba.AsSpan(4 * (y * across + x), 4));
            }
        }

        return (rgba, across, down);
    }

    /// <summary>The mean of a square of pixels, weighted by their opacity. The sums fit: a square has at most 20,000 pixels.</summary>
    private static void Mean(byte[] pixels, int width, int height, int left, int top, int side, Span<byte> mean)
    {
        int channels = pixels.Length / (width * height), right = Math.Min(width, left + side), bottom = Math.Min(height, top + side);
        int second = channels == 1 ? 0 : 1, third = channels == 1 ? 0 : 2, count = (right - left) * (bottom - top);
        uint red = 0, green = 0, blue = 0, opacity = 0;
        for (int y = top; y < bottom; y++)
        {
            for (int x = left; x < right; x++)
            {
                ReadOnlySpan<byte> pixel = pixels.AsSpan((y * width + x) * channels, channels);
                uint weight = channels == 4 ? pixel[3] : byte.MaxValue;
                red += pixel[0] * weight;
                green += pixel[second] * weight;
                blue += pixel[third] * weight;
                opacity += weight;
            }
        }

        uint total = Math.Max(1, opacity), half = total / 2;
        mean[0] = (byte)((red + half) / total);
        mean[1] = (byte)((green + half) / total);
        mean[2] = (byte)((blue + half) / total);
        mean[3] = (byte)((opacity + count / 2) / count);
    }
}
