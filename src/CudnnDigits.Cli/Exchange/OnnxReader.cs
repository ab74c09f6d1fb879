using System.Diagnostics.CodeAnalysis;

namespace CudnnDigits.Cli.Exchange;

/// <summary>Reads weights from an ONNX file that holds a known network, written by <see cref="OnnxWriter"/> or another exporter.</summary>
internal sealed class OnnxReader
{
    private const string Otherwise = "if it is one of them, save its weights as safetensors (docs/weights.md)";

    private readonly OnnxGraph _graph;
    private readonly Dictionary<string, OnnxNode> _makers;
    private readonly OnnxNode[] _nodes;
    private readonly NetworkWeights _weights;
    private readonly string? _mismatch;
    private int _at;

    /// <summary>Reads the weights, or sets how the graph differs from the network.</summary>
    private OnnxReader(OnnxGraph graph, Dictionary<string, OnnxNode> makers, OnnxNode[] nodes, NetworkSpec network)
    {
        (_graph, _makers, _nodes, _weights) = (graph, makers, nodes, new NetworkWeights(network));
        try
        {
            ReadLayers();
        }
        catch (InvalidDataException e)
        {
            _mismatch = e.Message;
        }
    }

    /// <summary>Finds the weights of the given network or, if it is null, of any known one in a graph, and its metadata.</summary>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Find(
        string name, OnnxGraph graph, NetworkSpec? network)
    {
        Dictionary<string, OnnxNode> makers = [];
        graph.Nodes.ForEach(node => node.Outputs.ForEach(output => makers.TryAdd(output, node)));
        OnnxNode[] nodes = Line(graph, makers, out string input);
        bool isWhole = graph.Inputs.GetValueOrDefault(input) is not 0 and var type && !OnnxGraph.IsReal(type);
        if (isWhole || nodes is [{ OpType: "Sub" or "Div" or "Mul" or "Add" }, ..])
        {
            string what = isWhole ? "takes pixels as whole numbers" : $"changes its input first ({nodes[0].OpType})";
            throw new InputException(
                $"{name}: {what}, but here a network gets pixel/255 as it is; export it for that input, or train it on that");
        }

        NetworkSpec[] candidates = network is null ? [.. DigitNetworks.All] : [network];
        IEnumerable<OnnxReader> readers = candidates.Select(candidate => new OnnxReader(graph, makers, nodes, candidate));
        OnnxReader closest = readers.MaxBy(reader => reader._mismatch is null ? int.MaxValue : reader._at)!;
        if (closest._mismatch is not null)
        {
            string names = InputException.OneOf([.. candidates.Select(candidate => candidate.Name)]);
            throw new InputException($"{name}: holds no network {names}: {closest._mismatch}; {Otherwise}");
        }

        NetworkWeights weights = closest._weights;
        bool negative = weights.Network.Parameters.Statistics.Any(slice => slice.Name.EndsWith(".running_var", StringComparison.Ordinal)
            && weights.Slice(slice).ContainsAnyInRange(float.NegativeInfinity, -float.Epsilon));
        return weights.IsFinite && !negative
            ? (weights, graph.Metadata)
            : throw new InputException($"{name}: holds weights that are NaN or infinite, or a negative variance; they are unusable");
    }

    /// <summary>
    /// The nodes from an input to the first output, each of which takes what the one before gives, without those of no effect. Others
    /// compute shapes or further outputs.
    /// </summary>
    private static OnnxNode[] Line(OnnxGraph graph, Dictionary<string, OnnxNode> makers, out string input)
    {
        Stack<OnnxNode> line = [];
        input = graph.Outputs.FirstOrDefault() ?? graph.Nodes[^1].Outputs.FirstOrDefault("");
        while (line.Count <= makers.Count && makers.TryGetValue(input, out OnnxNode? node)) // a circle ends too
        {
            line.Push(node);
            input = node.Inputs.Find(from => !graph.Initializers.ContainsKey(from)) ?? "";
        }

        return [.. line.Where(node => !IsPassedOver(node))];
    }

    private void ReadLayers()
    {
        IReadOnlyList<Layer> layers = _weights.Network.Layers;
        _at = layers[0] is Conv2dLayer && (NextIs("Reshape") || NextIs("Unsqueeze")) ? 1 : 0; // of rows of 784 pixels, or of (N, 28, 28)
        for (int i = 0; i < layers.Count; i++)
        {
            switch (layers[i])
            {
                case Conv2dLayer conv:
                    OnnxNode node = Take(
                        "Conv", conv, ("kernel_shape", conv.Kernel, conv.Kernel), ("pads", conv.Padding, 0), ("strides", 1, 1),
                        ("dilations", 1, 1), ("group", 1, 1));
                    Copy(node, 1, conv, ".weight");
                    if (i + 1 < layers.Count && layers[i + 1] is BatchNorm2dLayer folded && !NextIs("BatchNormalization"))
                    {
                        Copy(node, 2, folded, ".bias");
                        _weights[$"{folded.Name}.weight"].Fill(1);
                        _weights[$"{folded.Name}.running_mean"].Clear();
                        _weights[$"{folded.Name}.running_var"].Fill((float)(1 - BatchNorm2dLayer.Epsilon));
                        i++;
                    }
                    else if (conv.Bias)
                    {
                        Copy(node, 2, conv, ".bias");
                    }
                    else
                    {
                        Require(node.Inputs.Count <= 2, $"{conv.Name} has a bias");
                    }

                    break;
                case BatchNorm2dLayer norm:
                    node = Take("BatchNormalization", norm, ("epsilon", BatchNorm2dLayer.Epsilon, 1e-5));
                    Copy(node, 1, norm, ".weight");
                    Copy(node, 2, norm, ".bias");
                    Copy(node, 3, norm, ".running_mean");
                    Copy(node, 4, norm, ".running_var");
                    break;
                case ReLULayer relu:
                    Take("Relu", relu);
                    break;
                case MaxPool2dLayer pool:
                    Take(
                        "MaxPool", pool, ("kernel_shape", pool.Window, pool.Window), ("strides", pool.Window, 1), ("pads", 0, 0),
                        ("ceil_mode", 0, 0), ("dilations", 1, 1));
                    break;
                case FlattenLayer when _at == 0 && (NextIs("Gemm") || NextIs("MatMul")): // rows of 784 pixels in
                    break;
                case FlattenLayer flatten:
                    Take(NextIs("Reshape") ? "Reshape" : "Flatten", flatten);
                    break;
                case LinearLayer linear when NextIs("MatMul"):
                    Copy(Take("MatMul", linear), 1, linear, ".weight", isTurned: true);
                    node = Take("Add", linear);
                    Copy(node, _graph.Initializers.ContainsKey(node.Inputs.FirstOrDefault("")) ? 0 : 1, linear, ".bias");
                    break;
                case LinearLayer linear:
                    node = Take("Gemm", linear, ("transA", 0, 0), ("alpha", 1, 1), ("beta", 1, 1));
                    Copy(node, 1, linear, ".weight", isTurned: node.Ints.GetValueOrDefault("transB") is not [1]);
                    Copy(node, 2, linear, ".bias");
                    break;
            }
        }

        while (NextIs("Softmax") || NextIs("LogSoftmax") || NextIs("ArgMax")) // they are computed from the logits anyway
        {
            _at++;
        }

        Require(_at == _nodes.Length, $"node {_at + 1} is one more {Clean(_nodes.ElementAtOrDefault(_at)?.OpType ?? "")}");
    }

    /// <summary>Whether a node has no effect in inference.</summary>
    private static bool IsPassedOver(OnnxNode node) => node.OpType is "Identity" or "Dropout"
        || (node.OpType == "Cast" && node.Ints.GetValueOrDefault("to") is [var type] && OnnxGraph.IsReal(type));

    private bool NextIs(string type) => _at < _nodes.Length && _nodes[_at].OpType == type;

    /// <summary>The next node, which must be of a type and have attributes of these values. One that is missing has its default.</summary>
    private OnnxNode Take(string type, Layer layer, params (string Name, double Value, double Default)[] attributes)
    {
        string found = _at < _nodes.Length ? $"node {_at + 1} is {Clean(_nodes[_at].OpType)}" : "it ends";
        Require(NextIs(type), $"{found} where {type} was expected");
        OnnxNode node = _nodes[_at];
        foreach ((string name, double value, double otherwise) in attributes)
        {
            double[] given = node.Ints.TryGetValue(name, out long[]? ints) ? [.. ints.Select(number => (double)number)]
                : [node.Reals.TryGetValue(name, out float real) ? real : otherwise];
            bool areEqual = Array.TrueForAll(given, number => Math.Abs(number - value) < 1e-9);
            Require(areEqual, $"{layer.Name} has {name} {string.Join(", ", given.Take(4).Select(Text))}, expected {Text(value)}");
        }

        _at++; // after the attributes, so that the network that fits farthest is the closest
        return node;
    }

    /// <summary>Copies the tensor that a node has as an input to a parameter of a layer.</summary>
    private void Copy(OnnxNode node, int input, Layer layer, string parameter, bool isTurned = false)
    {
        ParameterSlice slice = _weights.Network.Parameters[layer.Name + parameter];
        string expected = $"({string.Join(", ", slice.Shape)})", name = node.Inputs.ElementAtOrDefault(input) ?? "";
        string missing = _makers.TryGetValue(name, out OnnxNode? maker) ? $"is computed ({Clean(maker.OpType)})" : "is missing";
        OnnxTensor? tensor = Tensor(name, isTurned);
        Require(tensor is not null, $"{slice.Name} {expected} {missing}");
        Require(
            tensor.Shape.SequenceEqual(slice.Shape.Select(size => (long)size)) && tensor.Values.Length == slice.Size,
            $"{slice.Name} has shape ({string.Join(", ", tensor.Shape)}) and {tensor.Values.Length} values, expected {expected}");
        tensor.Values.CopyTo(_weights.Slice(slice));
    }

    /// <summary>A tensor, also through nodes that change its type only or turn it, as PyTorch's newer exporter does; else null.</summary>
    private OnnxTensor? Tensor(string name, bool isTurned)
    {
        OnnxTensor? tensor;
        for (int i = 0; !_graph.Initializers.TryGetValue(name, out tensor); i++)
        {
            bool isTurn = _makers.TryGetValue(name, out OnnxNode? maker) && maker.OpType == "Transpose"
                && maker.Ints.GetValueOrDefault("perm") is [1, 0];
            if (maker is null || i > _makers.Count || !(isTurn || IsPassedOver(maker)))
            {
                return null;
            }

            (name, isTurned) = (maker.Inputs.FirstOrDefault(""), isTurned ^ isTurn);
        }

        float[] values = tensor.Values;
        return !isTurned ? tensor
            : tensor.Shape is [var rows and > 0, var columns and > 0] && values.Length / rows == columns && values.Length % rows == 0
                ? new([columns, rows], [.. Enumerable.Range(0, values.Length).Select(i => values[i % rows * columns + i / rows])])
            : tensor with { Values = [] };
    }

    private static void Require([DoesNotReturnIf(false)] bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new InvalidDataException(otherwise);
        }
    }

    private static string Text(double number) => number.ToString("0.######", CultureInfo.InvariantCulture);

    private static string Clean(string text) => new([.. text.Take(40).Where(char.IsLetterOrDigit)]);
}
