using System.Runtime.InteropServices;
using Google.Protobuf;

namespace CudnnDigits.Cli.Exchange;

/// <summary>A protocol buffer message, its fields by number; what nobody asks for is never looked into.</summary>
internal sealed class ProtoMessage
{
    private readonly Dictionary<int, List<Field>> _fields = [];

    /// <param name="bytes">The message.</param>
    /// <exception cref="InvalidProtocolBufferException">It is cut off, or none.</exception>
    public ProtoMessage(ByteString bytes)
    {
        CodedInputStream input = bytes.CreateCodedInput();
        while (input.ReadTag() is var tag and not 0)
        {
            Field field;
            switch (WireFormat.GetTagWireType(tag))
            {
                case WireFormat.WireType.Varint:
                    field = new Field(input.ReadUInt64(), null);
                    break;
                case WireFormat.WireType.Fixed32:
                    field = new Field(input.ReadFixed32(), null);
                    break;
                case WireFormat.WireType.LengthDelimited:
                    field = new Field(0, input.ReadBytes());
                    break;
                default:
                    input.SkipLastField();
                    continue;
            }

            int number = WireFormat.GetTagFieldNumber(tag);
            (CollectionsMarshal.GetValueRefOrAddDefault(_fields, number, out _) ??= []).Add(field);
        }
    }

    /// <summary>Messages within it.</summary>
    public IEnumerable<ProtoMessage> Messages(int field) => Of(field).Select(one => new ProtoMessage(one.Bytes ?? ByteString.Empty));

    /// <summary>Texts.</summary>
    public IEnumerable<string> Texts(int field) => Of(field).Select(one => one.Bytes?.ToStringUtf8() ?? "");

    /// <summary>One text; empty where there is none.</summary>
    public string Text(int field) => Texts(field).LastOrDefault() ?? "";

    /// <summary>Integers; each stands alone, or packed with its like.</summary>
    public long[] Integers(int field) => [.. Of(field).SelectMany(one => one.Bytes is { } packed ? Unpack(packed) : [(long)one.Number])];

    /// <summary>float32 numbers; each stands alone, or packed with its like.</summary>
    public float[] Reals(int field) => [.. Of(field).SelectMany(one => one.Bytes is { } packed
        ? MemoryMarshal.Cast<byte, float>(packed.Span).ToArray() // little-endian, as every machine .NET runs on
        : [BitConverter.UInt32BitsToSingle((uint)one.Number)])];

    private List<Field> Of(int field) => _fields.GetValueOrDefault(field) ?? [];

    private static IEnumerable<long> Unpack(ByteString packed)
    {
        CodedInputStream input = packed.CreateCodedInput();
        while (!input.IsAtEnd)
        {
            yield return input.ReadInt64();
        }
    }

    private readonly record struct Field(ulong Number, ByteString? Bytes);
}
