using System.Buffers.Binary;
using System.IO.Compression;

namespace CudnnDigits.Tests.Reference;

/// <summary>PNG files of every kind, written from the specification (ISO/IEC 15948), to test a reader with.</summary>
internal static class PngFiles
{
    public const int Grey = 0, Rgb = 2, Palette = 3, GreyAlpha = 4, Rgba = 6;

    /// <summary>All pairs of colour type and bit depth that the format has.</summary>
    public static readonly (int ColorType, int BitDepth)[] Kinds =
        [(Grey, 1), (Grey, 2), (Grey, 4), (Grey, 8), (Grey, 16), (Rgb, 8), (Rgb, 16), (Palette, 1), (Palette, 2), (Palette, 4),
            (Palette, 8), (GreyAlpha, 8), (GreyAlpha, 16), (Rgba, 8), (Rgba, 16)];

    /// <summary>Values that a grey of so many bits can take, nearest to a given one.</summary>
    public static byte Quantize(byte value, int bits) => bits >= 8 ? value
        : (byte)(Math.Round(value * ((1 << bits) - 1) / 255.0) * 255 / ((1 << bits) - 1));

    /// <summary>A grey picture.</summary>
    /// <param name="pixels">(height, width) uint8.</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="colorType">See the constants.</param>
    /// <param name="bitDepth">Bits per channel, or per palette index.</param>
    /// <param name="interlaced">Adam7.</param>
    /// <param name="alpha">(height, width) uint8 for the types that have it, or null for opaque.</param>
    public static byte[] Write(ReadOnlySpan<byte> pixels, int width, int colorType = Grey, int bitDepth = 8, bool interlaced = false,
        byte[]? alpha = null)
    {
        byte[] grey = pixels.ToArray();
        int height = grey.Length / width;
        using MemoryStream raw = new();
        (int X, int Y, int DX, int DY)[] passes = interlaced
            ? [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
            : [(0, 0, 1, 1)];
        foreach ((int startX, int startY, int stepX, int stepY) in passes)
        {
            byte[] above = [];
            int rows = 0;
            for (int y = startY; y < height && startX < width; y += stepY, rows++)
            {
                byte[] row = Row(y, startX, stepX);
                above = above.Length == 0 ? new byte[row.Length] : above;
                int bytesPerPixel = Math.Max(1, Channels(colorType) * bitDepth / 8), filter = rows % 5;
                raw.WriteByte((byte)filter);
                for (int i = 0; i < row.Length; i++)
                {
                    int left = i >= bytesPerPixel ? row[i - bytesPerPixel] : 0, up = above[i], corner = i >= bytesPerPixel
                        ? above[i - bytesPerPixel] : 0;
                    raw.WriteByte((byte)(
                        row[i] - filter switch { 1 => left, 2 => up, 3 => (left + up) / 2, 4 => Paeth(left, up, corner), _ => 0 }));
                }

                above = row;
            }
        }

        using MemoryStream png = new();
        png.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        (header[8], header[9], header[12]) = ((byte)bitDepth, (byte)colorType, (byte)(interlaced ? 1 : 0));
        Chunk(png, "IHDR", header);
        if (colorType == Palette)
        {
            Chunk(png, "PLTE", [.. Enumerable.Range(0, 1 << bitDepth)
                .SelectMany(i => Enumerable.Repeat((byte)(i * 255 / ((1 << bitDepth) - 1)), 3))]);
        }

        Chunk(png, "IDAT", Pack(raw.ToArray()));
        Chunk(png, "IEND", []);
        return png.ToArray();

        byte[] Row(int y, int startX, int stepX)
        {
            List<byte> row = [];
            int bits = 0, filled = 0;
            for (int x = startX; x < width; x += stepX)
            {
                byte value = grey[y * width + x], opaque = alpha?[y * width + x] ?? 255;
                if (bitDepth < 8)
                {
                    bits = bits << bitDepth | (int)Math.Round(value * ((1 << bitDepth) - 1) / 255.0);
                    filled += bitDepth;
                    if (filled == 8)
                    {
                        row.Add((byte)bits);
                        (bits, filled) = (0, 0);
                    }

                    continue;
                }

                byte[] channels = colorType switch
                {
                    Grey or Palette => [value],
                    Rgb => [value, value, value],
                    GreyAlpha => [value, opaque],
                    _ => [value, value, value, opaque]
                };
                row.AddRange(channels.SelectMany(channel => Enumerable.Repeat(channel, bitDepth / 8)));
            }

            if (filled > 0)
            {
                row.Add((byte)(bits << (8 - filled)));
            }

            return [.. row];
        }
    }

    /// <summary>A chunk with its checksum.</summary>
    public static void Chunk(Stream png, string type, byte[] content)
    {
        byte[] named = [.. type.Select(letter => (byte)letter), .. content];
        byte[] number = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, content.Length);
        png.Write(number);
        png.Write(named);
        BinaryPrimitives.WriteUInt32BigEndian(number, PlainInflate.Crc32(named));
        png.Write(number);
    }

