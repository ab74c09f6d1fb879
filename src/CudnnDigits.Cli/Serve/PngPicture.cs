using System.Buffers.Binary;
using System.IO.Compression;
using CudnnDigits.Data;
using StbImageSharp;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// A digit from a PNG of any kind. The library that decodes it trusts the lengths that a file states, so those are checked
/// first, and nothing is unpacked beyond what the picture's size asks for.
/// </summary>
internal static class PngPicture
{
    /// <summary>Longest side accepted, in pixels.</summary>
    public const int MostSide = 1024;

    private const int HeaderEnd = 8 + 8 + 13 + 4;

    private static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>
    /// Reads a digit. Where the picture has transparent parts, its ink is what is not transparent; elsewhere it is what differs in
    /// brightness from the border. A picture of 28×28 is taken as it is, any other is normalised as MNIST is.
    /// </summary>
    /// <param name="bytes">The file.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <returns>Whether the picture had to be normalised.</returns>
    /// <exception cref="InputException">Not a PNG, damaged, too large, or blank.</exception>
    public static bool Read(byte[] bytes, Span<byte> image)
    {
        (int width, int height) = Check(bytes);
        byte[] ink = ReadInk(Decode(bytes), width, height);
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

    /// <summary>Size of the picture, once its chunks fit the file and its pixels unpack to no more than they should.</summary>
    private static (int Width, int Height) Check(byte[] bytes)
    {
        if (!bytes.AsSpan().StartsWith(Signature) || bytes.Length < HeaderEnd || !bytes.AsSpan(12, 4).SequenceEqual("IHDR"u8))
        {
            throw new InputException("not a PNG");
        }

        uint width = BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(16)), height = BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(20));
        if (width is 0 or > MostSide || height is 0 or > MostSide)
        {
            throw new InputException($"a picture of {width}×{height} pixels; expected at most {MostSide}×{MostSide}");
        }

        using MemoryStream packed = new();
        int at = Signature.Length;
        while (at < bytes.Length)
        {
            if (bytes.Length - at < 12 || BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(at)) is var length && length > bytes.Length - at - 12)
            {
                throw new InputException("the PNG is cut off");
            }

            if (bytes.AsSpan(at + 4, 4).SequenceEqual("IDAT"u8))
            {
                packed.Write(bytes, at + 8, (int)length);
            }

            at += 12 + (int)length;
        }

        // Four channels of 16 bits, a filter byte for each row, and as much again for the passes of an interlaced picture.
        CheckUnpacked(packed, most: 8L * width * height + 16 * height);
        return ((int)width, (int)height);
    }

    private static void CheckUnpacked(MemoryStream packed, long most)
    {
        packed.Position = 0;
        using ZLibStream pixels = new(packed, CompressionMode.Decompress);
        byte[] buffer = new byte[1 << 14];
        try
        {
            long total = 0;
            for (int read = 1; read > 0; total += read)
            {
                read = pixels.Read(buffer);
                if (total > most)
                {
                    throw new InputException("the PNG unpacks to more than its pixels");
                }
            }
        }
        catch (Exception e) when (e is InvalidDataException or IOException) // IOException: zlib wants a dictionary, which PNG does not have
        {
            throw new InputException("the PNG is damaged", e);
        }
    }

    private static InputException Blank() => new("the picture is blank");
}
