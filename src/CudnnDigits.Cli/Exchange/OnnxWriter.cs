using static CudnnDigits.Cli.Exchange.ProtoMessage;

namespace CudnnDigits.Cli.Exchange;

/// <summary>Writes an ONNX model: "images" (N, 1, 28, 28) f32, pixel/255, in; "logits" (N, 10) f32 out; N is free.</summary>
internal sealed class OnnxWriter
{
    private readonly NetworkWeights _weights;
    private readonly bool _keepBatchNorm;
    private readonly Layer[] _layers;

    private OnnxWriter(NetworkWeights weights, bool keepBatchNorm)
    {
        (_weights, _keepBatchNorm) = (weights, keepBatchNorm);
        _layers = [.. weights.Network.Layers.Where(layer => layer is not DropoutLayer && (keepBatchNorm || layer is not BatchNorm2dLayer))];
    }

    /// <summary>The model in the ONNX file format, with batch norm folded or as separate nodes, and further metadata.</summary>
    public static byte[] Write(NetworkWeights weights, bool keepBatchNorm, IEnumerable<KeyValuePair<string, string>>? metadata = null)
    {
        Dictionary<string, string> entries = new(metadata ?? [])
        {
            ["network"] = weights.Network.Name,
            ["input_scaling"] = "pixel/255",
            ["version"] = $"CudnnDigits {Checkpoint.Version}",
        };
        entries.Remove("format"); // of the safetensors file
        return
        [
            .. Int(Onnx.ModelIrVersion, Onnx.IrVersion),
            .. Text(Onnx.ModelProducerName, "CudnnDigits"), .. Text(Onnx.ModelProducerVersion, Checkpoint.Version),
            .. Content(Onnx.ModelGraph, new OnnxWriter(weights, keepBatchNorm).Graph()),
            .. Content(Onnx.ModelOpset, Int(Onnx.OpsetVersion, Onnx.Opset)),
            .. Join(entries.Select(entry =>
                Content(Onnx.ModelMetadata, [.. Text(Onnx.EntryKey, entry.Key), .. Text(Onnx.EntryValue, entry.Value)]))),
        ];
    }

    private byte[] Graph()
    {
        NetworkSpec network = _weights.Network;
        string[] names = ["images", .. _layers.SkipLast(1).Select(layer => layer.Name), "logits"];
        return
        [
            .. Join(_layers.Select((layer, i) => Content(Onnx.GraphNode, Node(layer, names[i], names[i + 1])))),
            .. Text(Onnx.GraphName, network.Name),
            .. Join(Tensors().Select(tensor => Content(Onnx.GraphInitializer, tensor))),
            .. Content(Onnx.GraphInput, Value("images", network.Input.C, network.Input.H, network.Input.W)),
            .. Content(Onnx.GraphOutput, Value("logits", network.Outputs[^1].C)),
        ];
    }

    private byte[] Node(Layer layer, string x, string y)
    {
        (string type, string[] parameters, byte[] attributes) = layer switch
        {
            Conv2dLayer conv => ("Conv", conv.Bias || !_keepBatchNorm ? [".weight", ".bias"] : [".weight"],
                [.. Ints("kernel_shape", 2, conv.Kernel), .. Ints("pads", 4, conv.Padding)]),
            BatchNorm2dLayer => ("BatchNormalization", [".weight", ".bias", ".running_mean", ".running_var"],
                Attribute("epsilon", Onnx.AttributeTypeFloat, Real(Onnx.AttributeFloat, (float)BatchNorm2dLayer.Epsilon))),
            ReLULayer => ("Relu", [], []),
            MaxPool2dLayer pool => ("MaxPool", [], [.. Ints("kernel_shape", 2, pool.Window), .. Ints("strides", 2, pool.Window)]),
            FlattenLayer => ("Flatten", [], []),
            LinearLayer => ("Gemm", new[] { ".weight", ".bias" }, Attribute("transB", Onnx.AttributeTypeInt, Int(Onnx.AttributeInt, 1))),
            _ => throw new NotSupportedException(layer.Name),
        };
        return
        [
            .. Text(Onnx.NodeInput, x),
            .. Join(parameters.Select(parameter => Text(Onnx.NodeInput, layer.Name + parameter))),
            .. Text(Onnx.NodeOutput, y), .. Text(Onnx.NodeName, layer.Name), .. Text(Onnx.NodeOpType, type), .. attributes,
        ];
    }

