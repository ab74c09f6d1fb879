using System.Buffers.Binary;

namespace CudnnDigits.Tests.Reference;

/// <summary>A tensor as some other program saves it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">F64, F32, F16, BF16 or I64.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Values">Its values.</param>
internal sealed record ForeignTensor(string Name, string Type, int[] Shape, double[] Values);

/// <summary>Safetensors files as other programs write them, without metadata: made for tests.</summary>
internal static class SafeTensorsFiles
{
    /// <summary>All tensors of a network, with its counters, under PyTorch's names.</summary>
    public static List<ForeignTensor> Of(NetworkWeights weights, string type = "F32") =>
    [
        .. weights.Network.Parameters.Trained.Concat(weights.Network.Parameters.Statistics)
            .Select(slice => new ForeignTensor(slice.Name, type, [.. slice.Shape],
                [.. weights.Slice(slice).ToArray().Select(value => (double)value)])),
        .. weights.Network.Layers.OfType<BatchNorm2dLayer>()
            .Select(norm => new ForeignTensor($"{norm.Name}.num_batches_tracked", "I64", [], [5])),
    ];

    public static byte[] Bytes(IEnumerable<ForeignTensor> tensors)
    {
        List<byte> data = [];
        StringBuilder header = new("{");
        foreach (ForeignTensor tensor in tensors)
        {
            byte[] bytes = [.. tensor.Values.SelectMany(value => Encode(value, tensor.Type))];
            string shape = string.Join(',', tensor.Shape), offsets = $"{data.Count},{data.Count + bytes.Length}";
            header.Append(header.Length > 1 ? "," : "").Append(
                $"\"{tensor.Name}\":{{\"dtype\":\"{tensor.Type}\",\"shape\":[{shape}],\"data_offsets\":[{offsets}]}}");
            data.AddRange(bytes);
        }

        byte[] json = Encoding.UTF8.GetBytes($"{header}}}");
        return [.. BitConverter.GetBytes((long)json.Length), .. json, .. data];
    }

    private static byte[] Encode(double value, string type)
    {
        byte[] bytes = new byte[8];
        switch (type)
        {
            case "F64": BinaryPrimitives.WriteDoubleLittleEndian(bytes, value); return bytes;
            case "F32": BinaryPrimitives.WriteSingleLittleEndian(bytes, (float)value); return bytes[..4];
            case "F16": BinaryPrimitives.WriteHalfLittleEndian(bytes, (Half)value); return bytes[..2];
            case "BF16": BinaryPrimitives.WriteSingleLittleEndian(bytes, (float)value); return bytes[2..4]; // cut off, not rounded
            case "I64": BinaryPrimitives.WriteInt64LittleEndian(bytes, (long)value); return bytes;
            default: throw new ArgumentException(type);
        }
    }
}
