namespace CudnnDigits.Cli.Exchange;

/// <summary>The parts of a node that the reader needs.</summary>
internal sealed class OnnxNode
{
    public string OpType { get; set; } = "";

    /// <summary>The tensor that a node of type Constant gives.</summary>
    public OnnxTensor? Constant { get; init; }

    public List<string> Inputs { get; init; } = [];

    public List<string> Outputs { get; init; } = [];

    /// <summary>Integer attributes by name.</summary>
    public Dictionary<string, long[]> Ints { get; } = [];

    /// <summary>Floating-point attributes by name.</summary>
    public Dictionary<string, float> Reals { get; } = [];
}

/// <summary>A tensor. Only tensors of floating-point types have values here, rounded to float32.</summary>
internal sealed record OnnxTensor(long[] Shape, float[] Values);

/// <summary>The parts of an ONNX file that the reader needs: inputs with their element types; initializers, also constants.</summary>
internal sealed record OnnxGraph(
    List<OnnxNode> Nodes, Dictionary<string, OnnxTensor> Initializers, Dictionary<string, string> Metadata,
    Dictionary<string, long> Inputs, List<string> Outputs)
{
    /// <summary>The most nodes, initializers, inputs of a node and so on. A digit network has a few dozen.</summary>
    private const int Most = 512;

    /// <summary>The most bytes of a file. A digit network's has a few million.</summary>
    private const int MostBytes = 64 << 20;

    /// <summary>The floating-point types, as safetensors names them, and their bytes.</summary>
    private static readonly Dictionary<long, (string Name, int Bytes)> RealTypes = new()
    {
        [Onnx.Float] = ("F32", 4),
        [Onnx.Double] = ("F64", 8),
        [Onnx.Half] = ("F16", 2),
        [Onnx.BFloat16] = ("BF16", 2),
    };

    public static bool IsReal(long type) => RealTypes.ContainsKey(type);

    public static OnnxGraph Read(InputFile file) => Parse(file.Path, file.ReadAll(MostBytes, "weights, a .safetensors or .onnx file"));

    public static OnnxGraph Parse(string name, byte[] bytes)
    {
        OnnxGraph graph = new([], [], [], [], []);
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
                    throw new InputException($"{name}: keeps its weights in a file beside it; make it one file, in Python: "
                        + "onnx.save(onnx.load(\"model.onnx\"), \"one.onnx\")");
                }

                graph.Add(tensor.Text(Onnx.TensorName), ReadTensor(tensor));
            }

            foreach (OnnxNode node in graph.Nodes.Where(node => node.Constant is not null))
            {
                graph.Add(node.Outputs.FirstOrDefault(""), node.Constant!);
            }

            foreach (ProtoMessage input in Bounded(InGraph(Onnx.GraphInput), "inputs"))
            {
                graph.Inputs[input.Text(Onnx.ValueName)] = input.Messages(Onnx.ValueType)
                    .SelectMany(type => type.Messages(Onnx.TypeTensor)).SelectMany(type => type.Integers(Onnx.TypeElement)).LastOrDefault();
            }

            graph.Outputs.AddRange(Bounded(InGraph(Onnx.GraphOutput), "outputs").Select(output => output.Text(Onnx.ValueName)));
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{name}: not an ONNX file, or damaged: {e.Message}", e);
        }

        return graph.Nodes.Count > 0 ? graph : throw new InputException($"{name}: not an ONNX file: it holds no graph");
    }

    private void Add(string name, OnnxTensor tensor)
    {
        if (!Initializers.TryAdd(name, tensor))
        {
            throw new InvalidDataException("it holds two initializers of one name");
        }
    }

    private static OnnxTensor ReadTensor(ProtoMessage tensor)
    {
        long[] shape = [.. Bounded(tensor.Integers(Onnx.TensorDims), "dimensions")];
        if (!RealTypes.TryGetValue(tensor.Integers(Onnx.TensorDataType).LastOrDefault(), out (string Name, int Bytes) type))
        {
            return new OnnxTensor(shape, []);
        }

        ReadOnlySpan<byte> raw = tensor.Bytes(Onnx.TensorRawData).Span; // little-endian, as every machine .NET runs on
        ReadOnlySpan<byte> listed = type.Bytes == 2
            ? MemoryMarshal.AsBytes<ushort>([.. tensor.Integers(Onnx.TensorIntegers).Select(bits => (ushort)bits)])
            : type.Bytes == 4 ? MemoryMarshal.AsBytes<float>([.. tensor.Reals(Onnx.TensorFloats)]) : [];
        return raw.Length % type.Bytes == 0 && (raw.IsEmpty || listed.IsEmpty)
            ? new OnnxTensor(shape, SafeTensors.Floats(type.Name, raw.IsEmpty ? listed : raw)!)
            : throw new InvalidDataException("an initializer is not made of whole values");
    }

    private static OnnxNode ReadNode(ProtoMessage message)
    {
        string type = message.Text(Onnx.NodeOpType);
        IEnumerable<ProtoMessage> attributes = Bounded(message.Messages(Onnx.NodeAttribute), "attributes");
        ProtoMessage? constant =
            attributes.SelectMany(attribute => attribute.Messages(Onnx.AttributeTensor)).Cast<ProtoMessage?>().LastOrDefault();
        OnnxNode node = new() { OpType = type, Constant = type == "Constant" && constant is { } tensor ? ReadTensor(tensor) : null };
        node.Inputs.AddRange(Bounded(message.Texts(Onnx.NodeInput), "inputs"));
        node.Outputs.AddRange(Bounded(message.Texts(Onnx.NodeOutput), "outputs"));
        foreach (ProtoMessage attribute in attributes)
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
