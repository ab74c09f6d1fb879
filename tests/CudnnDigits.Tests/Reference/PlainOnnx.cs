using System.Buffers.Binary;
using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// An ONNX model's nodes, float32 initializers and metadata, each in one line, in order (onnx.proto, protobuf's wire format).
/// </summary>
internal static class PlainOnnx
{
    public static string[] Read(byte[] bytes)
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
        HashSet<string> names = [];
        foreach ((_, _, byte[] graph) in Fields(bytes, 7, "bytes"))
        {
            foreach ((_, _, byte[] tensor) in Fields(graph, 5, "bytes"))
            {
                Bound(count++);
                string name = Text(tensor, 8);
                bool isFloat = Numbers(tensor, 2).LastOrDefault() == 1, isNew = names.Add(name);
                Bound(Numbers(tensor, 1).Length - 1);
                Require(Numbers(tensor, 14).LastOrDefault() != 1, "weights in another file");
                Require(isNew || !isFloat, "two initializers of one name");
                if (isFloat)
                {
                    tensors.Add(name, Tensor(tensor));
                }
            }
        }

        Require(nodes.Count > 0, "no graph");
        return [.. nodes, .. tensors.Select(tensor => $"{tensor.Key}: {tensor.Value}"),
            .. entries.Select(entry => $"{entry.Key} = {entry.Value}")];

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
            return OnnxText.Tensor(shape, raw.Length == 0
                ? reals
                : [.. Enumerable.Range(0, raw.Length / 4).Select(i => BinaryPrimitives.ReadSingleLittleEndian(raw.AsSpan(4 * i)))]);
        }

        static string Text(byte[] message, int number) => Texts(message, number).LastOrDefault() ?? "";

        static string[] Texts(byte[] message, int number) =>
            [.. Fields(message, number, "bytes").Select(field => Encoding.UTF8.GetString(field.Bytes))];

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
                : Enumerable.Range(0, field.Bytes.Length / 4)
                    .Select(i => BinaryPrimitives.ReadSingleLittleEndian(field.Bytes.AsSpan(4 * i)));
        })];

        static void Bound(int before) => Require(before < 512, "more than a digit network has");
    }

    /// <summary>Fields of a message that have a number.</summary>
    private static List<(string Type, ulong Number, byte[] Bytes)> Fields(byte[] message, int number, string types)
    {
        List<(string, ulong, byte[])> fields = [];
        for (int at = 0; at < message.Length;)
        {
            ulong tag = Varint(message, ref at);
            Require(tag >> 3 is > 0 and < 1 << 29, "an impossible field");
            string type = (tag & 7) switch
            {
                0 => "varint",
                1 => "fixed64",
                2 => "bytes",
                5 => "fixed32",
                _ => throw new BrokenFileException("a field of a type that ONNX does not have"),
            };
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
}
