using CudnnDigits.Data;
using Google.Protobuf;

namespace CudnnDigits.Cli.Exchange;

/// <summary>A node, as far as our networks' are told apart by it.</summary>
internal sealed class OnnxNode
{
    public string OpType { get; set; } = "";

    public List<string> Inputs { get; } = [];

    public List<string> Outputs { get; } = [];

    /// <summary>Attributes that are integers, by name.</summary>
    public Dictionary<string, long[]> Ints { get; } = [];

    /// <summary>Attributes that are real numbers, by name.</summary>
    public Dictionary<string, float> Reals { get; } = [];
}

/// <summary>A tensor of float32.</summary>
internal sealed record OnnxTensor(long[] Shape, float[] Values);

/// <summary>What an ONNX file holds: nodes in order, initializers, metadata. Fields that nobody asks for are passed over.</summary>
internal sealed class OnnxGraph
{
    private const long MostBytes = 256 << 20;

    private OnnxGraph()
    {
    }

    public List<OnnxNode> Nodes { get; } = [];

    public Dictionary<string, OnnxTensor> Initializers { get; } = [];

    public Dictionary<string, string> Metadata { get; } = [];

    /// <summary>Reads a file.</summary>
    /// <exception cref="InputException">Not there, not readable, or not in the format.</exception>
    public static OnnxGraph Read(string path)
    {
        try
        {
            FileInfo file = new(path);
            if (!file.Exists)
            {
                throw new InputException($"{path}: no such file; give weights, a .safetensors or .onnx file");
            }

            return file.Length <= MostBytes
                ? Parse(path, File.ReadAllBytes(path))
                : throw new InputException($"{path}: {file.Length} bytes are too many for a digit network");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the bytes of a file.</summary>
    /// <param name="name">Where they come from, for messages.</param>
    /// <param name="bytes">The bytes.</param>
    /// <exception cref="InputException">Not in the format.</exception>
    public static OnnxGraph Parse(string name, byte[] bytes)
    {
        OnnxGraph graph = new();
        try
        {
            ProtoMessage model = new(ByteString.CopyFrom(bytes));
            foreach (ProtoMessage entry in model.Messages(Onnx.Model.MetadataProps))
            {
                graph.Metadata[entry.Text(Onnx.Entry.Key)] = entry.Text(Onnx.Entry.Value);
            }

            foreach (ProtoMessage content in model.Messages(Onnx.Model.Graph))
            {
                graph.Nodes.AddRange(content.Messages(Onnx.Graph.Node).Select(ReadNode));
                foreach (ProtoMessage tensor in content.Messages(Onnx.Graph.Initializer).Where(tensor => tensor.Integers(Onnx.Tensor.DataType) is [.., Onnx.Float]))
                {
                    graph.Initializers[tensor.Text(Onnx.Tensor.Name)] =
                        new OnnxTensor(tensor.Integers(Onnx.Tensor.Dims), [.. tensor.Reals(Onnx.Tensor.RawData), .. tensor.Reals(Onnx.Tensor.FloatData)]);
                }
            }
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidOperationException)
        {
            throw new InputException($"{name}: not an ONNX file, or damaged: {e.Message}", e);
        }

        return graph.Nodes.Count > 0 ? graph : throw new InputException($"{name}: not an ONNX file: it holds no graph");
    }

    private static OnnxNode ReadNode(ProtoMessage message)
    {
        OnnxNode node = new() { OpType = message.Text(Onnx.Node.OpType) };
        node.Inputs.AddRange(message.Texts(Onnx.Node.Input));
        node.Outputs.AddRange(message.Texts(Onnx.Node.Output));
        foreach (ProtoMessage attribute in message.Messages(Onnx.Node.Attribute))
        {
            string name = attribute.Text(Onnx.Attribute.Name);
            if (attribute.Reals(Onnx.Attribute.Float) is [.., float real])
            {
                node.Reals[name] = real;
            }

            if (attribute.Integers(Onnx.Attribute.Int).Concat(attribute.Integers(Onnx.Attribute.Ints)).ToArray() is { Length: > 0 } integers)
            {
                node.Ints[name] = integers;
            }
        }

        return node;
    }
}
