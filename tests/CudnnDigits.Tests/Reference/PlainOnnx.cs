using System.Buffers.Binary;
using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// An ONNX model's nodes, floating-point tensors, metadata, inputs and outputs, each in one line, in order (onnx.proto, protobuf's wire
/// format).
/// </summary>
internal static class PlainOnnx
{
    public static string[] Read(byte[] bytes)
    {
        List<string> metadata = [], nodes = [];
        Dictionary<string, string> entries = [], tensors = [];
        List<(string Output, byte[] Tensor)> constants = [];
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
                if (Text(node, 4) == "Constant"
                    && Fields(node, 5, "bytes").SelectMany(attribute => Fields(attribute.Bytes, 5, "bytes")).ToArray() is [.., var last])
                {
                    constants.Add((Texts(node, 2).FirstOrDefault() ?? "", last.Bytes));
                }
            }
        }

        int count = 0;
        foreach ((_, _, byte[] graph) in Fields(bytes, 7, "bytes"))
        {
            foreach ((_, _, byte[] tensor) in Fields(graph, 5, "bytes"))
            {
                Bound(count++);
                Require(Numbers(tensor, 14).LastOrDefault() != 1, "weights in another file");
                Require(tensors.TryAdd(Text(tensor, 8), Tensor(tensor)), "two initializers of one name");
            }
        }

        foreach ((string output, byte[] constant) in constants)
        {
            Require(tensors.TryAdd(output, Tensor(constant)), "two initializers of one name");
        }

        Dictionary<string, long> inputs = [];
        List<string> outputs = [];
        foreach ((_, _, byte[] graph) in Fields(bytes, 7, "bytes"))
        {
            foreach ((_, _, byte[] value) in Fields(graph, 11, "bytes"))
            {
                Bound(inputs.Count);
                inputs[Text(value, 1)] = Fields(value, 2, "bytes").SelectMany(type => Fields(type.Bytes, 1, "bytes"))
                    .SelectMany(type => Numbers(type.Bytes, 1)).LastOrDefault();
            }
        }

        foreach ((_, _, byte[] graph) in Fields(bytes, 7, "bytes"))
        {
            foreach ((_, _, byte[] value) in Fields(graph, 12, "bytes"))
            {
                Bound(outputs.Count);
                outputs.Add(Text(value, 1));
            }
        }

        Require(nodes.Count > 0, "no graph");
        return [.. nodes, .. tensors.Where(tensor => tensor.Value.Length > 0).Select(tensor => $"{tensor.Key}: {tensor.Value}"),
            .. entries.Select(entry => $"{entry.Key} = {entry.Value}"), .. inputs.Select(input => $"{input.Key}: {input.Value}"),
            .. outputs];

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
            long type = Numbers(tensor, 2).LastOrDefault();
            long[] shape = Numbers(tensor, 1);
            Bound(shape.Length - 1);
            int size = type switch { 1 => 4, 11 => 8, 10 or 16 => 2, _ => 0 };
            float[] values = [];
            if (size > 0)
            {
                byte[][] listed = [.. type == 1 ? Reals(tensor, 4).Select(BitConverter.GetBytes)
                    : size == 2 ? Numbers(tensor, 5).Select(number => BitConverter.GetBytes((ushort)number))
                    : []];
                Require(raw.Length % size == 0 && (raw.Length == 0 || listed.Length == 0), "raw data");
                values = [.. (raw.Length > 0 ? raw.Chunk(size) : listed).Select(value => type switch
                {
                    1 => BinaryPrimitives.ReadSingleLittleEndian(value),
                    11 => (float)BinaryPrimitives.ReadDoubleLittleEndian(value),
                    10 => (float)BinaryPrimitives.ReadHalfLittleEndian(value),
                    _ => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(value) << 16),
                })];
            }

            return values.Length > 0 || shape.Contains(0) ? OnnxText.Tensor(shape, values) : "";
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
