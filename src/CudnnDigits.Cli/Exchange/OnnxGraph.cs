using System.Buffers.Binary;
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
        catch (Exception e) when (e is IOException or UnauthorizedAccessException && e is not InvalidProtocolBufferException)
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
            Each(new CodedInputStream(bytes), (tag, input) =>
            {
                switch (WireFormat.GetTagFieldNumber(tag))
                {
                    case Onnx.Model.Graph:
                        graph.ReadGraph(input.ReadBytes());
                        return true;
                    case Onnx.Model.MetadataProps:
                        graph.ReadMetadata(input.ReadBytes());
                        return true;
                    default:
                        return false;
                }
            });
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidOperationException or FormatException)
        {
            throw new InputException($"{name}: not an ONNX file, or damaged: {e.Message}", e);
        }

        return graph.Nodes.Count > 0 ? graph : throw new InputException($"{name}: not an ONNX file: it holds no graph");
    }

    private void ReadGraph(ByteString message) => Each(message.CreateCodedInput(), (tag, input) =>
    {
        switch (WireFormat.GetTagFieldNumber(tag))
        {
            case Onnx.Graph.Node:
                Nodes.Add(ReadNode(input.ReadBytes()));
                return true;
            case Onnx.Graph.Initializer:
                ReadTensor(input.ReadBytes());
                return true;
            default:
                return false;
        }
    });

    private void ReadMetadata(ByteString message)
    {
        string key = "", value = "";
        Each(message.CreateCodedInput(), (tag, input) =>
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case Onnx.Entry.Key:
                    key = input.ReadString();
                    return true;
                case Onnx.Entry.Value:
                    value = input.ReadString();
                    return true;
                default:
                    return false;
            }
        });
        Metadata[key] = value;
    }

    private static OnnxNode ReadNode(ByteString message)
    {
        OnnxNode node = new();
        Each(message.CreateCodedInput(), (tag, input) =>
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case Onnx.Node.Input:
                    node.Inputs.Add(input.ReadString());
                    return true;
                case Onnx.Node.Output:
                    node.Outputs.Add(input.ReadString());
                    return true;
                case Onnx.Node.OpType:
                    node.OpType = input.ReadString();
                    return true;
                case Onnx.Node.Attribute:
                    ReadAttribute(node, input.ReadBytes());
                    return true;
                default:
                    return false;
            }
        });
        return node;
    }

    private static void ReadAttribute(OnnxNode node, ByteString message)
    {
        string name = "";
        List<long> ints = [];
        float? real = null;
        Each(message.CreateCodedInput(), (tag, input) =>
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case Onnx.Attribute.Name:
                    name = input.ReadString();
                    return true;
                case Onnx.Attribute.Float:
                    real = input.ReadFloat();
                    return true;
                case Onnx.Attribute.Int:
                    ints.Add(input.ReadInt64());
                    return true;
                case Onnx.Attribute.Ints:
                    ReadInts(tag, input, ints);
                    return true;
                default:
                    return false;
            }
        });
        if (real is { } value)
        {
            node.Reals[name] = value;
        }

        if (ints.Count > 0)
        {
            node.Ints[name] = [.. ints];
        }
    }

    private void ReadTensor(ByteString message)
    {
        string name = "";
        long type = 0;
        List<long> shape = [];
        List<float> values = [];
        Each(message.CreateCodedInput(), (tag, input) =>
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case Onnx.Tensor.Dims:
                    ReadInts(tag, input, shape);
                    return true;
                case Onnx.Tensor.DataType:
                    type = input.ReadInt64();
                    return true;
                case Onnx.Tensor.Name:
                    name = input.ReadString();
                    return true;
                case Onnx.Tensor.RawData or Onnx.Tensor.FloatData when Packed(tag):
                    ReadOnlySpan<byte> bytes = input.ReadBytes().Span;
                    for (int i = 0; type is Onnx.Float or 0 && i + sizeof(float) <= bytes.Length; i += sizeof(float))
                    {
                        values.Add(BinaryPrimitives.ReadSingleLittleEndian(bytes[i..]));
                    }

                    return true;
                case Onnx.Tensor.FloatData:
                    values.Add(input.ReadFloat());
                    return true;
                default:
                    return false;
            }
        });
        if (type == Onnx.Float)
        {
            Initializers[name] = new OnnxTensor([.. shape], [.. values]);
        }
    }

    /// <summary>A repeated number may stand alone or packed with its like.</summary>
    private static void ReadInts(uint tag, CodedInputStream input, List<long> into)
    {
        if (!Packed(tag))
        {
            into.Add(input.ReadInt64());
            return;
        }

        CodedInputStream packed = input.ReadBytes().CreateCodedInput();
        while (!packed.IsAtEnd)
        {
            into.Add(packed.ReadInt64());
        }
    }

    private static bool Packed(uint tag) => WireFormat.GetTagWireType(tag) == WireFormat.WireType.LengthDelimited;

    /// <summary>Calls a reader for every field of a message; false from it passes the field over.</summary>
    private static void Each(CodedInputStream input, Func<uint, CodedInputStream, bool> read)
    {
        while (input.ReadTag() is var tag and not 0)
        {
            if (!read(tag, input))
            {
                input.SkipLastField();
            }
        }
    }
}
