using System.Buffers.Binary;

namespace CudnnDigits.Tests.Reference;

/// <summary>Parquet files, written for tests after the format's description: one row group, pages unpacked and plain.</summary>
internal static class ParquetFiles
{
    private const int I32 = 5, I64 = 6, Binary = 8, List = 9, Struct = 12, Bytes = 6;

    /// <summary>A column beside the pictures.</summary>
    /// <param name="Name">Its name.</param>
    /// <param name="Type">Parquet's enum Type: 1 and 2 are whole numbers of 4 and 8 bytes, 4 and 5 real ones, 6 text.</param>
    /// <param name="Values">By row; null where there is none.</param>
    public sealed record Column(string Name, int Type, double?[] Values);

    /// <summary>Pictures as PNG in image.bytes, where there are any, then the columns.</summary>
    public static byte[] Write(DigitDataset? digits, params Column[] columns)
    {
        List<byte> file = [.. "PAR1"u8];
        List<byte[]> chunks = [], schema = [];
        int rows = digits?.Count ?? columns[0].Values.Length;
        schema.Add(Element("schema", children: columns.Length + (digits is null ? 0 : 1)));
        if (digits is not null)
        {
            schema.Add(Element("image", repetition: 0, children: 1));
            schema.Add(Element("bytes", Bytes, repetition: 0));
            Add(["image", "bytes"], Bytes, [],
                [.. Enumerable.Range(0, rows).Select(row => WithLength(PngFiles.Write(digits.Image(row), 28, PngFiles.Grey, 8, false)))]);
        }

        foreach (Column column in columns)
        {
            schema.Add(Element(column.Name, column.Type, repetition: 1));
            byte[] levels = [.. column.Values.SelectMany(value => new byte[] { 2, value is null ? (byte)0 : (byte)1 })]; // runs of one
            Add([column.Name], column.Type, WithLength(levels),
                [.. column.Values.OfType<double>().Select(value => Encode(value, column.Type))]);
        }

        byte[] group = Fields((1, List, ListOf(Struct, chunks)), (2, I64, Zigzag(file.Count)), (3, I64, Zigzag(rows)));
        byte[] footer = Fields((1, I32, Zigzag(1)), (2, List, ListOf(Struct, schema)), (3, I64, Zigzag(rows)),
            (4, List, ListOf(Struct, [group])));
        return [.. file, .. footer, .. BitConverter.GetBytes(footer.Length), .. "PAR1"u8];

        void Add(string[] path, int type, byte[] levels, byte[][] values)
        {
            byte[] body = [.. levels, .. values.SelectMany(value => value)];
            byte[] head = Fields((1, I32, Zigzag(0)), (2, I32, Zigzag(body.Length)), (3, I32, Zigzag(body.Length)),
                (5, Struct, Fields((1, I32, Zigzag(rows)), (2, I32, Zigzag(0)), (3, I32, Zigzag(3)), (4, I32, Zigzag(3)))));
            long length = head.Length + body.Length;
            byte[] meta = Fields(
                (1, I32, Zigzag(type)), (2, List, ListOf(I32, [Zigzag(0), Zigzag(3)])), (3, List, ListOf(Binary, path.Select(Text))),
                (4, I32, Zigzag(0)), (5, I64, Zigzag(rows)), (6, I64, Zigzag(length)), (7, I64, Zigzag(length)),
                (9, I64, Zigzag(file.Count)));
            chunks.Add(Fields((2, I64, Zigzag(file.Count)), (3, Struct, meta)));
            file.AddRange(head);
            file.AddRange(body);
        }
    }

    private static byte[] Encode(double value, int type) => type switch
    {
        1 => BitConverter.GetBytes((int)value),
        2 => BitConverter.GetBytes((long)value),
        4 => BitConverter.GetBytes((float)value),
        5 => BitConverter.GetBytes(value),
        _ => WithLength(Encoding.UTF8.GetBytes(value.ToString(System.Globalization.CultureInfo.InvariantCulture))),
    };

    private static byte[] WithLength(byte[] bytes)
    {
        byte[] all = [0, 0, 0, 0, .. bytes];
        BinaryPrimitives.WriteInt32LittleEndian(all, bytes.Length);
        return all;
    }

    private static byte[] Element(string name, int? type = null, int? repetition = null, int? children = null) => Fields(
        [.. new (int, int, byte[])?[] { type is { } t ? (1, I32, Zigzag(t)) : null, repetition is { } r ? (3, I32, Zigzag(r)) : null,
            (4, Binary, Text(name)), children is { } c ? (5, I32, Zigzag(c)) : null }.OfType<(int, int, byte[])>()]);

    private static byte[] Fields(params (int Field, int Type, byte[] Value)[] fields) =>
        [.. fields.Select((field, i) =>
            (byte[])[(byte)((field.Field - (i == 0 ? 0 : fields[i - 1].Field)) << 4 | field.Type), .. field.Value])
            .SelectMany(bytes => bytes), 0];

    private static byte[] ListOf(int type, IEnumerable<byte[]> items)
    {
        byte[][] all = [.. items];
        return [.. all.Length < 15 ? [(byte)(all.Length << 4 | type)] : (byte[])[(byte)(0xF0 | type), .. Varint((ulong)all.Length)],
            .. all.SelectMany(item => item)];
    }

    private static byte[] Text(string text) => [.. Varint((ulong)text.Length), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] Zigzag(long number) => Varint((ulong)(number << 1 ^ number >> 63));

    private static byte[] Varint(ulong number)
    {
        List<byte> bytes = [];
        for (; number >= 128; number >>= 7)
        {
            bytes.Add((byte)(number | 128));
        }

        return [.. bytes, (byte)number];
    }
}
