using System.Runtime.InteropServices;
using CudnnDigits.Model;
using Google.Protobuf;

namespace CudnnDigits.Benchmarks;

/// <summary>A network and its weights as an ONNX model: "images" (N, 1, 28, 28) f32 in, "logits" (N, 10) f32 out.</summary>
internal static class OnnxModel
{
    private const int IrVersion = 8, Opset = 17, Float = 1;

    // AttributeProto.AttributeType
    private const int AttributeFloat = 1, AttributeInt = 2, AttributeInts = 7;

    /// <summary>The model in the ONNX file format; field numbers are those of onnx.proto.</summary>
    public static byte[] Write(NetworkWeights weights)
    {
        NetworkSpec network = weights.Network;
        return Message(model =>
        {
            model.Int(1, IrVersion);
            model.Text(2, "CudnnDigits");
            model.Nested(7, graph =>
            {
                string x = "images";
                for (int i = 0; i < network.Layers.Count; i++)
                {
                    string y = i == network.Layers.Count - 1 ? "logits" : network.Layers[i].Name;
                    graph.Nested(1, node => WriteNode(node, network.Layers[i], x, y));
                    x = y;
                }

                graph.Text(2, network.Name);
                foreach (ParameterSlice slice in network.Parameters.Trained.Concat(network.Parameters.Statistics))
                {
                    graph.Nested(5, tensor => WriteTensor(tensor, slice, weights));
                }

                graph.Nested(11, value => WriteValue(value, "images", network.Input.C, network.Input.H, network.Input.W));
                graph.Nested(12, value => WriteValue(value, "logits", network.Outputs[^1].C));
            });
            model.Nested(8, opset => opset.Int(2, Opset));
        });
    }

    private static void WriteNode(Fields node, Layer layer, string x, string y)
    {
        (string type, string[] parameters) = layer switch
        {
            Conv2dLayer { Bias: true } => ("Conv", [".weight", ".bias"]),
            Conv2dLayer => ("Conv", [".weight"]),
            BatchNorm2dLayer => ("BatchNormalization", [".weight", ".bias", ".running_mean", ".running_var"]),
            ReLULayer => ("Relu", []),
            MaxPool2dLayer => ("MaxPool", []),
            DropoutLayer => ("Identity", []),
            FlattenLayer => ("Flatten", []),
            LinearLayer => ("Gemm", new[] { ".weight", ".bias" }),
            _ => throw new NotSupportedException(layer.Name),
        };
        node.Text(1, x);
        foreach (string parameter in parameters)
        {
            node.Text(1, layer.Name + parameter);
        }

        node.Text(2, y);
        node.Text(3, layer.Name);
        node.Text(4, type);
        switch (layer)
        {
            case Conv2dLayer conv:
                node.Nested(5, attribute => WriteInts(attribute, "pads", conv.Padding, conv.Padding, conv.Padding, conv.Padding));
                break;
            case BatchNorm2dLayer:
                node.Nested(5, attribute =>
                {
                    attribute.Text(1, "epsilon");
                    attribute.Real(2, (float)BatchNorm2dLayer.Epsilon);
                    attribute.Int(20, AttributeFloat);
                });
                break;
            case MaxPool2dLayer pool:
                node.Nested(5, attribute => WriteInts(attribute, "kernel_shape", pool.Window, pool.Window));
                node.Nested(5, attribute => WriteInts(attribute, "strides", pool.Window, pool.Window));
                break;
            case LinearLayer:
                node.Nested(5, attribute =>
                {
                    attribute.Text(1, "transB");
                    attribute.Int(3, 1);
                    attribute.Int(20, AttributeInt);
                });
                break;
        }
    }

    private static void WriteInts(Fields attribute, string name, params ReadOnlySpan<int> values)
    {
        attribute.Text(1, name);
        foreach (int value in values)
        {
            attribute.Int(8, value);
        }

        attribute.Int(20, AttributeInts);
    }

    private static void WriteTensor(Fields tensor, ParameterSlice slice, NetworkWeights weights)
    {
        foreach (int dimension in slice.Shape)
        {
            tensor.Int(1, dimension);
        }

        tensor.Int(2, Float);
        tensor.Text(8, slice.Name);
        tensor.Bytes(9, MemoryMarshal.AsBytes(weights.Slice(slice)));
    }

    private static void WriteValue(Fields value, string name, params int[] dimensions)
    {
        value.Text(1, name);
        value.Nested(2, type => type.Nested(1, tensor =>
        {
            tensor.Int(1, Float);
            tensor.Nested(2, shape =>
            {
                shape.Nested(1, batch => batch.Text(2, "N"));
                foreach (int dimension in dimensions)
                {
                    shape.Nested(1, size => size.Int(1, dimension));
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
