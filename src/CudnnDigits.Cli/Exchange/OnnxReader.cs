using System.Diagnostics.CodeAnalysis;

namespace CudnnDigits.Cli.Exchange;

/// <summary>Reads weights from an ONNX file that holds a known network, written by <see cref="OnnxWriter"/> or another exporter.</summary>
internal sealed class OnnxReader
{
    private static readonly string[] PassedOver = ["Identity", "Dropout", "Constant"]; // without effect in inference

    private readonly OnnxGraph _graph;
    private readonly OnnxNode[] _nodes;
    private readonly NetworkWeights _weights;
    private readonly string? _mismatch;
    private int _at;

    /// <summary>Reads the weights, or sets how the graph differs from the network.</summary>
    private OnnxReader(OnnxGraph graph, NetworkSpec network)
    {
        _graph = graph;
        _nodes = [.. graph.Nodes.Where(node => !IsPassedOver(node))];
        _weights = new NetworkWeights(network);
        try
        {
            CheckGraph();
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
        NetworkSpec[] candidates = network is null ? [.. DigitNetworks.All] : [network];
        IEnumerable<OnnxReader> readers = candidates.Select(candidate => new OnnxReader(graph, candidate));
        OnnxReader closest = readers.MaxBy(reader => reader._mismatch is null ? int.MaxValue : reader._at)!;
        if (closest._mismatch is not null)
        {
            string names = InputException.OneOf([.. candidates.Select(candidate => candidate.Name)]);
            throw new InputException($"{name}: holds no network {names}: {closest._mismatch}");
        }

        NetworkWeights weights = closest._weights;
        bool negative = weights.Network.Parameters.Statistics.Any(slice => slice.Name.EndsWith(".running_var", StringComparison.Ordinal)
            && weights.Slice(slice).ContainsAnyInRange(float.NegativeInfinity, -float.Epsilon));
        return weights.IsFinite && !negative
            ? (weights, graph.Metadata)
            : throw new InputException($"{name}: holds weights that are NaN or infinite, or a negative variance; they are unusable");
    }

    private void CheckGraph()
    {
        bool isFloat = _graph.Initializers.Values.All(tensor => tensor.Shape.Length <= 1 || tensor.Values.Length > 0);
        Require(isFloat, "it holds weights that are not float32 (float16, say); export it in float32 (in PyTorch, after model.float())");
        OnnxNode? first = _graph.Nodes.FirstOrDefault(node => node.Outputs.Count > 0 && node.OpType != "Constant");
        Require(
            _nodes is not [{ OpType: "Cast" }, ..] && first is not { OpType: "Cast" },
            "it casts its input, so it takes pixels as whole numbers, and here it would get pixel/255; "
            + "divide by 255 before, and export it without the cast");

        // Each node takes the output of the one before.
        Dictionary<string, string> passed = [];
        string? last = null;
        foreach (OnnxNode node in _graph.Nodes.Where(node => node is { Inputs.Count: > 0, Outputs.Count: > 0 }))
        {
            string input = passed.GetValueOrDefault(node.Inputs[0], node.Inputs[0]);
            if (IsPassedOver(node))
            {
                passed[node.Outputs[0]] = input;
                continue;
            }

            Require(last is null || input == last, $"its {Clean(node.OpType)} nodes are not in one line");
            last = node.Outputs[0];
        }
    }

    private void ReadLayers()
    {
        IReadOnlyList<Layer> layers = _weights.Network.Layers;
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
                        break;
                    }

                    Copy(node, 2, conv, conv.Bias ? [".bias"] : []);
                    Require(conv.Bias || node.Inputs.Count <= 2, $"{conv.Name} has a bias");
                    break;
                case BatchNorm2dLayer norm:
                    node = Take("BatchNormalization", norm, ("epsilon", BatchNorm2dLayer.Epsilon, 1e-5));
                    Copy(node, 1, norm, ".weight", ".bias", ".running_mean", ".running_var");
                    break;
                case ReLULayer relu:
                    Take("Relu", relu);
                    break;
                case MaxPool2dLayer pool:
                    Take(
                        "MaxPool", pool, ("kernel_shape", pool.Window, pool.Window), ("strides", pool.Window, 1), ("pads", 0, 0),
                        ("ceil_mode", 0, 0), ("dilations", 1, 1));
                    break;
                case FlattenLayer flatten:
                    Take(NextIs("Reshape") ? "Reshape" : "Flatten", flatten);
                    break;
                case LinearLayer linear:
                    node = Take("Gemm", linear, ("transA", 0, 0), ("transB", 1, 0), ("alpha", 1, 1), ("beta", 1, 1));
                    Copy(node, 1, linear, ".weight", ".bias");
                    break;
            }
        }

        _at += NextIs("Softmax") || NextIs("LogSoftmax") ? 1 : 0; // probabilities are computed from the logits anyway
        Require(_at == _nodes.Length, $"node {_at + 1} is one more {_nodes.ElementAtOrDefault(_at)?.OpType}");
    }

    /// <summary>Whether a node has no effect.</summary>
    private static bool IsPassedOver(OnnxNode node) =>
        PassedOver.Contains(node.OpType) || (node.OpType == "Cast" && node.Ints.GetValueOrDefault("to") is [Onnx.Float]);

    private bool NextIs(string type) => _at < _nodes.Length && _nodes[_at].OpType == type;

    /// <summary>The next node, which must be of a type and have attributes of these values. One that is missing has its default.</summary>
    private OnnxNode Take(string type, Layer layer, params (string Name, double Value, double Default)[] attributes)
    {
        string found = _at < _nodes.Length ? $"node {_at + 1} is a {Clean(_nodes[_at].OpType)}" : "it ends";
        Require(NextIs(type), $"{found} where a {type} was expected");
        OnnxNode node = _nodes[_at++];
        foreach ((string name, double value, double otherwise) in attributes)
        {
            IEnumerable<double> given = node.Ints.TryGetValue(name, out long[]? ints) ? ints.Select(number => (double)number)
                : [node.Reals.TryGetValue(name, out float real) ? real : otherwise];
            Require(given.All(number => Math.Abs(number - value) < 1e-9), $"{layer.Name} has other attributes");
        }

        return node;
    }

    /// <summary>Copies initializers of a node, from one of its inputs on, to parameters of a layer.</summary>
    private void Copy(OnnxNode node, int input, Layer layer, params IEnumerable<string> parameters)
    {
        foreach (string parameter in parameters)
        {
            ParameterSlice slice = _weights.Network.Parameters[layer.Name + parameter];
            string expected = $"({string.Join(", ", slice.Shape)})";
            OnnxTensor? tensor = _graph.Initializers.GetValueOrDefault(node.Inputs.ElementAtOrDefault(input++) ?? "");
            Require(tensor is not null, $"{slice.Name} {expected} is missing");
            Require(
                tensor.Shape.SequenceEqual(slice.Shape.Select(size => (long)size)) && tensor.Values.Length == slice.Size,
                $"{slice.Name} has shape ({string.Join(", ", tensor.Shape)}) and {tensor.Values.Length} float32 values, "
                + $"expected {expected}");
            tensor.Values.CopyTo(_weights.Slice(slice));
        }
    }

    private static void Require([DoesNotReturnIf(false)] bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new InvalidDataException(otherwise);
        }
    }

    private static string Clean(string text) => new([.. text.Take(40).Where(char.IsLetterOrDigit)]);
}
