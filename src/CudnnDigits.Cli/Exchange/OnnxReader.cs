using CudnnDigits.Files;
using CudnnDigits.Model;

namespace CudnnDigits.Cli.Exchange;

/// <summary>
/// Reads weights from an ONNX file that holds a known network, written by <see cref="OnnxWriter"/> or another exporter. If batch norm was
/// folded into the convolutions, the result has a batch norm that only adds the bias.
/// </summary>
internal sealed class OnnxReader
{
    private static readonly string[] PassedOver = ["Identity", "Dropout", "Constant"]; // without effect in inference

    private readonly OnnxGraph _graph;
    private readonly OnnxNode[] _nodes;
    private readonly NetworkWeights _weights;
    private int _at;

    private OnnxReader(OnnxGraph graph, NetworkSpec network)
    {
        _graph = graph;
        _nodes = [.. graph.Nodes.Where(node => !IsPassedOver(node))];
        _weights = new NetworkWeights(network);
    }

    /// <summary>Reads the weights and metadata of a file that holds the given network or, if it is null, any known one.</summary>
    /// <exception cref="InputException">The file is not ONNX, or does not hold a known network.</exception>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Load(
        InputFile file, NetworkSpec? network = null) => Find(file.Path, OnnxGraph.Read(file), network);

    /// <summary>Finds the weights of the given network or, if it is null, of any known one in a graph.</summary>
    /// <exception cref="InputException">The graph is not a known network.</exception>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Find(
        string name, OnnxGraph graph, NetworkSpec? network)
    {
        NetworkSpec[] candidates = network is null ? [.. DigitNetworks.All] : [network];
        OnnxReader[] readers = [.. candidates.Select(candidate => new OnnxReader(graph, candidate))];
        string?[] mismatches = [.. readers.Select(reader => reader.Match())];
        int found = Array.IndexOf(mismatches, null);
        if (found < 0)
        {
            int closest = Array.IndexOf(readers, readers.MaxBy(reader => reader._at));
            string names = string.Join(" or ", candidates.Select(candidate => candidate.Name));
            throw new InputException($"{name}: holds no network {names}: {mismatches[closest]}");
        }

        NetworkWeights weights = readers[found]._weights;
        bool negative = weights.Network.Parameters.Statistics.Any(slice => slice.Name.EndsWith(".running_var", StringComparison.Ordinal)
            && weights.Slice(slice).ContainsAnyInRange(float.NegativeInfinity, -float.Epsilon));
        return weights.IsFinite && !negative
            ? (weights, graph.Metadata)
            : throw new InputException($"{name}: holds weights that are NaN or infinite, or a negative variance; they are unusable");
    }

    /// <summary>Matches the nodes with the network's layers in order. Returns the first mismatch, or null.</summary>
    private string? Match()
    {
        if (_graph.Initializers.Values.Any(tensor => tensor.Shape.Length > 1 && tensor.Values.Length == 0))
        {
            return "it holds weights that are not float32 (float16, say); export it in float32 (in PyTorch, after model.float())";
        }

        OnnxNode? first = _graph.Nodes.FirstOrDefault(node => node.Outputs.Count > 0 && node.OpType != "Constant");
        if (_nodes is [{ OpType: "Cast" }, ..] || first is { OpType: "Cast" })
        {
            return "it casts its input, so it takes pixels as whole numbers, and here it would get pixel/255; "
                + "divide by 255 before, and export it without the cast";
        }

        if (Disconnected() is { } where)
        {
            return where;
        }

        IReadOnlyList<Layer> layers = _weights.Network.Layers;
        for (int i = 0; i < layers.Count; i++)
        {
            bool folds = i + 1 < layers.Count && layers[i + 1] is BatchNorm2dLayer && !NextIs(1, "BatchNormalization");
            string? mismatch = layers[i] switch
            {
                Conv2dLayer conv => MatchConvolution(conv, folds ? (BatchNorm2dLayer)layers[i + 1] : null),
                BatchNorm2dLayer norm => MatchBatchNorm(norm),
                ReLULayer => Take("Relu") is null ? Expected("Relu") : null,
                MaxPool2dLayer pool => MatchPool(pool),
                FlattenLayer => Take("Flatten") is null && Take("Reshape") is null ? Expected("Flatten") : null,
                LinearLayer linear => MatchLinear(linear),
                _ => null,
            };
            if (mismatch is not null)
            {
                return mismatch;
            }

            i += folds ? 1 : 0;
        }

        _ = Take("Softmax") ?? Take("LogSoftmax"); // probabilities are computed from the logits anyway
        return _at == _nodes.Length ? null : $"node {_at + 1} is one more {_nodes[_at].OpType}";
    }

    /// <summary>Whether a node has no effect.</summary>
    private static bool IsPassedOver(OnnxNode node) =>
        PassedOver.Contains(node.OpType) || (node.OpType == "Cast" && node.Ints.GetValueOrDefault("to") is [Onnx.Float]);

    /// <summary>Checks that each node takes the output of the one before. Returns the mismatch, or null.</summary>
    private string? Disconnected()
    {
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

            if (last is not null && input != last)
            {
                return $"its {Clean(node.OpType)} nodes are not in one line";
            }

            last = node.Outputs[0];
        }

        return null;
    }

    private string? MatchConvolution(Conv2dLayer conv, BatchNorm2dLayer? folded)
    {
        if (Take("Conv") is not { } node)
        {
            return Expected("Conv");
        }

        bool fits = Is(node, "kernel_shape", conv.Kernel) && Is(node, "pads", conv.Padding, otherwise: 0)
            && Is(node, "strides", 1, otherwise: 1) && Is(node, "dilations", 1, otherwise: 1) && Is(node, "group", 1, otherwise: 1);
        return !fits ? $"{conv.Name} has other attributes" : Copy(node, 1, $"{conv.Name}.weight")
            ?? (folded is not null ? Copy(node, 2, $"{folded.Name}.bias") ?? Unfold(folded)
                : conv.Bias ? Copy(node, 2, $"{conv.Name}.bias")
                : node.Inputs.Count > 2 ? $"{conv.Name} has a bias" : null);
    }

    /// <summary>Sets a batch norm that only adds its bias: γ 1, mean 0, variance 1 − ε.</summary>
    private string? Unfold(BatchNorm2dLayer norm)
    {
        _weights[$"{norm.Name}.weight"].Fill(1);
        _weights[$"{norm.Name}.running_mean"].Clear();
        _weights[$"{norm.Name}.running_var"].Fill((float)(1 - BatchNorm2dLayer.Epsilon));
        return null;
    }

    private string? MatchBatchNorm(BatchNorm2dLayer norm)
    {
        if (Take("BatchNormalization") is not { } node)
        {
            return Expected("BatchNormalization");
        }

        double epsilon = node.Reals.GetValueOrDefault("epsilon", 1e-5f);
        return Math.Abs(epsilon - BatchNorm2dLayer.Epsilon) > 1e-9 ? $"{norm.Name} has another epsilon"
            : Copy(node, 1, $"{norm.Name}.weight") ?? Copy(node, 2, $"{norm.Name}.bias")
                ?? Copy(node, 3, $"{norm.Name}.running_mean") ?? Copy(node, 4, $"{norm.Name}.running_var");
    }

    private string? MatchPool(MaxPool2dLayer pool) =>
        Take("MaxPool") is not { } node ? Expected("MaxPool")
        : Is(node, "kernel_shape", pool.Window) && Is(node, "strides", pool.Window, otherwise: 1) && Is(node, "pads", 0, otherwise: 0)
            && Is(node, "ceil_mode", 0, otherwise: 0) && Is(node, "dilations", 1, otherwise: 1) ? null
        : $"{pool.Name} has other attributes";

    private string? MatchLinear(LinearLayer linear) =>
        Take("Gemm") is not { } node ? Expected("Gemm")
        : Is(node, "transA", 0, otherwise: 0) && Is(node, "transB", 1, otherwise: 0)
            && node.Reals.GetValueOrDefault("alpha", 1) == 1 && node.Reals.GetValueOrDefault("beta", 1) == 1
            ? Copy(node, 1, $"{linear.Name}.weight") ?? Copy(node, 2, $"{linear.Name}.bias")
        : $"{linear.Name} has other attributes";

    private string Expected(string type) =>
        (_at < _nodes.Length ? $"node {_at + 1} is a {Clean(_nodes[_at].OpType)}" : "it ends") + $" where a {type} was expected";

    private bool NextIs(int ahead, string type) => _at + ahead < _nodes.Length && _nodes[_at + ahead].OpType == type;

    /// <summary>Moves past the next node if it is of a type; otherwise null.</summary>
    private OnnxNode? Take(string type) => NextIs(0, type) ? _nodes[_at++] : null;

    /// <summary>Whether all numbers of an attribute have one value; a missing attribute has <paramref name="otherwise"/>.</summary>
    private static bool Is(OnnxNode node, string name, int value, int? otherwise = null) =>
        node.Ints.TryGetValue(name, out long[]? values) ? Array.TrueForAll(values, one => one == value) : (otherwise ?? value) == value;

    /// <summary>Copies a node's initializer. Returns the mismatch, or null.</summary>
    private string? Copy(OnnxNode node, int input, string name)
    {
        ParameterSlice slice = _weights.Network.Parameters[name];
        string expected = $"({string.Join(", ", slice.Shape)})";
        if (node.Inputs.Count <= input || !_graph.Initializers.TryGetValue(node.Inputs[input], out OnnxTensor? tensor))
        {
            return $"{name} {expected} is missing";
        }

        if (!tensor.Shape.SequenceEqual(slice.Shape.Select(size => (long)size)) || tensor.Values.Length != slice.Size)
        {
            return $"{name} has shape ({string.Join(", ", tensor.Shape)}) and {tensor.Values.Length} float32 values, expected {expected}";
        }

        tensor.Values.CopyTo(_weights.Slice(slice));
        return null;
    }

    private static string Clean(string text) => new([.. text.Take(40).Where(char.IsLetterOrDigit)]);
}
