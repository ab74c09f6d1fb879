namespace CudnnDigits.Cli.Exchange;

/// <summary>A field of a message.</summary>
/// <param name="Number">Which field.</param>
/// <param name="Type">How it is encoded; see the constants of <see cref="ProtoMessage"/>.</param>
/// <param name="Value">Its number, where it is one.</param>
/// <param name="Bytes">Its bytes, where it is of delimited length.</param>
internal readonly record struct ProtoField(int Number, int Type, ulong Value, ReadOnlyMemory<byte> Bytes);

/// <summary>
/// A protocol buffer message (protobuf.dev/programming-guides/encoding). It stays as it is: whoever asks for a field has it looked
/// for among the bytes, so that a message of millions of fields costs no memory.
/// </summary>
internal readonly struct ProtoMessage(ReadOnlyMemory<byte> bytes)
{
    private const int Number = 0, Fixed64 = 1, Delimited = 2, Fixed32 = 5;

    /// <summary>All fields in order.</summary>
    /// <exception cref="InvalidDataException">The message is cut off, or none.</exception>
    private IEnumerable<ProtoField> Fields()
    {
        for (int at = 0; at < bytes.Length;)
        {
            ulong tag = Varint(bytes.Span, ref at);
            int number = tag >> 3 is > 0 and < 1 << 29 and var valid ? (int)valid : throw new InvalidDataException("a field has an impossible number");
            yield return (int)(tag & 7) switch
            {
                Number => new ProtoField(number, Number, Varint(bytes.Span, ref at), default),
                Fixed64 => new ProtoField(number, Fixed64, BinaryPrimitives.ReadUInt64LittleEndian(Take(8, ref at).Span), default),
                Delimited => new ProtoField(number, Delimited, 0, Take(Varint(bytes.Span, ref at), ref at)),
                Fixed32 => new ProtoField(number, Fixed32, BinaryPrimitives.ReadUInt32LittleEndian(Take(4, ref at).Span), default),
                _ => throw new InvalidDataException("a field is of a type that ONNX does not have"),
            };
        }
    }

    /// <summary>Messages within it.</summary>
    public IEnumerable<ProtoMessage> Messages(int field) => Of(field, Delimited).Select(one => new ProtoMessage(one.Bytes));

    /// <summary>Texts.</summary>
    public IEnumerable<string> Texts(int field) => Of(field, Delimited).Select(one => Encoding.UTF8.GetString(one.Bytes.Span));

    /// <summary>One text, the last; empty where there is none.</summary>
    public string Text(int field) => Encoding.UTF8.GetString(Bytes(field).Span);

    /// <summary>Bytes, the last; empty where there are none.</summary>
    public ReadOnlyMemory<byte> Bytes(int field) => Of(field, Delimited).LastOrDefault().Bytes;

    /// <summary>Integers; each stands alone, or packed with its like.</summary>
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
                yield return (long)Varint(one.Bytes.Span, ref at);
            }
        }
    }

    /// <summary>float32 numbers; each stands alone, or packed with its like.</summary>
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

    private ReadOnlyMemory<byte> Take(ulong count, ref int at)
    {
        if (count > (ulong)(bytes.Length - at))
        {
            throw new InvalidDataException("a field is cut off");
        }

        at += (int)count;
        return bytes.Slice(at - (int)count, (int)count);
    }

    /// <summary>Seven bits a byte, the lowest first, up to 64.</summary>
    private static ulong Varint(ReadOnlySpan<byte> bytes, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; shift < 70 && at < bytes.Length; shift += 7)
        {
            byte next = bytes[at++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }

        throw new InvalidDataException("a number is cut off");
    }
}
