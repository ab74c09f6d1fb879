using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>
/// A struct in Thrift's compact protocol, of which a Parquet file's descriptions are made: values by the numbers of their fields. Source:
/// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
/// </summary>
internal sealed class ThriftStruct
{
    private const int True = 1, False = 2, Byte = 3, I16 = 4, I32 = 5, I64 = 6, Double = 7, Binary = 8, List = 9, Set = 10, Struct = 12, MostDepth = 16;

    private readonly Dictionary<int, object> _fields = [];

    private ThriftStruct()
    {
    }

    /// <summary>Reads one, and says where it ends.</summary>
    /// <exception cref="InputException">Damaged, or cut off.</exception>
    public static ThriftStruct Read(ReadOnlyMemory<byte> bytes, ref int at)
    {
        Reader reader = new(bytes, at);
        ThriftStruct read = reader.ReadStruct(MostDepth);
        at = reader.At;
        return read;
    }

    public bool Has(int field) => _fields.ContainsKey(field);

    /// <summary>A whole number, which must not be negative; where there is none, the one given.</summary>
    public long Number(int field, long otherwise = -1) => (_fields.GetValueOrDefault(field) as long? ?? otherwise) is >= 0 and var number ? number : throw Damaged();

    /// <summary>A whole number; where there is none, 0.</summary>
    public long Signed(int field) => _fields.GetValueOrDefault(field) as long? ?? 0;

    public bool Flag(int field, bool otherwise) => _fields.GetValueOrDefault(field) as bool? ?? otherwise;

    public string Text(int field) => _fields.GetValueOrDefault(field) is ReadOnlyMemory<byte> text ? System.Text.Encoding.UTF8.GetString(text.Span) : throw Damaged();

    public ThriftStruct Inner(int field) => _fields.GetValueOrDefault(field) as ThriftStruct ?? throw Damaged();

    public IReadOnlyList<ThriftStruct> Structs(int field) => [.. Items(field).Select(item => item as ThriftStruct ?? throw Damaged())];

    private List<object> Items(int field) => _fields.GetValueOrDefault(field) as List<object> ?? throw Damaged();

    private static InputException Damaged() => new("the Parquet file's description is damaged");

    private sealed class Reader(ReadOnlyMemory<byte> bytes, int at)
    {
        public int At { get; private set; } = at;

        public ThriftStruct ReadStruct(int depth)
        {
            ThriftStruct read = new();
            for (int field = 0; ;)
            {
                byte header = ReadByte();
                if (header == 0)
                {
                    return read;
                }

                field = header >> 4 == 0 ? (int)ReadSigned() : field + (header >> 4);
                int type = header & 15;
                read._fields[field] = type is True or False ? type == True : ReadValue(type, depth);
            }
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
            for (ulong i = 0; i < count; i++) // each takes a byte at least, so the bytes end it
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

        private ulong ReadUnsigned()
        {
            ulong number = 0;
            for (int shift = 0; shift < 64; shift += 7)
            {
                byte next = ReadByte();
                number |= (ulong)(next & 0x7F) << shift;
                if (next < 0x80)
                {
                    return number;
                }
            }

            throw Damaged();
        }

        private byte ReadByte() => Take(1).Span[0];

        private ReadOnlyMemory<byte> Take(ulong count)
        {
            if (count > (ulong)(bytes.Length - At))
            {
                throw Damaged();
            }

            ReadOnlyMemory<byte> taken = bytes.Slice(At, (int)count);
            At += (int)count;
            return taken;
        }
    }
}
