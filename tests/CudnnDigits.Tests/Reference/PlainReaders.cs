using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// Readers of every format that the program reads, each plain and strict from the format's specification, to compare the real ones
/// with: no buffers, no streams, no library that the real ones use. What breaks a rule ends as <see cref="BrokenFileException"/>.
/// </summary>
internal static class PlainReaders
{
    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Kaggle's layout in CSV as RFC 4180 has it, lines ending in LF or CR LF. Without labels, <c>Labels</c> is empty.</summary>
    public static (byte[] Pixels, byte[] Labels) Csv(byte[] bytes)
    {
        string text = Encoding.Latin1.GetString(bytes.AsSpan().StartsWith(ByteOrderMark) ? bytes[3..] : bytes);
        List<List<string>> rows = CsvRows(text);
        Require(rows.Count > 1, "no rows");
        bool labelled = rows[0][0] == "label";
        string[] header = [.. labelled ? ["label"] : Array.Empty<string>(), .. Enumerable.Range(0, 784).Select(i => $"pixel{i}")];
        Require(rows[0].SequenceEqual(header), "another header");
        List<byte> pixels = [], labels = [];
        foreach (List<string> row in rows.Skip(1))
        {
            Require(row.Count == header.Length, "another number of columns");
            Require(row.TrueForAll(field => field.Length is > 0 and <= 3 && field.All(char.IsAsciiDigit) && int.Parse(field, CultureInfo.InvariantCulture) <= 255), "no byte");
            Require(!labelled || byte.Parse(row[0], CultureInfo.InvariantCulture) <= 9, "no digit");
            labels.AddRange(row.Take(labelled ? 1 : 0).Select(field => byte.Parse(field, CultureInfo.InvariantCulture)));
            pixels.AddRange(row.Skip(labelled ? 1 : 0).Select(field => byte.Parse(field, CultureInfo.InvariantCulture)));
        }

        return ([.. pixels], [.. labels]);
    }

    /// <summary>All members of a gzip file (RFC 1952), which zeros may follow.</summary>
    public static byte[] Gzip(byte[] bytes)
    {
        List<byte> unpacked = [];
        int at = 0;
        do
        {
            int start = at;
            Require(bytes.Length - at >= 10 && bytes[at] == 0x1F && bytes[at + 1] == 0x8B && bytes[at + 2] == 8, "no gzip header");
            byte flags = bytes[at + 3];
            Require(flags < 32, "reserved flags");
            at += 10;
            if ((flags & 4) != 0)
            {
                Require(bytes.Length - at >= 2, "cut off");
                at += 2 + BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));
            }

            for (int text = 8; text <= 16; text *= 2)
            {
                if ((flags & text) != 0)
                {
                    at = at < bytes.Length ? Array.IndexOf(bytes, (byte)0, at) + 1 : 0;
                    Require(at > 0, "cut off");
                }
            }