    private IEnumerable<byte[]> Tensors()
    {
        foreach (ParameterSlice slice in _weights.Network.Parameters.All.Where(slice => _layers.Contains(slice.Layer)))
        {
            Layer? next = _weights.Network.Layers.SkipWhile(layer => layer != slice.Layer).ElementAtOrDefault(1);
            if (_keepBatchNorm || next is not BatchNorm2dLayer norm)
            {
                yield return Tensor(slice.Name, slice.Shape, _weights.Slice(slice));
                continue;
            }

            (float[] weight, float[] bias) = Fold(slice, norm);
            yield return Tensor(slice.Name, slice.Shape, weight);
            yield return Tensor($"{slice.Layer.Name}.bias", [norm.Channels], bias);
        }
    }

    /// <summary>γ (w ∗ x − mean) / √(var + ε) + β as one convolution with a bias.</summary>
    private (float[] Weight, float[] Bias) Fold(ParameterSlice convolution, BatchNorm2dLayer norm)
    {
        Span<float> gamma = _weights[$"{norm.Name}.weight"], beta = _weights[$"{norm.Name}.bias"];
        Span<float> mean = _weights[$"{norm.Name}.running_mean"], variance = _weights[$"{norm.Name}.running_var"];
        float[] weight = _weights.Slice(convolution).ToArray(), bias = new float[norm.Channels];
        int each = weight.Length / norm.Channels;
        for (int k = 0; k < norm.Channels; k++)
        {
            double scale = gamma[k] / Math.Sqrt(variance[k] + BatchNorm2dLayer.Epsilon);
            for (int i = k * each; i < (k + 1) * each; i++)
            {
                weight[i] = (float)(weight[i] * scale);
            }

            bias[k] = (float)(beta[k] - mean[k] * scale);
        }

        return (weight, bias);
    }

    private static byte[] Attribute(string name, int type, byte[] value) =>
        Content(Onnx.NodeAttribute, [.. Text(Onnx.AttributeName, name), .. value, .. Int(Onnx.AttributeType, type)]);

    /// <summary>An attribute with the same number several times.</summary>
    private static byte[] Ints(string name, int count, int value) =>
        Attribute(name, Onnx.AttributeTypeInts, Join(Enumerable.Repeat(Int(Onnx.AttributeInts, value), count)));

    private static byte[] Tensor(string name, IReadOnlyList<int> shape, ReadOnlySpan<float> values) =>
    [
        .. Join(shape.Select(dimension => Int(Onnx.TensorDims, dimension))),
        .. Int(Onnx.TensorDataType, Onnx.Float), .. Text(Onnx.TensorName, name),
        .. Content(Onnx.TensorRawData, MemoryMarshal.AsBytes(values)), // little-endian, as every machine .NET runs on
    ];

    /// <summary>An input or output with any number N of rows of a shape.</summary>
    private static byte[] Value(string name, params int[] shape)
    {
        IEnumerable<byte[]> sizes = shape.Select(size => Int(Onnx.DimValue, size)).Prepend(Text(Onnx.DimParam, "N"));
        byte[] dimensions = Join(sizes.Select(size => Content(Onnx.ShapeDim, size)));
        byte[] tensor = [.. Int(Onnx.TypeElement, Onnx.Float), .. Content(Onnx.TypeShape, dimensions)];
        return [.. Text(Onnx.ValueName, name), .. Content(Onnx.ValueType, Content(Onnx.TypeTensor, tensor))];
    }

    private static byte[] Join(IEnumerable<byte[]> fields) => [.. fields.SelectMany(field => field)];
}
