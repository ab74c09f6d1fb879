using System.Diagnostics.CodeAnalysis;
using System.Text.Json.Serialization.Metadata;
using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Runs;

/// <summary>Weights and training states as safetensors files, with the names and layouts of PyTorch's state_dict.</summary>
internal static class Checkpoint
{
    private const string Program = "CudnnDigits", NetworkKey = "network", VersionKey = "version", ScalingKey = "input_scaling";
    internal const string StateKey = "state", OptionsKey = "options", RunKey = "run_started";
    private const string BestPrefix = "best.";
    private const string OfAnother = "these are another network's weights";
    private const string AsListed = "docs/weights.md lists the names and shapes, so that they can be saved under those";

    /// <summary>Version of this program, as it stands in files.</summary>
    public static string Version { get; } = typeof(Checkpoint).Assembly.GetName().Version?.ToString(3) ?? "0";

    /// <summary>Writes weights, after so many training steps (PyTorch's num_batches_tracked), with further metadata or null.</summary>
    public static void SaveWeights(string path, NetworkWeights weights, long steps, IEnumerable<KeyValuePair<string, string>>? extra = null)
    {
        IEnumerable<NamedTensor> counters = weights.Network.Layers.OfType<BatchNorm2dLayer>()
            .Select(norm => new NamedTensor($"{norm.Name}.num_batches_tracked", [], new[] { steps }));
        SafeTensors.Write(path, [.. Header(weights.Network), .. extra ?? []], [.. Tensors("", weights), .. counters]);
    }

