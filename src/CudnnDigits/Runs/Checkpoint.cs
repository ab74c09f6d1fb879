using System.Text.Json.Serialization.Metadata;
using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Runs;

/// <summary>
/// Weights and training states as safetensors files, written whole or not at all. Weights carry PyTorch's state_dict names
/// and layouts, so that PyTorch loads them and files exported from PyTorch load here.
/// </summary>
internal static class Checkpoint
{
    private const string Program = "CudnnDigits", NetworkKey = "network", VersionKey = "version", ScalingKey = "input_scaling";
    internal const string StateKey = "state", OptionsKey = "options", RunKey = "run_started";
    private const string BestPrefix = "best.";

    /// <summary>Version of this program, as it stands in files.</summary>
    public static string Version { get; } = typeof(Checkpoint).Assembly.GetName().Version?.ToString(3) ?? "0";

    /// <summary>Writes weights.</summary>
    /// <param name="path">The file.</param>
    /// <param name="weights">The weights.</param>
    /// <param name="steps">Training steps behind them; PyTorch's num_batches_tracked.</param>
    /// <param name="extra">Further metadata, or null.</param>
    public static void SaveWeights(string path, NetworkWeights weights, long steps, IEnumerable<KeyValuePair<string, string>>? extra = null)
    {
        ArgumentNullException.ThrowIfNull(weights);
        List<NamedTensor> tensors = [];
        AddWeights(tensors, "", weights);
        tensors.AddRange(weights.Network.Layers.OfType<BatchNorm2dLayer>()
            .Select(norm => new NamedTensor($"{norm.Name}.num_batches_tracked", [], new[] { steps })));
        SafeTensors.Write(path, [.. Header(weights.Network), .. extra ?? []], tensors);
    }

    /// <summary>
    /// Reads weights, in float32, float64, float16 or bfloat16. What stands before every tensor's name, such as PyTorch's "module."
    /// and "_orig_mod.", is taken off.
    /// </summary>
    /// <param name="path">The file, one of ours or one exported from PyTorch; or the folder of a run, whose kept weights are read.</param>
    /// <param name="network">The network they must fit, or null to find out from the file.</param>
    /// <returns>The weights, and the file's metadata.</returns>
    /// <exception cref="InputException">Not a safetensors file, damaged, another network's, or with values that are not
    /// numbers.</exception>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) LoadWeights(string path, NetworkSpec? network = null)
    {
        using InputFile file = InputFile.Open(RunFolder.WeightsOf(path), "a .safetensors file, or the folder of a run");
        (NetworkWeights weights, IReadOnlyDictionary<string, string> metadata, _) = LoadWeights(file, network);
        return (weights, metadata);
    }

