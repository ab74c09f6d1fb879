namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>A struct of a Parquet file's metadata: values by the numbers of their fields.</summary>
internal sealed class ThriftStruct(string file) : Dictionary<int, object>
{
    /// <summary>The value of a field; null if it is missing or of another type.</summary>
    public T? Find<T>(int field) => this.GetValueOrDefault(field) is T value ? value : default;

    /// <summary>A whole number, which must not be negative; if it is missing, the one given.</summary>
    public long Number(int field, long otherwise = -1) =>
        (Find<long?>(field) ?? otherwise) is >= 0 and var number ? number : throw ThriftReader.Damaged(file);

    public string Text(int field) => Encoding.UTF8.GetString((Find<ReadOnlyMemory<byte>?>(field) ?? throw ThriftReader.Damaged(file)).Span);

    public ThriftStruct Inner(int field) => Find<ThriftStruct>(field) ?? throw ThriftReader.Damaged(file);

    public ThriftStruct[] Structs(int field) => Find<List<object>>(field) is { } items && items.All(item => item is ThriftStruct)
        ? [.. items.Cast<ThriftStruct>()]
        : throw ThriftReader.Damaged(file);
}

/// <summary>Thrift's compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.</summary>
internal sealed class ThriftReader(string file, ReadOnlyMemory<byte> bytes)
{
    private const int True = 1, False = 2, Byte = 3, I16 = 4, I32 = 5, I64 = 6, Double = 7, Binary = 8, List = 9, Set = 10, Struct = 12;
    private const int MostDepth = 16;

    private int _at;

    public static InputException Damaged(string file) => new($"{file}: the Parquet file's description is damaged; download it again");

    public ThriftStruct ReadStruct(int depth = MostDepth)
    {
        ThriftStruct read = new(file);
        int field = 0;
        for (byte header = ReadByte(); header != 0; header = ReadByte())
        {
            field = header >> 4 == 0 ? (int)ReadSigned() : field + (header >> 4);
            int type = header & 15;
            read[field] = type is True or False ? type == True : ReadValue(type, depth);
        }

        return read;
    }

    /// <summary>The next bytes, which are then behind the reader.</summary>
    public ReadOnlyMemory<byte> Take(ulong count)
    {
        if (count > (ulong)(bytes.Length - _at))
        {
            throw Damaged(file);
        }

        _at += (int)count;
        return bytes.Slice(_at - (int)count, (int)count);
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
        _ => throw Damaged(file),
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

    private ulong ReadUnsigned() => Varint.TryRead(bytes.Span, ref _at, out ulong number) ? number : throw Damaged(file);

    private byte ReadByte() => Take(1).Span[0];
}
