namespace CudnnDigits.Cli.Exchange;

/// <summary>A field of a message.</summary>
/// <param name="Number">The number of the field.</param>
/// <param name="Type">The encoding; see the constants of <see cref="ProtoMessage"/>.</param>
/// <param name="Value">The value, if it is a number.</param>
/// <param name="Bytes">The value, if it is delimited by its length.</param>
internal readonly record struct ProtoField(int Number, int Type, ulong Value, ReadOnlyMemory<byte> Bytes);

/// <summary>
/// A protocol buffer message (protobuf.dev/programming-guides/encoding). It is not parsed in advance: each access searches the bytes for
/// the field, so that a message of millions of fields needs no memory.
/// </summary>
internal readonly struct ProtoMessage(ReadOnlyMemory<byte> bytes)
{
    private const int Number = 0, Fixed64 = 1, Delimited = 2, Fixed32 = 5;

    /// <summary>All fields in order.</summary>
    /// <exception cref="InvalidDataException">The message is cut off, or is no message.</exception>
    private IEnumerable<ProtoField> Fields()
    {
        for (int at = 0; at < bytes.Length;)
        {
            ulong tag = ReadVarint(bytes, ref at);
            int number = tag >> 3 is > 0 and < 1 << 29 and var valid ? (int)valid
                : throw new InvalidDataException("a field has an impossible number");
            yield return (int)(tag & 7) switch
            {
                Number => new ProtoField(number, Number, ReadVarint(bytes, ref at), default),
                Fixed64 => new ProtoField(number, Fixed64, BinaryPrimitives.ReadUInt64LittleEndian(Take(8, ref at).Span), default),
                Delimited => new ProtoField(number, Delimited, 0, Take(ReadVarint(bytes, ref at), ref at)),
                Fixed32 => new ProtoField(number, Fixed32, BinaryPrimitives.ReadUInt32LittleEndian(Take(4, ref at).Span), default),
                _ => throw new InvalidDataException("a field is of a type that ONNX does not have"),
            };
        }
    }

    /// <summary>Nested messages.</summary>
    public IEnumerable<ProtoMessage> Messages(int field) => Of(field, Delimited).Select(one => new ProtoMessage(one.Bytes));

    /// <summary>Texts.</summary>
    public IEnumerable<string> Texts(int field) => Of(field, Delimited).Select(one => Encoding.UTF8.GetString(one.Bytes.Span));

    /// <summary>The last text; empty if there is none.</summary>
    public string Text(int field) => Encoding.UTF8.GetString(Bytes(field).Span);

    /// <summary>The last bytes; empty if there are none.</summary>
    public ReadOnlyMemory<byte> Bytes(int field) => Of(field, Delimited).LastOrDefault().Bytes;

    /// <summary>Integers, packed or single.</summary>
    public IEnumerable<long> Integers(int field)
    {
        foreach (ProtoField one in Of(field, Number, Delimited))
        {
            if (one.Type == Number)
            {
                yield return (long)one.Value;
            }

            for (int at = 0; at < one.Bytes.Length;)
            {
                yield return (long)ReadVarint(one.Bytes, ref at);
            }
        }
    }

    /// <summary>float32 numbers, packed or single.</summary>
    public IEnumerable<float> Reals(int field)
    {
        foreach (ProtoField one in Of(field, Fixed32, Delimited))
        {
            if (one.Type == Fixed32)
            {
                yield return BitConverter.UInt32BitsToSingle((uint)one.Value);
            }

            for (int at = 0; at < one.Bytes.Length; at += sizeof(float))
            {
                yield return one.Bytes.Length % sizeof(float) == 0
                    ? BinaryPrimitives.ReadSingleLittleEndian(one.Bytes.Span[at..])
                    : throw new InvalidDataException("a list of numbers is cut off");
            }
        }
    }

    private IEnumerable<ProtoField> Of(int field, params int[] types) => Fields().Where(one => one.Number == field
        && (types.Contains(one.Type) ? true : throw new InvalidDataException($"field {field} is of another type than ONNX has it")));

    private static ulong ReadVarint(ReadOnlyMemory<byte> bytes, ref int at) =>
        Varint.TryRead(bytes.Span, ref at, out ulong value) ? value : throw new InvalidDataException("a number is cut off");

    private ReadOnlyMemory<byte> Take(ulong count, ref int at)
    {
        if (count > (ulong)(bytes.Length - at))
        {
            throw new InvalidDataException("a field is cut off");
        }

        at += (int)count;
        return bytes.Slice(at - (int)count, (int)count);
    }
}