    /// <summary>Reads weights from a file that is open.</summary>
    /// <param name="file">The file, at its beginning.</param>
    /// <param name="network">The network they must fit, or null to find out from the file.</param>
    /// <returns>The weights, the file's metadata, and what was taken off before every tensor's name.</returns>
    /// <exception cref="InputException">As of <see cref="LoadWeights(string, NetworkSpec?)"/>.</exception>
    internal static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata, string Prefix) LoadWeights(InputFile file, NetworkSpec? network)
    {
        SafeTensors content = SafeTensors.Read(file);
        string prefix = CommonPrefix(content);
        network ??= Recognize(content, file.Path, prefix);
        CheckOrigin(content, file.Path, network);
        CheckTensors(content, file.Path, prefix, network);
        NetworkWeights weights = new(network);
        ReadWeights(content, file.Path, prefix, weights);
        return (weights, content.Metadata, prefix);
    }

    /// <summary>Writes a training state.</summary>
    /// <param name="path">The file.</param>
    /// <param name="state">The state.</param>
    public static void SaveState(string path, TrainingState state) => SaveState(path, state, run: null);

    /// <summary>Writes a training state.</summary>
    /// <param name="path">The file.</param>
    /// <param name="state">The state.</param>
    /// <param name="run">What it is trained with and on, to be compared with run.json later, or null.</param>
    internal static void SaveState(string path, TrainingState state, RunRecord? run)
    {
        ArgumentNullException.ThrowIfNull(state);
        List<NamedTensor> tensors = [];
        AddWeights(tensors, "", state.Weights);
        AddWeights(tensors, BestPrefix, state.Best);
        foreach (ParameterSlice slice in state.Weights.Network.Parameters.Trained)
        {
            tensors.AddRange(OptimizerSpec.Buffers.Zip(state.Optimizer.Buffers, (buffer, values) =>
                new NamedTensor($"{buffer.Name}.{slice.Name}", slice.Shape, values[slice.Offset..(slice.Offset + slice.Size)])));
        }

        StateHeader header = new(
            state.Optimizer.Step, state.Epoch, state.StepInEpoch, state.Sums.Loss, state.Sums.Correct, state.Sums.Samples, state.SecondsInEpoch, state.History);
        SafeTensors.Write(
            path,
            [
                .. Header(state.Weights.Network),
                new(StateKey, JsonSerializer.Serialize(header, TrainingJson.Default.StateHeader)),
                .. run is null ? [] : new KeyValuePair<string, string>[]
                {
                    new(OptionsKey, JsonSerializer.Serialize(run.Options, TrainingJson.Default.TrainingOptions)), new(SplitRecord.FingerprintKey, run.Data.Fingerprint),
                    new(RunKey, Started(run)),
                },
            ],
            tensors);
    }

    /// <summary>Reads a training state.</summary>
    /// <param name="path">A file written by <see cref="SaveState(string, TrainingState)"/>.</param>
    /// <param name="network">The network it must fit.</param>
    /// <exception cref="InputException">Not such a file, damaged, another network's, or with values that cannot be.</exception>
    public static TrainingState LoadState(string path, NetworkSpec network) => LoadState(path, network, out _);

    /// <summary>Reads a training state.</summary>
    /// <param name="path">A file written by <see cref="SaveState(string, TrainingState)"/>.</param>
    /// <param name="network">The network it must fit.</param>
    /// <param name="origin">What it says of the run that it is from.</param>
    /// <exception cref="InputException">Not such a file, damaged, another network's, or with values that cannot be.</exception>
    internal static TrainingState LoadState(string path, NetworkSpec network, out StateOrigin origin)
    {
        ArgumentNullException.ThrowIfNull(network);
        SafeTensors file = SafeTensors.Read(path);
        StateHeader header = ReadHeader(file, path);
        origin = new StateOrigin(
            file.Metadata.TryGetValue(OptionsKey, out string? text) ? ReadJson(text, TrainingJson.Default.TrainingOptions, path) : null,
            file.Metadata.GetValueOrDefault(SplitRecord.FingerprintKey), file.Metadata.GetValueOrDefault(RunKey));
        CheckOrigin(file, path, network, isState: true);
        NetworkWeights weights = new(network);
        ReadWeights(file, path, "", weights);
        TrainingState state = new(weights);
        ReadWeights(file, path, BestPrefix, state.Best);
        foreach ((OptimizerBuffer buffer, float[] values) in OptimizerSpec.Buffers.Zip(state.Optimizer.Buffers))
        {
            foreach (ParameterSlice slice in network.Parameters.Trained)
            {
                ReadTensor(file, path, $"{buffer.Name}.{slice.Name}", slice, values.AsSpan(slice.Offset, slice.Size));
            }

            if (buffer.IsSquare && values.AsSpan().ContainsAnyInRange(float.NegativeInfinity, -float.Epsilon))
            {
                throw new InputException($"{path}: a tensor {buffer.Name}.… holds a mean square below 0; the file is damaged");
            }
        }

        state.Optimizer.Step = header.Step;
        (state.Epoch, state.StepInEpoch, state.SecondsInEpoch) = (header.Epoch, header.StepInEpoch, header.SecondsInEpoch);
        state.Sums = new EpochSums(header.LossSum, header.Correct, header.Samples);
        state.History.AddRange(header.History);
        return state;
    }

    private static StateHeader ReadHeader(SafeTensors file, string path)
    {
        if (!file.Metadata.TryGetValue(StateKey, out string? text))
        {
            throw new InputException($"{path}: holds weights but no training state; resume needs last.safetensors");
        }

        CheckVersion(file, path);
        StateHeader header = ReadJson(text, TrainingJson.Default.StateHeader, path);
        return header.IsPossible ? header : throw new InputException($"{path}: its training state is damaged, it has values that cannot be; bring back a copy of it");
    }

    /// <summary>When a run began, as it stands in its state: two runs do not begin at once.</summary>
    internal static string Started(RunRecord run) => run.Started.ToString("O", CultureInfo.InvariantCulture);

    /// <summary>The epochs of a run's state; null where there is none that can be read, or it is another run's.</summary>
    /// <param name="path">The file.</param>
    /// <param name="run">The run.</param>
    internal static IReadOnlyList<EpochRecord>? TryReadHistory(string path, RunRecord run)
    {
        try
        {
            return File.Exists(path) && SafeTensors.Read(path) is var file && file.Metadata.GetValueOrDefault(RunKey, Started(run)) == Started(run)
                ? ReadHeader(file, path).History
                : null;
        }
        catch (InputException)
        {
            return null;
        }
    }

    private static T ReadJson<T>(string text, JsonTypeInfo<T> type, string path)
    {
        try
        {
            return JsonSerializer.Deserialize(text, type) ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw new InputException($"{path}: its training state is damaged; bring back a copy of it", e);
        }
    }

    /// <summary>What a file says of itself must be what is asked for; files from elsewhere say nothing.</summary>
    private static void CheckOrigin(SafeTensors file, string path, NetworkSpec network, bool isState = false)
    {
        foreach ((string key, string expected) in Header(network).Where(entry => entry.Key is NetworkKey or ScalingKey))
        {
            if (file.Metadata.TryGetValue(key, out string? found) ? found != expected : isState)
            {
                throw new InputException($"{path}: its {key} is '{found}', expected '{expected}'; these are another network's weights");
            }
        }
    }

    /// <summary>A state of this version, or of an earlier one.</summary>
    private static void CheckVersion(SafeTensors file, string path)
    {
        string found = file.Metadata.GetValueOrDefault(VersionKey, "");
        if (!found.StartsWith(Program + " ", StringComparison.Ordinal) || !System.Version.TryParse(found[(Program.Length + 1)..], out Version? version))
        {
            throw new InputException($"{path}: its version is '{found}', expected '{Program} {Version}' or an earlier one; resume needs last.safetensors as train wrote it");
        }

        if (version > System.Version.Parse(Version))
        {
            throw new InputException($"{path}: was written by {found}, which is newer than this {Version}; take that one, or start a new run");
        }
    }

    private static IEnumerable<KeyValuePair<string, string>> Header(NetworkSpec network) =>
    [
        new("format", "pt"), // what PyTorch's own tools look for
        new(NetworkKey, network.Name),
        new(ScalingKey, "pixel/255"),
        new(VersionKey, $"{Program} {Version}"),
    ];

    private static void AddWeights(List<NamedTensor> tensors, string prefix, NetworkWeights weights)
    {
        tensors.AddRange(Tensors(weights.Network).Select(slice => new NamedTensor(prefix + slice.Name, slice.Shape, weights.Slice(slice).ToArray())));
    }

    /// <summary>The network that a file says it is of or, exported from PyTorch, has the most tensors of.</summary>
    private static NetworkSpec Recognize(SafeTensors file, string path, string prefix)
    {
        if (file.Metadata.TryGetValue(NetworkKey, out string? name))
        {
            return DigitNetworks.Find(name) ?? throw new InputException($"{path}: made for a network '{SafeTensors.Shorten(name)}', which this version does not know");
        }

        NetworkSpec nearest = DigitNetworks.All.MaxBy(Fitting)!;
        if (Fitting(nearest) > 0)
        {
            return nearest;
        }

        string found = file.Names.FirstOrDefault() is { } first ? Describe(file, first) : "none";
        throw new InputException(
            $"{path}: its tensors are those of no network of this program ({string.Join(", ", DigitNetworks.Names)}): found {found}, "
            + $"expected such as {Describe(nearest.Parameters.Trained[0])}; names and layouts must be those of PyTorch's state_dict");

        int Fitting(NetworkSpec network) => Tensors(network).Count(slice => Fits(file, prefix + slice.Name, slice));
    }

    /// <summary>What stands before the name of every tensor, but for counters, where some have PyTorch's own names behind it.</summary>
    private static string CommonPrefix(SafeTensors file)
    {
        string[] names = [.. file.Names.Where(name => !file.IsCounter(name))];
        return DigitNetworks.All.SelectMany(Tensors)
            .Select(slice => names.FirstOrDefault(name => name.EndsWith(slice.Name, StringComparison.Ordinal))?[..^slice.Name.Length])
            .FirstOrDefault(prefix => prefix is not null && names.All(name => name.StartsWith(prefix, StringComparison.Ordinal))) ?? "";
    }

    /// <summary>
    /// A file must hold all of a network's tensors and, unless it is a state, no others: a layer more would be another network.
    /// </summary>
    private static void CheckTensors(SafeTensors file, string path, string prefix, NetworkSpec network)
    {
        if (Mismatch(file, prefix, network) is { } mismatch)
        {
            NetworkSpec? other = DigitNetworks.All.FirstOrDefault(one => Mismatch(file, prefix, one) is null);
            throw new InputException($"{path}: {(other is null ? mismatch : $"holds the network {other.Name}, expected {network.Name}; these are another network's weights")}");
        }
    }

    private static string? Mismatch(SafeTensors file, string prefix, NetworkSpec network)
    {
        ParameterSlice[] slices = [.. Tensors(network)];
        ParameterSlice[] missing = [.. slices.Where(slice => file.Shape(prefix + slice.Name) is null)];
        string[] extra = file.Metadata.ContainsKey(StateKey) ? [] : [.. file.Names.Where(name => !file.IsCounter(name)).Except(slices.Select(slice => prefix + slice.Name))];
        string others = extra.Length == 0 ? "" : $"{Describe(file, extra[0])}{(extra.Length > 1 ? $" and {extra.Length - 1} more" : "")}";
        return missing.Length > 0
            ? $"holds no whole network {network.Name}: tensor {prefix}{Describe(missing[0])}{(missing.Length > 1 ? $" and {missing.Length - 1} more are" : " is")} missing"
                + (extra.Length > 0 ? $", and it holds {others} besides; names and layouts must be those of PyTorch's state_dict" : "")
            : Array.Find(slices, slice => !Fits(file, prefix + slice.Name, slice)) is { } misshapen
                ? $"tensor {Misshapen(file, prefix + misshapen.Name, misshapen)} in the network {network.Name}{HowToTurn(file.Shape(prefix + misshapen.Name)!, misshapen)}"
            : extra.Length > 0 ? $"holds {others}, which the network {network.Name} does not have; these are another network's weights"
            : null;
    }

    /// <summary>Where a tensor has the layout of Keras or JAX, how to put it into PyTorch's.</summary>
    private static string HowToTurn(IReadOnlyList<long> found, ParameterSlice expected)
    {
        long[] shape = [.. expected.Shape.Select(size => (long)size)];
        string? turn = shape is [long n, long m] && found.SequenceEqual([m, n]) ? "T, with the inputs of fc1 in the order channel, row, column"
            : shape is [long k, long c, long r, long s] && found.SequenceEqual([r, s, c, k]) ? "transpose(3, 2, 0, 1)"
            : null;
        return turn is null ? "; these are another network's weights" : $"; that is the layout of Keras and JAX: save {expected.Name} as array.{turn}";
    }

    private static string Misshapen(SafeTensors file, string name, ParameterSlice expected) =>
        $"{name} {(file.Shape(name) is { } shape ? $"has shape ({string.Join(", ", shape)})" : "is missing")}, expected ({string.Join(", ", expected.Shape)})";

    private static string Describe(SafeTensors file, string name) => $"{SafeTensors.Shorten(name)} ({string.Join(", ", file.Shape(name)!)})";

    private static string Describe(ParameterSlice slice) => $"{slice.Name} ({string.Join(", ", slice.Shape)})";

    private static IEnumerable<ParameterSlice> Tensors(NetworkSpec network) => network.Parameters.Trained.Concat(network.Parameters.Statistics);

    private static void ReadWeights(SafeTensors file, string path, string prefix, NetworkWeights weights)
    {
        foreach (ParameterSlice slice in Tensors(weights.Network))
        {
            ReadTensor(file, path, prefix + slice.Name, slice, weights.Slice(slice));
        }

        foreach (ParameterSlice slice in weights.Network.Parameters.Statistics.Where(slice => slice.Name.EndsWith(".running_var", StringComparison.Ordinal)))
        {
            if (weights.Slice(slice).ContainsAnyInRange(float.NegativeInfinity, -float.Epsilon))
            {
                throw new InputException($"{path}: tensor {prefix}{slice.Name} holds a negative variance; the file is damaged");
            }
        }
    }

    private static void ReadTensor(SafeTensors file, string path, string name, ParameterSlice slice, Span<float> into)
    {
        if (!Fits(file, name, slice))
        {
            throw new InputException($"{path}: tensor {Misshapen(file, name, slice)}; these are another network's weights");
        }

        float[] values = file.Floats(name);
        if (!Array.TrueForAll(values, float.IsFinite))
        {
            throw new InputException($"{path}: tensor {name} holds NaN or infinite values; the weights are unusable");
        }

        values.CopyTo(into);
    }

    private static bool Fits(SafeTensors file, string name, ParameterSlice slice) =>
        file.Shape(name) is { } shape && shape.SequenceEqual(slice.Shape.Select(size => (long)size));
}
