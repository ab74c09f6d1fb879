namespace CudnnDigits.Cli.Exchange;

/// <summary>The parts of a node that the reader needs.</summary>
internal sealed class OnnxNode
{
    public string OpType { get; set; } = "";

    public List<string> Inputs { get; init; } = [];

    public List<string> Outputs { get; init; } = [];

    /// <summary>Integer attributes by name.</summary>
    public Dictionary<string, long[]> Ints { get; } = [];

    /// <summary>Floating-point attributes by name.</summary>
    public Dictionary<string, float> Reals { get; } = [];
}

/// <summary>A tensor. Only tensors of type float32 have values here.</summary>
internal sealed record OnnxTensor(long[] Shape, float[] Values);

/// <summary>The parts of an ONNX file that the reader needs.</summary>
internal sealed record OnnxGraph(List<OnnxNode> Nodes, Dictionary<string, OnnxTensor> Initializers, Dictionary<string, string> Metadata)
{
    /// <summary>The most nodes, initializers, inputs of a node and so on. A digit network has a few dozen.</summary>
    private const int Most = 512;

    /// <summary>The most bytes of a file. A digit network's has a few million.</summary>
    private const int MostBytes = 64 << 20;

    public static OnnxGraph Read(InputFile file) => Parse(file.Path, file.ReadAll(MostBytes, "weights, a .safetensors or .onnx file"));

    public static OnnxGraph Parse(string name, byte[] bytes)
    {
        OnnxGraph graph = new([], [], []);
        try
        {
            ProtoMessage model = new(bytes);
            foreach (ProtoMessage entry in Bounded(model.Messages(Onnx.ModelMetadata), "metadata entries"))
            {
                graph.Metadata[entry.Text(Onnx.EntryKey)] = entry.Text(Onnx.EntryValue);
            }

            IEnumerable<ProtoMessage> InGraph(int field) => model.Messages(Onnx.ModelGraph).SelectMany(content => content.Messages(field));
            graph.Nodes.AddRange(Bounded(InGraph(Onnx.GraphNode), "nodes").Select(ReadNode));
            foreach (ProtoMessage tensor in Bounded(InGraph(Onnx.GraphInitializer), "initializers"))
            {
                if (tensor.Integers(Onnx.TensorLocation).LastOrDefault() == Onnx.External)
                {
                    throw new InputException($"{name}: keeps its weights in a file beside it; "
                        + "export it as one file (torch.onnx.export(…, external_data=False))");
                }

                if (!graph.Initializers.TryAdd(tensor.Text(Onnx.TensorName), ReadTensor(tensor)) && IsFloat(tensor))
                {
                    throw new InvalidDataException("it holds two initializers of one name");
                }
            }
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{name}: not an ONNX file, or damaged: {e.Message}", e);
        }

        return graph.Nodes.Count > 0 ? graph : throw new InputException($"{name}: not an ONNX file: it holds no graph");
    }

    private static OnnxTensor ReadTensor(ProtoMessage tensor)
    {
        long[] shape = [.. Bounded(tensor.Integers(Onnx.TensorDims), "dimensions")];
        if (!IsFloat(tensor))
        {
            return new OnnxTensor(shape, []);
        }

        ReadOnlySpan<byte> raw = tensor.Bytes(Onnx.TensorRawData).Span; // little-endian, as every machine .NET runs on
        return raw.IsEmpty ? new OnnxTensor(shape, [.. tensor.Reals(Onnx.TensorFloats)])
            : raw.Length % sizeof(float) == 0 && !tensor.Reals(Onnx.TensorFloats).Any()
                ? new OnnxTensor(shape, MemoryMarshal.Cast<byte, float>(raw).ToArray())
            : throw new InvalidDataException("an initializer is not made of whole float32 values");
    }

    private static bool IsFloat(ProtoMessage tensor) => tensor.Integers(Onnx.TensorDataType).LastOrDefault() == Onnx.Float;

    private static OnnxNode ReadNode(ProtoMessage message)
    {
        OnnxNode node = new() { OpType = message.Text(Onnx.NodeOpType) };
        node.Inputs.AddRange(Bounded(message.Texts(Onnx.NodeInput), "inputs"));
        node.Outputs.AddRange(Bounded(message.Texts(Onnx.NodeOutput), "outputs"));
        foreach (ProtoMessage attribute in Bounded(message.Messages(Onnx.NodeAttribute), "attributes"))
        {
            string name = attribute.Text(Onnx.AttributeName);
            foreach (float real in attribute.Reals(Onnx.AttributeFloat))
            {
                node.Reals[name] = real;
            }

            IEnumerable<long> numbers = attribute.Integers(Onnx.AttributeInt).Concat(attribute.Integers(Onnx.AttributeInts));
            long[] integers = [.. Bounded(numbers, "numbers")];
            if (integers.Length > 0)
            {
                node.Ints[name] = integers;
            }
        }

        return node;
    }

    private static IEnumerable<T> Bounded<T>(IEnumerable<T> items, string what)
    {
        int count = 0;
        foreach (T item in items)
        {
            yield return ++count <= Most ? item
                : throw new InvalidDataException($"it holds more than {Most} {what}, which no digit network does");
        }
    }
}
