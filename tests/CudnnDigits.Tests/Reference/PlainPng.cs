using System.Buffers.Binary;
using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>A PNG (W3C, third edition) as (height, width, 4) uint8, its colours as they are, 16 bits cut down to 8.</summary>
internal static class PlainPng
{
    public static (int Width, int Height, byte[] Rgba) Read(byte[] bytes)
    {
        Require(bytes.AsSpan().StartsWith((ReadOnlySpan<byte>)[137, 80, 78, 71, 13, 10, 26, 10]), "signature");
        List<(string Type, byte[] Content)> chunks = [];
        for (int at = 8; chunks.Count == 0 || chunks[^1].Type != "IEND";)
        {
            Require(bytes.Length - at >= 12, "cut off");
            uint length = BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(at));
            Require(length <= bytes.Length - at - 12, "cut off");
            byte[] named = bytes[(at + 4)..(at + 8 + (int)length)];
            Require(BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(at + 8 + (int)length)) == PlainInflate.Crc32(named), "CRC");
            Require(named[..4].All(letter => char.IsAsciiLetter((char)letter)), "chunk name");
            chunks.Add((Encoding.ASCII.GetString(named, 0, 4), named[4..]));
            at += 12 + (int)length;
        }

        string[] types = [.. chunks.Select(chunk => chunk.Type)];
        string order = string.Join(' ', types.Where(type => char.IsAsciiLetterUpper(type[0]) || type == "tRNS"));
        Require(types[0] == "IHDR" && types.Count(type => type == "IHDR") == 1, "IHDR");
        Require(Array.TrueForAll(types, type => char.IsAsciiLetterLower(type[0]) || type is "IHDR" or "PLTE" or "IDAT" or "IEND"),
            "an unknown critical chunk");
        Require(Regex.IsMatch(order, "^IHDR( PLTE)?( tRNS)?( IDAT)+ IEND$"), "order of chunks");
        int firstPixels = Array.IndexOf(types, "IDAT"), lastPixels = Array.LastIndexOf(types, "IDAT");
        Require(types.Count(type => type == "IDAT") == lastPixels - firstPixels + 1, "IDAT in one row");
        byte[] header = chunks[0].Content, palette = Content("PLTE"), transparent = Content("tRNS");
        Require(header.Length == 13 && chunks[^1].Content.Length == 0, "IHDR or IEND");
        uint width = BinaryPrimitives.ReadUInt32BigEndian(header), height = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(4));
        Require(width is >= 1 and <= 1024 && height is >= 1 and <= 1024, "size");
        int depth = header[8], color = header[9];
        Require(Array.IndexOf(PngFiles.Kinds, (color, depth)) >= 0 && header[10] == 0 && header[11] == 0 && header[12] <= 1, "kind");
        Require(palette.Length % 3 == 0 && palette.Length / 3 <= (color == 3 ? 1 << depth : 256), "palette");
        Require(types.Contains("PLTE") ? color is 2 or 3 or 6 && palette.Length > 0 : color != 3, "palette");
        bool fits = color switch
        {
            0 => transparent.Length == 2,
            2 => transparent.Length == 6,
            3 => transparent.Length > 0 && transparent.Length <= palette.Length / 3,
            _ => false,
        };
        Require(!types.Contains("tRNS") || fits, "tRNS");
        byte[] raw = Zlib([.. chunks.Where(chunk => chunk.Type == "IDAT").SelectMany(chunk => chunk.Content)]);
        byte[] rgba = new byte[4 * width * height];
        int next = 0, channels = color switch { 2 => 3, 4 => 2, 6 => 4, _ => 1 };
        for (int pass = 0; pass < (header[12] == 1 ? 7 : 1); pass++)
        {
            int x0 = 0, y0 = 0, dx = 1, dy = 1;
            if (header[12] == 1)
            {
                (x0, y0, dx, dy) = ("0402010"[pass] - '0', "0040201"[pass] - '0', "8844221"[pass] - '0', "8884422"[pass] - '0');
            }

            int columns = ((int)width - x0 + dx - 1) / dx, rowBytes = (columns * channels * depth + 7) / 8,
            pixelBytes = Math.Max(1, channels * depth / 8);
            byte[] above = new byte[rowBytes];
            for (int y = y0; y < height && columns > 0; y += dy)
            {
                Require(raw.Length - next > rowBytes && raw[next] <= 4, "pixels");
                byte[] row = raw[(next + 1)..(next + 1 + rowBytes)];
                for (int i = 0; i < rowBytes; i++)
                {
                    int a = i >= pixelBytes ? row[i - pixelBytes] : 0, b = above[i], c = i >= pixelBytes ? above[i - pixelBytes] : 0;
                    int paeth = new[] { a, b, c }.MinBy(value => Math.Abs(a + b - c - value));
                    row[i] += (byte)new[] { 0, a, b, (a + b) / 2, paeth }[raw[next]];
                }

                next += 1 + rowBytes;
                above = row;
                for (int column = 0; column < columns; column++)
                {
                    Pixel(row, column).CopyTo(rgba, 4 * (y * (int)width + x0 + column * dx));
                }
            }
        }

        Require(next == raw.Length, "too many pixels");
        return ((int)width, (int)height, rgba);

        byte[] Content(string type) => chunks.Find(chunk => chunk.Type == type).Content ?? [];

        byte[] Pixel(byte[] row, int column)
        {
            int[] samples = [.. Enumerable.Range(column * channels, channels).Select(i => depth switch
            {
                16 => BinaryPrimitives.ReadUInt16BigEndian(row.AsSpan(2 * i)),
                _ => row[i * depth / 8] >> (8 - depth - i * depth % 8) & ((1 << depth) - 1),
            })];
            if (color == 3)
            {
                Require(3 * samples[0] < palette.Length, "a colour outside the palette");
                return [.. palette[(3 * samples[0])..(3 * samples[0] + 3)], samples[0] < transparent.Length ? transparent[samples[0]]
                    : (byte)255];
            }

            // Only the lowest bits of tRNS count, as many as a sample has.
            bool clear = transparent.Length > 0
                && Enumerable.Range(0, channels)
                    .All(i => (BinaryPrimitives.ReadUInt16BigEndian(transparent.AsSpan(2 * i)) & (1 << depth) - 1) == samples[i]);
            byte[] eight = [.. samples.Select(sample => (byte)(depth == 16 ? sample >> 8 : sample * 255 / ((1 << depth) - 1)))];
            return color switch
            {
                0 => [eight[0], eight[0], eight[0], (byte)(clear ? 0 : 255)],
                2 => [.. eight, (byte)(clear ? 0 : 255)],
                4 => [eight[0], eight[0], eight[0], eight[1]],
                _ => eight,
            };
        }
    }

    private static byte[] Zlib(byte[] bytes)
    {
        Require(bytes.Length > 2 && (bytes[0] & 15) == 8 && bytes[0] >> 4 <= 7 && (bytes[1] & 32) == 0
            && (256 * bytes[0] + bytes[1]) % 31 == 0, "zlib header");
        (byte[] unpacked, int end) = PlainInflate.Run(bytes, 2);
        Require(bytes.Length - end >= 4 && BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(end)) == PlainInflate.Adler32(unpacked),
            "Adler-32");
        return unpacked;
    }
}
