namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>
/// A struct in Thrift's compact protocol, the format of a Parquet file's metadata: values by the numbers of their fields. Source:
/// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
/// </summary>
internal sealed class ThriftStruct
{
    private const int True = 1, False = 2, Byte = 3, I16 = 4, I32 = 5, I64 = 6, Double = 7, Binary = 8, List = 9, Set = 10, Struct = 12;
    private const int MostDepth = 16;

    private readonly Dictionary<int, object> _fields = [];

    private ThriftStruct()
    {
    }

    /// <summary>Reads a struct and moves to the byte after it.</summary>
    /// <exception cref="InputException">The struct is damaged or cut off.</exception>
    public static ThriftStruct Read(ReadOnlyMemory<byte> bytes, ref int at)
    {
        Reader reader = new(bytes, at);
        ThriftStruct read = reader.ReadStruct(MostDepth);
        at = reader.At;
        return read;
    }

    public bool Has(int field) => _fields.ContainsKey(field);

    /// <summary>A whole number, which must not be negative; if it is missing, the one given.</summary>
    public long Number(int field, long otherwise = -1) =>
        (Find<long?>(field) ?? otherwise) is >= 0 and var number ? number : throw Damaged();

    /// <summary>A whole number; 0 if it is missing.</summary>
    public long Signed(int field) => Find<long?>(field) ?? 0;

    public bool Flag(int field, bool otherwise) => Find<bool?>(field) ?? otherwise;

    public string Text(int field) => Encoding.UTF8.GetString((Find<ReadOnlyMemory<byte>?>(field) ?? throw Damaged()).Span);

    public ThriftStruct Inner(int field) => Find<ThriftStruct>(field) ?? throw Damaged();

    public IReadOnlyList<ThriftStruct> Structs(int field) =>
        [.. (Find<List<object>>(field) ?? throw Damaged()).Select(item => item as ThriftStruct ?? throw Damaged())];

    private T? Find<T>(int field) => _fields.GetValueOrDefault(field) is T value ? value : default;

    private static InputException Damaged() => new("the Parquet file's description is damaged");

    private sealed class Reader(ReadOnlyMemory<byte> bytes, int start)
    {
        private int _at = start;

        public int At => _at;

        public ThriftStruct ReadStruct(int depth)
        {
            ThriftStruct read = new();
            int field = 0;
            for (byte header = ReadByte(); header != 0; header = ReadByte())
            {
                field = header >> 4 == 0 ? (int)ReadSigned() : field + (header >> 4);
                int type = header & 15;
                read._fields[field] = type is True or False ? type == True : ReadValue(type, depth);
            }

            return read;
        }

        private object ReadValue(int type, int depth) => type switch
        {
            True or False => ReadByte() == True, // in lists
            Byte => (long)(sbyte)ReadByte(),
            I16 or I32 or I64 => ReadSigned(),
            Double => BinaryPrimitives.ReadDoubleLittleEndian(Take(8).Span),
            Binary => Take(ReadUnsigned()),
            List or Set when depth > 0 => ReadList(depth - 1),
            Struct when depth > 0 => ReadStruct(depth - 1),
            _ => throw Damaged(),
        };

        private List<object> ReadList(int depth)
        {
            byte header = ReadByte();
            ulong count = header >> 4 == 15 ? ReadUnsigned() : (ulong)(header >> 4);
            List<object> items = [];
            for (ulong i = 0; i < count; i++) // each item takes at least a byte, so the loop ends with the bytes
            {
                items.Add(ReadValue(header & 15, depth));
            }

            return items;
        }

        private long ReadSigned()
        {
            ulong number = ReadUnsigned();
            return (long)(number >> 1) ^ -(long)(number & 1);
        }

        private ulong ReadUnsigned() => Varint.TryRead(bytes.Span, ref _at, out ulong number) ? number : throw Damaged();

        private byte ReadByte() => Take(1).Span[0];

        private ReadOnlyMemory<byte> Take(ulong count)
        {
            if (count > (ulong)(bytes.Length - _at))
            {
                throw Damaged();
            }

            _at += (int)count;
            return bytes.Slice(_at - (int)count, (int)count);
        }
    }
}
