namespace CudnnDigits.Cli.Exchange;

/// <summary>A protocol buffer message. Each access searches the bytes, so that a message of millions of fields needs no memory.</summary>
internal readonly struct ProtoMessage(ReadOnlyMemory<byte> bytes)
{
    private const int Number = 0, Fixed64 = 1, Delimited = 2, Fixed32 = 5;

    /// <summary>A message's bytes with one field.</summary>
    public static byte[] Int(int field, long value) => [.. Tag(field, Number), .. Varint.Bytes((ulong)value)];

    public static byte[] Real(int field, float value) => [.. Tag(field, Fixed32), .. BitConverter.GetBytes(value)];

    public static byte[] Text(int field, string value) => Content(field, Encoding.UTF8.GetBytes(value));

    /// <summary>A field with bytes or with a message.</summary>
    public static byte[] Content(int field, ReadOnlySpan<byte> value) =>
        [.. Tag(field, Delimited), .. Varint.Bytes((ulong)value.Length), .. value];

    public IEnumerable<ProtoMessage> Messages(int field) => Of(field, Delimited).Select(value => new ProtoMessage(value));

    public IEnumerable<string> Texts(int field) => Of(field, Delimited).Select(value => Encoding.UTF8.GetString(value.Span));

    /// <summary>The last text; empty if there is none.</summary>
    public string Text(int field) => Texts(field).LastOrDefault("");

    /// <summary>The last bytes; empty if there are none.</summary>
    public ReadOnlyMemory<byte> Bytes(int field) => Of(field, Delimited).LastOrDefault();

    /// <summary>Integers, packed or single.</summary>
    public IEnumerable<long> Integers(int field)
    {
        foreach (ReadOnlyMemory<byte> value in Of(field, Number, Delimited))
        {
            for (int at = 0; at < value.Length;)
            {
                yield return (long)ReadVarint(value, ref at);
            }
        }
    }

    /// <summary>float32 numbers, packed or single.</summary>
    public IEnumerable<float> Reals(int field) => Of(field, Fixed32, Delimited).SelectMany(value => value.Length % sizeof(float) == 0
        ? MemoryMarshal.Cast<byte, float>(value.Span).ToArray() // little-endian, as every machine .NET runs on
        : throw new InvalidDataException("a list of numbers is cut off"));

    /// <summary>The bytes of a field's values.</summary>
    private IEnumerable<ReadOnlyMemory<byte>> Of(int field, params int[] types)
    {
        for (int at = 0; at < bytes.Length;)
        {
            ulong tag = ReadVarint(bytes, ref at), number = tag >> 3;
            int type = (int)(tag & 7), start = at;
            ulong value = type is Number or Delimited ? ReadVarint(bytes, ref at) : 0;
            ulong length = type switch
            {
                _ when number is 0 or >= 1 << 29 => throw new InvalidDataException("a field has an impossible number"),
                Number => (ulong)(at - start),
                Fixed64 => 8,
                Delimited => value,
                Fixed32 => 4,
                _ => throw new InvalidDataException("a field is of a type that ONNX does not have"),
            };
            start = type == Delimited ? at : start;
            at = length <= (ulong)(bytes.Length - start) ? start + (int)length : throw new InvalidDataException("a field is cut off");
            if (number == (ulong)field)
            {
                yield return types.Contains(type) ? bytes[start..at]
                    : throw new InvalidDataException($"field {field} is of another type than ONNX has it");
            }
        }
    }

    private static byte[] Tag(int field, int type) => Varint.Bytes((ulong)(field << 3 | type));

    private static ulong ReadVarint(ReadOnlyMemory<byte> bytes, ref int at) =>
        Varint.TryRead(bytes.Span, ref at, out ulong value) ? value : throw new InvalidDataException("a number is cut off");
}
