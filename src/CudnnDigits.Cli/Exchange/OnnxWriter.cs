using CudnnDigits.Model;
using CudnnDigits.Runs;
using Google.Protobuf;

namespace CudnnDigits.Cli.Exchange;

/// <summary>
/// Writes a network and its weights as an ONNX model: "images" (N, 1, 28, 28) f32, pixel/255, in; "logits" (N, 10) f32 out; N is free.
/// Batch norm is folded into the convolutions before it, or written as separate nodes.
/// </summary>
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
            ["version"] = string.Create(CultureInfo.InvariantCulture, $"CudnnDigits {Checkpoint.Version}"),
        };
        entries.Remove("format"); // of the safetensors file
        OnnxWriter writer = new(weights, keepBatchNorm);
        return Message(model =>
        {
            model.Int(Onnx.Model.IrVersion, Onnx.IrVersion);
            model.Text(Onnx.Model.ProducerName, "CudnnDigits");
            model.Text(Onnx.Model.ProducerVersion, Checkpoint.Version);
            model.Nested(Onnx.Model.Graph, writer.WriteGraph);
            model.Nested(Onnx.Model.OpsetImport, opset => opset.Int(Onnx.OperatorSet.Version, Onnx.Opset));
            foreach ((string key, string value) in entries)
            {
                model.Nested(Onnx.Model.MetadataProps, entry =>
                {
                    entry.Text(Onnx.Entry.Key, key);
                    entry.Text(Onnx.Entry.Value, value);
                });
            }
        });
    }

    private void WriteGraph(Fields graph)
    {
        NetworkSpec network = _weights.Network;
        string x = "images";
        foreach (Layer layer in _layers)
        {
            string y = layer == _layers[^1] ? "logits" : layer.Name;
            graph.Nested(Onnx.Graph.Node, node => WriteNode(node, layer, x, y));
            x = y;
        }

        graph.Text(Onnx.Graph.Name, network.Name);
        foreach ((string name, IReadOnlyList<int> shape, float[] values) in Tensors())
        {
            graph.Nested(Onnx.Graph.Initializer, tensor => WriteTensor(tensor, name, shape, values));
        }

        graph.Nested(Onnx.Graph.Input, value => WriteValue(value, "images", network.Input.C, network.Input.H, network.Input.W));
        graph.Nested(Onnx.Graph.Output, value => WriteValue(value, "logits", network.Outputs[^1].C));
    }

    private void WriteNode(Fields node, Layer layer, string x, string y)
    {
        (string type, string[] parameters) = layer switch
        {
            Conv2dLayer conv => ("Conv", conv.Bias || !_keepBatchNorm ? [".weight", ".bias"] : [".weight"]),
            BatchNorm2dLayer => ("BatchNormalization", [".weight", ".bias", ".running_mean", ".running_var"]),
            ReLULayer => ("Relu", []),
            MaxPool2dLayer => ("MaxPool", []),
            FlattenLayer => ("Flatten", []),
            LinearLayer => ("Gemm", new[] { ".weight", ".bias" }),
            _ => throw new NotSupportedException(layer.Name),
        };
        node.Text(Onnx.Node.Input, x);
        foreach (string parameter in parameters)
        {
            node.Text(Onnx.Node.Input, layer.Name + parameter);
        }

        node.Text(Onnx.Node.Output, y);
        node.Text(Onnx.Node.Name, layer.Name);
        node.Text(Onnx.Node.OpType, type);
        switch (layer)
        {
            case Conv2dLayer conv:
                WriteInts(node, "kernel_shape", conv.Kernel, conv.Kernel);
                WriteInts(node, "pads", conv.Padding, conv.Padding, conv.Padding, conv.Padding);
                break;
            case BatchNorm2dLayer:
                WriteAttribute(node, "epsilon", Onnx.AttributeFloat, it => it.Real(Onnx.Attribute.Float, (float)BatchNorm2dLayer.Epsilon));
                break;
            case MaxPool2dLayer pool:
                WriteInts(node, "kernel_shape", pool.Window, pool.Window);
                WriteInts(node, "strides", pool.Window, pool.Window);
                break;
            case LinearLayer:
                WriteAttribute(node, "transB", Onnx.AttributeInt, it => it.Int(Onnx.Attribute.Int, 1));
                break;
        }
    }

    private IEnumerable<(string Name, IReadOnlyList<int> Shape, float[] Values)> Tensors()
    {
        NetworkSpec network = _weights.Network;
        IEnumerable<ParameterSlice> slices = network.Parameters.All;
        IEnumerable<(Layer Layer, Layer Next)> folded = _keepBatchNorm ? [] : network.Layers.Zip(network.Layers.Skip(1));
        Dictionary<Layer, BatchNorm2dLayer> norms =
            folded.Where(pair => pair.Next is BatchNorm2dLayer).ToDictionary(pair => pair.Layer, pair => (BatchNorm2dLayer)pair.Next);
        foreach (ParameterSlice slice in slices.Where(slice => _layers.Contains(slice.Layer)))
        {
            if (!norms.TryGetValue(slice.Layer, out BatchNorm2dLayer? norm))
            {
                yield return (slice.Name, slice.Shape, _weights.Slice(slice).ToArray());
                continue;
            }

            (float[] weight, float[] bias) = Fold(slice, norm);
            yield return (slice.Name, slice.Shape, weight);
            yield return ($"{slice.Layer.Name}.bias", [norm.Channels], bias);
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

    private static void WriteAttribute(Fields node, string name, int type, Action<Fields> write) =>
        node.Nested(Onnx.Node.Attribute, attribute =>
        {
            attribute.Text(Onnx.Attribute.Name, name);
            write(attribute);
            attribute.Int(Onnx.Attribute.Type, type);
        });

    private static void WriteInts(Fields node, string name, params int[] values) =>
        WriteAttribute(node, name, Onnx.AttributeInts, it => Array.ForEach(values, value => it.Int(Onnx.Attribute.Ints, value)));

    private static void WriteTensor(Fields tensor, string name, IReadOnlyList<int> shape, float[] values)
    {
        foreach (int dimension in shape)
        {
            tensor.Int(Onnx.Tensor.Dims, dimension);
        }

        tensor.Int(Onnx.Tensor.DataType, Onnx.Float);
        tensor.Text(Onnx.Tensor.Name, name);
        tensor.Bytes(Onnx.Tensor.RawData, MemoryMarshal.AsBytes<float>(values)); // little-endian, as every machine .NET runs on
    }

    private static void WriteValue(Fields value, string name, params int[] shape)
    {
        value.Text(Onnx.Value.Name, name);
        value.Nested(Onnx.Value.Type, type => type.Nested(Onnx.Value.TensorType, tensor =>
        {
            tensor.Int(Onnx.Value.ElementType, Onnx.Float);
            tensor.Nested(Onnx.Value.Shape, dimensions =>
            {
                dimensions.Nested(Onnx.Value.Dim, size => size.Text(Onnx.Value.DimParam, "N"));
                foreach (int dimension in shape)
                {
                    dimensions.Nested(Onnx.Value.Dim, size => size.Int(Onnx.Value.DimValue, dimension));
                }
            });
        }));
    }

    private static byte[] Message(Action<Fields> write)
    {
        using MemoryStream bytes = new();
        using (CodedOutputStream output = new(bytes))
        {
            write(new Fields(output));
        }

        return bytes.ToArray();
    }

    /// <summary>Writes the fields of one message.</summary>
    private sealed class Fields(CodedOutputStream output)
    {
        public void Int(int field, long value)
        {
            output.WriteTag(field, WireFormat.WireType.Varint);
            output.WriteInt64(value);
        }

        public void Real(int field, float value)
        {
            output.WriteTag(field, WireFormat.WireType.Fixed32);
            output.WriteFloat(value);
        }

        public void Text(int field, string value)
        {
            output.WriteTag(field, WireFormat.WireType.LengthDelimited);
            output.WriteString(value);
        }

        public void Bytes(int field, ReadOnlySpan<byte> value)
        {
            output.WriteTag(field, WireFormat.WireType.LengthDelimited);
            output.WriteBytes(ByteString.CopyFrom(value));
        }

        public void Nested(int field, Action<Fields> write) => Bytes(field, Message(write));
    }
}