            if ((flags & 2) != 0)
            {
                Require(bytes.Length - at >= 2 && BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at)) == (ushort)PlainInflate.Crc32(bytes.AsSpan(start..at)), "header CRC");
                at += 2;
            }

            (byte[] member, at) = PlainInflate.Run(bytes, at);
            Require(bytes.Length - at >= 8 && BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at)) == PlainInflate.Crc32(member), "CRC");
            Require(BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at + 4)) == member.Length, "length");
            at += 8;
            unpacked.AddRange(member);
        }
        while (bytes.AsSpan(at).ContainsAnyExcept((byte)0));

        return [.. unpacked];
    }

    /// <summary>The one file of a name in a zip file (PKWARE's APPNOTE.TXT), stored or deflated, without Zip64 and encryption.</summary>
    public static byte[] Zip(byte[] bytes, string name)
    {
        int end = bytes.Length - 22;
        while (end >= 0 && !(bytes.AsSpan(end).StartsWith("PK\x05\x06"u8) && end + 22 + U16(end + 20) <= bytes.Length))
        {
            end--;
        }

        Require(end >= 0, "no end of the central directory");
        Require(U16(end + 4) == 0 && U16(end + 6) == 0 && U16(end + 8) == U16(end + 10), "several disks");
        int count = U16(end + 10);
        long at = U32(end + 16);
        List<byte[]> found = [];
        for (int i = 0; i < count; i++)
        {
            Require(at + 46 <= end && bytes.AsSpan((int)at).StartsWith("PK\x01\x02"u8), "central directory");
            int header = (int)at, nameLength = U16(header + 28);
            at += 46 + nameLength + U16(header + 30) + U16(header + 32);
            Require(at <= end, "central directory");
            if (Encoding.Latin1.GetString(bytes, header + 46, nameLength).Split('/')[^1] == name)
            {
                found.Add(Entry(header));
            }
        }

        return found is [byte[] one] ? one : throw new BrokenFileException($"{found.Count} files of the name");

        byte[] Entry(int header)
        {
            int flags = U16(header + 8), method = U16(header + 10);
            long packed = U32(header + 20), length = U32(header + 24), local = U32(header + 42);
            Require((flags & 1) == 0 && method is 0 or 8 && U16(header + 34) == 0, "encrypted, another method, or another disk");
            Require(local + 30 <= bytes.Length && bytes.AsSpan((int)local).StartsWith("PK\x03\x04"u8), "local header");
            long start = local + 30 + U16((int)local + 26) + U16((int)local + 28);
            Require(start + packed <= bytes.Length, "cut off");
            byte[] raw = bytes[(int)start..(int)(start + packed)], content = method == 0 ? raw : PlainInflate.Run(raw, 0).Unpacked;
            Require(content.Length == length && PlainInflate.Crc32(content) == U32(header + 16), "length or CRC");
            return content;
        }

        int U16(int place) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(place));

        long U32(int place) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(place));
    }

    /// <summary>MNIST's images.</summary>
    public static byte[] Idx(byte[] bytes)
    {
        Require(bytes.Length > 16 && bytes.AsSpan().StartsWith((ReadOnlySpan<byte>)[0, 0, 8, 3]), "header");
        Require(BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(8)) == 28 && BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(12)) == 28, "another size");
        Require(bytes.Length - 16 == 784L * BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(4)), "another length");
        return bytes[16..];
    }

    /// <summary>A PNG (W3C, third edition) as (height, width, 4) uint8, its colours as they are, 16 bits cut down to 8.</summary>
    public static (int Width, int Height, byte[] Rgba) Png(byte[] bytes)
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
        Require(Array.TrueForAll(types, type => char.IsAsciiLetterLower(type[0]) || type is "IHDR" or "PLTE" or "IDAT" or "IEND"), "an unknown critical chunk");
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
        Require(!types.Contains("tRNS") || (color switch { 0 => transparent.Length == 2, 2 => transparent.Length == 6, 3 => transparent.Length > 0 && transparent.Length <= palette.Length / 3, _ => false }), "tRNS");
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

            int columns = ((int)width - x0 + dx - 1) / dx, rowBytes = (columns * channels * depth + 7) / 8, pixelBytes = Math.Max(1, channels * depth / 8);
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
                return [.. palette[(3 * samples[0])..(3 * samples[0] + 3)], samples[0] < transparent.Length ? transparent[samples[0]] : (byte)255];
            }

            // Only the lowest bits of tRNS count, as many as a sample has.
            bool clear = transparent.Length > 0 && Enumerable.Range(0, channels).All(i => (BinaryPrimitives.ReadUInt16BigEndian(transparent.AsSpan(2 * i)) & (1 << depth) - 1) == samples[i]);
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

    /// <summary>
    /// An ONNX model's nodes, float32 initializers and metadata, each in one line, in order (onnx.proto, protobuf's wire format).
    /// </summary>
    public static string[] Onnx(byte[] bytes)
    {
        List<string> metadata = [], nodes = [];
        Dictionary<string, string> entries = [], tensors = [];
        foreach ((_, _, byte[] entry) in Fields(bytes, 14, "bytes"))
        {
            entries[Text(entry, 1)] = Text(entry, 2);
            Bound(metadata.Count);
            metadata.Add("");
        }

        foreach ((_, _, byte[] graph) in Fields(bytes, 7, "bytes"))
        {
            foreach ((_, _, byte[] node) in Fields(graph, 1, "bytes"))
            {
                Bound(nodes.Count);
                nodes.Add(Node(node));
            }
        }

        int count = 0;
        foreach ((_, _, byte[] graph) in Fields(bytes, 7, "bytes"))
        {
            foreach ((_, _, byte[] tensor) in Fields(graph, 5, "bytes"))
            {
                Bound(count++);
                if (Numbers(tensor, 2).LastOrDefault() == 1)
                {
                    Require(tensors.TryAdd(Text(tensor, 8), Tensor(tensor)), "two initializers of one name");
                }
            }
        }

        Require(nodes.Count > 0, "no graph");
        return [.. nodes, .. tensors.Select(tensor => $"{tensor.Key}: {tensor.Value}"), .. entries.Select(entry => $"{entry.Key} = {entry.Value}")];

        static string Node(byte[] node)
        {
            Dictionary<string, string> reals = [], integers = [];
            foreach ((_, _, byte[] attribute) in Fields(node, 5, "bytes"))
            {
                string name = Text(attribute, 1);
                foreach (float real in Reals(attribute, 2))
                {
                    reals[name] = BitConverter.SingleToInt32Bits(real).ToString(CultureInfo.InvariantCulture);
                }

                long[] values = [.. Numbers(attribute, 3), .. Numbers(attribute, 8)];
                Bound(values.Length - 1);
                if (values.Length > 0)
                {
                    integers[name] = string.Join(' ', values);
                }
            }

            return OnnxText.Node(Text(node, 4), Texts(node, 1), Texts(node, 2), integers, reals);
        }

        static string Tensor(byte[] tensor)
        {
            byte[] raw = Fields(tensor, 9, "bytes").LastOrDefault().Bytes ?? [];
            float[] reals = Reals(tensor, 4);
            Require(raw.Length % 4 == 0 && (raw.Length == 0 || reals.Length == 0), "raw data");
            long[] shape = Numbers(tensor, 1);
            Bound(shape.Length - 1);
            return OnnxText.Tensor(shape, raw.Length > 0 ? [.. Enumerable.Range(0, raw.Length / 4).Select(i => BinaryPrimitives.ReadSingleLittleEndian(raw.AsSpan(4 * i)))] : reals);
        }

        static string Text(byte[] message, int number) => Texts(message, number).LastOrDefault() ?? "";

        static string[] Texts(byte[] message, int number) => [.. Fields(message, number, "bytes").Select(field => Encoding.UTF8.GetString(field.Bytes))];

        static long[] Numbers(byte[] message, int number) => [.. Fields(message, number, "bytes or varint").SelectMany(field =>
        {
            List<long> values = [];
            for (int at = 0; at < field.Bytes.Length;)
            {
                values.Add((long)Varint(field.Bytes, ref at));
            }

            return field.Type == "varint" ? [(long)field.Number] : values;
        })];

        static float[] Reals(byte[] message, int number) => [.. Fields(message, number, "bytes or fixed32").SelectMany(field =>
        {
            Require(field.Bytes.Length % 4 == 0, "float32");
            return field.Type == "fixed32"
                ? [BitConverter.UInt32BitsToSingle((uint)field.Number)]
                : Enumerable.Range(0, field.Bytes.Length / 4).Select(i => BinaryPrimitives.ReadSingleLittleEndian(field.Bytes.AsSpan(4 * i)));
        })];

        static void Bound(int before) => Require(before < 512, "more than a digit network has");
    }

    private static List<List<string>> CsvRows(string text)
    {
        List<List<string>> rows = [];
        List<string> row = [];
        for (int at = 0; at < text.Length;)
        {
            int end;
            if (text[at] == '"')
            {
                StringBuilder field = new();
                for (end = at + 1; end < text.Length && (text[end] != '"' || (end + 1 < text.Length && text[end + 1] == '"')); end++)
                {
                    field.Append(text[end]);
                    end += text[end] == '"' ? 1 : 0;
                }

                Require(end < text.Length, "an open quote");
                row.Add(field.ToString());
                end++;
            }
            else
            {
                end = text.IndexOfAny([',', '\n', '"'], at);
                end = end < 0 ? text.Length : end;
                end -= end < text.Length && text[end] == '\n' && end > at && text[end - 1] == '\r' ? 1 : 0;
                row.Add(text[at..end]);
            }

            end += end < text.Length && text[end] == '\r' ? 1 : 0;
            Require(end == text.Length || text[end] is ',' or '\n', "something after a field");
            bool ended = end == text.Length || text[end] == '\n';
            at = end + 1;
            if (!ended && at == text.Length)
            {
                row.Add("");
                ended = true;
            }

            if (ended)
            {
                rows.AddRange(row is [""] ? [] : [row]); // a blank line
                row = [];
            }
        }

        return rows;
    }

    private static byte[] Zlib(byte[] bytes)
    {
        Require(bytes.Length > 2 && (bytes[0] & 15) == 8 && bytes[0] >> 4 <= 7 && (bytes[1] & 32) == 0 && (256 * bytes[0] + bytes[1]) % 31 == 0, "zlib header");
        (byte[] unpacked, int end) = PlainInflate.Run(bytes, 2);
        Require(bytes.Length - end >= 4 && BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(end)) == PlainInflate.Adler32(unpacked), "Adler-32");
        return unpacked;
    }

    /// <summary>Fields of a message that have a number.</summary>
    private static List<(string Type, ulong Number, byte[] Bytes)> Fields(byte[] message, int number, string types)
    {
        List<(string, ulong, byte[])> fields = [];
        for (int at = 0; at < message.Length;)
        {
            ulong tag = Varint(message, ref at);
            Require(tag >> 3 is > 0 and < 1 << 29, "an impossible field");
            string type = (tag & 7) switch { 0 => "varint", 1 => "fixed64", 2 => "bytes", 5 => "fixed32", _ => throw new BrokenFileException("a field of a type that ONNX does not have") };
            ulong value = type is "varint" or "bytes" ? Varint(message, ref at) : 0;
            int length = type switch { "varint" => 0, "fixed64" => 8, "fixed32" => 4, _ => (int)Math.Min(value, int.MaxValue) };
            Require(length <= message.Length - at, "cut off");
            byte[] bytes = message[at..(at + length)];
            at += length;
            if (tag >> 3 == (ulong)number)
            {
                Require(types.Split(" or ").Contains(type), "a field of another type");
                fields.Add((type, type == "fixed32" ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : value, bytes));
            }
        }

        return fields;
    }

    private static ulong Varint(byte[] bytes, ref int at)
    {
        ulong value = 0;
        for (int i = 0; i < 10; i++)
        {
            Require(at < bytes.Length, "cut off");
            value |= (ulong)(bytes[at] & 127) << (7 * i);
            if (bytes[at++] < 128)
            {
                return value;
            }
        }

        throw new BrokenFileException("a number too long");
    }

    private static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new BrokenFileException(otherwise);
        }
    }
}

/// <summary>Parts of an ONNX model as text, to compare two readers by.</summary>
internal static class OnnxText
{
    public static string Node(string type, IEnumerable<string> inputs, IEnumerable<string> outputs, Dictionary<string, string> integers, Dictionary<string, string> reals) =>
        $"{type} ({string.Join(',', inputs)}) -> ({string.Join(',', outputs)}) {string.Join(';', integers)} {string.Join(';', reals)}";

    public static string Tensor(IEnumerable<long> shape, float[] values) =>
        $"({string.Join(',', shape)}) {Convert.ToHexString(SHA256.HashData(MemoryMarshal.AsBytes<float>(values)))}";
}