    /// <summary>Reads weights from a file, ours or exported from PyTorch, or from the folder of a run.</summary>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata, string Prefix) LoadWeights(
        string path, NetworkSpec? network = null)
    {
        using InputFile file = InputFile.Open(RunFolder.WeightsOf(path), "a .safetensors file, or the folder of a run");
        return LoadWeights(file, network);
    }

    /// <summary>Reads the weights of a network, or null for any. Takes off and returns a prefix of all names, such as "module.".</summary>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata, string Prefix) LoadWeights(
        InputFile input, NetworkSpec? network)
    {
        SafeTensors file = SafeTensors.Read(input);
        string prefix = Prefix(file, network is null ? DigitNetworks.All : [network]);
        network ??= Recognize(file, prefix);
        CheckOrigin(file, network);
        if (Mismatch(file, prefix, network) is { } mismatch)
        {
            NetworkSpec? other = DigitNetworks.All.FirstOrDefault(one => Mismatch(file, prefix, one) is null);
            string fault = other is null ? mismatch : $"holds the network {other.Name}, expected {network.Name}; {OfAnother}";
            throw new InputException($"{file.Path}: {fault}");
        }

        NetworkWeights weights = new(network);
        ReadWeights(file, prefix, weights);
        if (Holds(file, OptimizerBuffer.Average, network))
        {
            ReadBuffer(file, OptimizerBuffer.Average, network, weights.Trained);
        }

        return (weights, file.Metadata, prefix);
    }

    /// <summary>Writes a training state and, unless it is null, the run that it is from.</summary>
    public static void SaveState(string path, TrainingState state, RunRecord? run = null)
    {
        List<NamedTensor> tensors = [.. Tensors("", state.Weights), .. Tensors(BestPrefix, state.Best)];
        foreach (ParameterSlice slice in state.Weights.Network.Parameters.Trained)
        {
            tensors.AddRange(state.Optimizer.Kept.Zip(state.Optimizer.Buffers, (buffer, values) =>
                new NamedTensor($"{buffer.Name}.{slice.Name}", slice.Shape, values[slice.Offset..(slice.Offset + slice.Size)])));
        }

        StateHeader header = new(
            state.Optimizer.Step, state.Epoch, state.StepInEpoch, state.Sums.Loss, state.Sums.Correct, state.Sums.Samples,
            state.SecondsInEpoch, state.History);
        Dictionary<string, string> metadata = new(Header(state.Weights.Network))
        {
            [StateKey] = JsonSerializer.Serialize(header, TrainingJson.Default.StateHeader),
        };
        if (run is not null)
        {
            metadata.Add(OptionsKey, JsonSerializer.Serialize(run.Options, TrainingJson.Default.TrainingOptions));
            metadata.Add(SplitRecord.FingerprintKey, run.Data.Fingerprint);
            metadata.Add(RunKey, Started(run));
        }

        SafeTensors.Write(path, metadata, tensors);
    }

    /// <summary>Reads a training state of the given network.</summary>
    public static TrainingState LoadState(string path, NetworkSpec network) => LoadState(path, network, out _);

    /// <summary>Reads a training state of the given network, and what it says of the run that it is from.</summary>
    public static TrainingState LoadState(string path, NetworkSpec network, out StateOrigin origin)
    {
        SafeTensors file = SafeTensors.Read(path);
        StateHeader header = ReadHeader(file);
        origin = new StateOrigin(
            file.Metadata.TryGetValue(OptionsKey, out string? text) ? ReadJson(text, TrainingJson.Default.TrainingOptions, file) : null,
            file.Metadata.GetValueOrDefault(SplitRecord.FingerprintKey), file.Metadata.GetValueOrDefault(RunKey));
        CheckOrigin(file, network, isState: true);
        NetworkWeights weights = new(network);
        ReadWeights(file, "", weights);
        OptimizerBuffer[] more = Holds(file, OptimizerBuffer.Average, network) ? [OptimizerBuffer.Average] : [];
        TrainingState state = new(weights, [.. (origin.Options?.Optimizer ?? new()).Buffers, .. more]);
        ReadWeights(file, BestPrefix, state.Best);
        foreach ((OptimizerBuffer buffer, float[] values) in state.Optimizer.Kept.Zip(state.Optimizer.Buffers))
        {
            ReadBuffer(file, buffer, network, values);
        }

        state.Optimizer.Step = header.Step;
        (state.Epoch, state.StepInEpoch, state.SecondsInEpoch) = (header.Epoch, header.StepInEpoch, header.SecondsInEpoch);
        state.Sums = new EpochSums(header.LossSum, header.Correct, header.Samples);
        state.History.AddRange(header.History);
        return state;
    }

    /// <summary>When a run began, as it stands in its state: two runs do not begin at once.</summary>
    public static string Started(RunRecord run) => run.Started.ToString("O", CultureInfo.InvariantCulture);

    /// <summary>The epochs of a run's state; null where there is none that can be read, or it is another run's.</summary>
    public static IReadOnlyList<EpochRecord>? TryReadHistory(string path, RunRecord run)
    {
        try
        {
            return File.Exists(path) && SafeTensors.Read(path) is var file
                && file.Metadata.GetValueOrDefault(RunKey, Started(run)) == Started(run) ? ReadHeader(file).History : null;
        }
        catch (InputException)
        {
            return null;
        }
    }

    private static StateHeader ReadHeader(SafeTensors file)
    {
        string? text = file.Metadata.GetValueOrDefault(StateKey);
        Require(file, text is not null, "holds weights but no training state; resume needs last.safetensors");
        string found = file.Metadata.GetValueOrDefault(VersionKey, "");
        Version? version = found.Split(' ') is [Program, var number] && System.Version.TryParse(number, out Version? known) ? known : null;
        Require(file, version is not null, $"its version is '{found}', expected '{Program} {Version}' or an earlier one; "
            + "resume needs last.safetensors as train wrote it");
        Require(file, version <= System.Version.Parse(Version),
            $"was written by {found}, which is newer than this {Version}; take that one, or start a new run");
        StateHeader header = ReadJson(text, TrainingJson.Default.StateHeader, file);
        return header.IsPossible ? header : throw Damaged(file);
    }

    private static T ReadJson<T>(string text, JsonTypeInfo<T> type, SafeTensors file)
    {
        try
        {
            return JsonSerializer.Deserialize(text, type) ?? throw Damaged(file);
        }
        catch (JsonException e)
        {
            throw Damaged(file, e);
        }
    }

    private static void Require(SafeTensors file, [DoesNotReturnIf(false)] bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new InputException($"{file.Path}: {otherwise}");
        }
    }

    private static InputException Damaged(SafeTensors file, Exception? inner = null) =>
        new($"{file.Path}: its training state is damaged; restore a copy of it", inner!);

    /// <summary>What a file says of itself must be what is asked for; files from elsewhere say nothing.</summary>
    private static void CheckOrigin(SafeTensors file, NetworkSpec network, bool isState = false)
    {
        foreach ((string key, string expected) in Header(network).Where(entry => entry.Key is NetworkKey or ScalingKey))
        {
            string? found = file.Metadata.GetValueOrDefault(key);
            Require(file, found is null ? !isState : found == expected, $"its {key} is '{found}', expected '{expected}'; {OfAnother}");
        }
    }

    /// <summary>The metadata of every file; PyTorch's own tools look for the format.</summary>
    private static IEnumerable<KeyValuePair<string, string>> Header(NetworkSpec network) =>
        [new("format", "pt"), new(NetworkKey, network.Name), new(ScalingKey, "pixel/255"), new(VersionKey, $"{Program} {Version}")];

    private static IEnumerable<NamedTensor> Tensors(string prefix, NetworkWeights weights) => weights.Network.Parameters.All
        .Select(slice => new NamedTensor(prefix + slice.Name, slice.Shape, weights.Slice(slice).ToArray()));

    /// <summary>The network that a file says it is of or, exported from PyTorch, has the most tensors of.</summary>
    private static NetworkSpec Recognize(SafeTensors file, string prefix)
    {
        if (file.Metadata.TryGetValue(NetworkKey, out string? name))
        {
            return DigitNetworks.Find(name) ?? throw new InputException(
                $"{file.Path}: made for a network '{KnownFile.Shorten(name)}', which this version does not know");
        }

        NetworkSpec nearest = DigitNetworks.All.MaxBy(Fitting)!;
        if (Fitting(nearest) > 0)
        {
            return nearest;
        }

        string found = file.Names.FirstOrDefault() is { } first ? Describe(first, file.Shape(first)!) : "none";
        ParameterSlice expected = nearest.Parameters.Trained[0];
        throw new InputException(
            $"{file.Path}: its tensors are those of no network of this program ({string.Join(", ", DigitNetworks.Names)}): found {found}, "
            + $"expected such as {Describe(expected.Name, expected.Shape)}; {AsListed}");

        int Fitting(NetworkSpec network) => network.Parameters.All.Count(slice => Fits(file, prefix + slice.Name, slice));
    }

    /// <summary>What stands before PyTorch's own names in most names of tensors, as "module." does; the shortest of several.</summary>
    private static string Prefix(SafeTensors file, IReadOnlyList<NetworkSpec> networks)
    {
        string[] ends = [.. networks.SelectMany(network => network.Parameters.All).Select(slice => slice.Name).Distinct()];
        return file.Names
            .SelectMany(name => ends.Where(end => name.EndsWith(end, StringComparison.Ordinal)).Select(end => name[..^end.Length]))
            .CountBy(prefix => prefix).OrderByDescending(count => count.Value).ThenBy(count => count.Key.Length).FirstOrDefault().Key ?? "";
    }

    /// <summary>What keeps a file from holding all of a network's tensors and, unless it is a state, no others; or null.</summary>
    private static string? Mismatch(SafeTensors file, string prefix, NetworkSpec network)
    {
        ParameterSlice[] slices = [.. network.Parameters.All];
        ParameterSlice[] missing = [.. slices.Where(slice => file.Shape(prefix + slice.Name) is null)];
        string[] extra = file.Metadata.ContainsKey(StateKey) ? []
            : [.. file.Names.Where(name => !file.IsCounter(name)).Except(slices.Select(slice => prefix + slice.Name))];
        string more = extra.Length > 1 ? $" and {extra.Length - 1} more" : "";
        string others = extra.Length > 0 ? Describe(extra[0], file.Shape(extra[0])!) + more : "";
        if (missing.Length > 0)
        {
            return $"holds no whole network {network.Name}: tensor {prefix}{Describe(missing[0].Name, missing[0].Shape)}"
                + (missing.Length > 1 ? $" and {missing.Length - 1} more are missing" : " is missing")
                + (extra.Length > 0 ? $", and it holds {others} besides; {AsListed}" : "");
        }

        if (Array.Find(slices, slice => !Fits(file, prefix + slice.Name, slice)) is { } slice)
        {
            string name = prefix + slice.Name, advice = HowToTurn(file.Shape(name)!, slice) ?? OfAnother;
            return $"tensor {Misshapen(file, name, slice)} in the network {network.Name}; {advice}";
        }

        return extra.Length > 0
            ? $"holds {others}, which the network {network.Name} does not have; if that is no layer of another network, save all but that"
            : null;
    }

    /// <summary>Where a tensor has the layout of Keras or JAX, how to put it into PyTorch's.</summary>
    private static string? HowToTurn(IReadOnlyList<long> found, ParameterSlice expected)
    {
        string? turn = (expected.Shape, found) switch
        {
            ([var n, var m], [var a, var b]) when (a, b) == (m, n) => "T, with the inputs of fc1 in the order channel, row, column",
            ([var k, var c, var r, var s], [var a, var b, var d, var e]) when (a, b, d, e) == (r, s, c, k) => "transpose(3, 2, 0, 1)",
            _ => null,
        };
        return turn is null ? null : $"that is the layout of Keras and JAX: save {expected.Name} as array.{turn}";
    }

    private static string Misshapen(SafeTensors file, string name, ParameterSlice expected) =>
        $"{name} {(file.Shape(name) is { } shape ? $"has shape ({string.Join(", ", shape)})" : "is missing")}, "
        + $"expected ({string.Join(", ", expected.Shape)})";

    private static string Describe<T>(string name, IEnumerable<T> shape) => $"{KnownFile.Shorten(name)} ({string.Join(", ", shape)})";

    private static void ReadWeights(SafeTensors file, string prefix, NetworkWeights weights)
    {
        foreach (ParameterSlice slice in weights.Network.Parameters.All)
        {
            bool isVariance = slice.Layer is BatchNorm2dLayer norm && slice.Name == norm.VarianceName;
            ReadTensor(file, prefix + slice.Name, slice, weights.Slice(slice), isVariance);
        }
    }

    private static bool Holds(SafeTensors file, OptimizerBuffer buffer, NetworkSpec network) =>
        file.Shape($"{buffer.Name}.{network.Parameters.Trained[0].Name}") is not null;

    private static void ReadBuffer(SafeTensors file, OptimizerBuffer buffer, NetworkSpec network, float[] values)
    {
        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            ReadTensor(file, $"{buffer.Name}.{slice.Name}", slice, values.AsSpan(slice.Offset, slice.Size), buffer.IsSquare);
        }
    }

    private static void ReadTensor(SafeTensors file, string name, ParameterSlice slice, Span<float> into, bool isSquare)
    {
        Require(file, Fits(file, name, slice), $"tensor {Misshapen(file, name, slice)}; {OfAnother}");
        float[] values = file.Floats(name);
        Require(file, Array.TrueForAll(values, float.IsFinite), $"tensor {name} holds NaN or infinite values; the weights are unusable");
        bool isNegative = isSquare && values.AsSpan().ContainsAnyInRange(float.NegativeInfinity, -float.Epsilon);
        Require(file, !isNegative, $"tensor {name} holds a negative variance or mean square; the file is damaged");
        values.CopyTo(into);
    }

    private static bool Fits(SafeTensors file, string name, ParameterSlice slice) =>
        file.Shape(name) is { } shape && shape.SequenceEqual(slice.Shape.Select(size => (long)size));
}