    /// <summary>The chunks of a good file.</summary>
    public static List<(string Type, byte[] Content)> Chunks(byte[] png)
    {
        List<(string, byte[])> chunks = [];
        for (int at = 8; at < png.Length;)
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(at));
            chunks.Add((System.Text.Encoding.ASCII.GetString(png, at + 4, 4), png[(at + 8)..(at + 8 + length)]));
            at += 12 + length;
        }

        return chunks;
    }

    /// <summary>A file of chunks, each with its checksum.</summary>
    public static byte[] Join(params IEnumerable<(string Type, byte[] Content)> chunks)
    {
        using MemoryStream png = new();
        png.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);
        foreach ((string type, byte[] content) in chunks)
        {
            Chunk(png, type, content);
        }

        return png.ToArray();
    }

    /// <summary>A good file without alpha, whose first colour is made transparent, and with a palette the second by half.</summary>
    public static byte[] WithTransparency(byte[] png, int colorType)
    {
        byte[] transparency = colorType switch { Palette => [0, 128], Rgb => new byte[6], _ => new byte[2] };
        return Join(Chunks(png).SelectMany(chunk => chunk.Type == "IDAT" ? [("tRNS", transparency), chunk] : new[] { chunk }));
    }

    /// <summary>The rows of a good file, each with its filter in front.</summary>
    public static byte[] Pixels(byte[] png)
    {
        using ZLibStream zlib =
            new(new MemoryStream([.. Chunks(png).Where(chunk => chunk.Type == "IDAT").SelectMany(chunk => chunk.Content)]),
            CompressionMode.Decompress);
        using MemoryStream pixels = new();
        zlib.CopyTo(pixels);
        return pixels.ToArray();
    }

    /// <summary>A good file with one IDAT of other compressed data.</summary>
    public static byte[] WithPixels(byte[] png, byte[] packed) =>
        Join(Chunks(png).Select(chunk => chunk.Type == "IDAT" ? ("IDAT", packed) : chunk));

    /// <summary>
    /// A damaged file whose chunks, as far as they can be followed, have the checksums that fit: so that the damage is met
    /// further inside.
    /// </summary>
    public static Mutation WithRightChecksums(Mutation mutation)
    {
        byte[] png = (byte[])mutation.Bytes.Clone();
        for (int at = 8; at + 12 <= png.Length && BinaryPrimitives.ReadUInt32BigEndian(png.AsSpan(at)) is var length
            && length <= png.Length - at - 12; at += 12 + (int)length)
        {
            BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(at + 8 + (int)length),
                PlainInflate.Crc32(png.AsSpan(at + 4, 4 + (int)length)));
        }

        return new Mutation($"{mutation.Name}; checksums made to fit", png);
    }

    public static byte[] Pack(byte[] raw)
    {
        using MemoryStream packed = new();
        using (ZLibStream zlib = new(packed, CompressionLevel.Optimal))
        {
            zlib.Write(raw);
        }

        return packed.ToArray();
    }

    private static int Channels(int colorType) => colorType switch { Rgb => 3, GreyAlpha => 2, Rgba => 4, _ => 1 };

    private static int Paeth(int left, int up, int corner)
    {
        int p = left + up - corner, a = Math.Abs(p - left), b = Math.Abs(p - up), c = Math.Abs(p - corner);
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }
}
