namespace CudnnDigits.Cli.Exchange;

/// <summary>Weights that the user gives: a safetensors file, an ONNX file, or a run's folder, which stands for its kept weights.</summary>
internal static class WeightsFile
{
    /// <summary>Reads weights of the given or any known network. Not from ONNX to train on, because batch norm may be folded.</summary>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Load(
        string path, NetworkSpec? network = null, bool quiet = false, bool toTrain = false)
    {
        const string Expected = "weights: a .safetensors or .onnx file, or the folder of a run";
        using InputFile file = InputFile.Open(RunFolder.WeightsOf(path), Expected);
        if (!toTrain && IsOnnx(file))
        {
            return OnnxReader.Find(file.Path, OnnxGraph.Read(file), network);
        }

        (NetworkWeights weights, IReadOnlyDictionary<string, string> metadata, string prefix) = Checkpoint.LoadWeights(file, network);
        if (prefix.Length > 0 && !quiet)
        {
            Console.Error.WriteLine($"weights   {file.Path}: every name begins with '{KnownFile.Shorten(prefix)}', which is taken off");
        }

        if (metadata.ContainsKey(Checkpoint.StateKey) && !quiet)
        {
            Console.Error.WriteLine($"weights   {file.Path}: a run's state, of which the last step's weights are read; "
                + "the run's folder stands for the weights that it keeps");
        }

        return (weights, metadata);
    }

    /// <summary>The digits that weights, or those that they were trained from, were trained on, as far as files and runs say so.</summary>
    public static HashSet<int> Seen(DigitDataset data, string fingerprint, string path, IReadOnlyDictionary<string, string> metadata)
    {
        SplitRecord?[] splits = [SplitRecord.FromMetadata(metadata), .. RunFolder.SplitsBehind(RunFolder.WeightsOf(path))];
        return [.. splits.Distinct().Where(split => split?.DataFingerprint == fingerprint)
            .SelectMany(split => split!.Split.Draw(data.Labels).Training)];
    }

    /// <summary>Whether a file is ONNX, judged by its first bytes or, if these tell nothing, by its extension.</summary>
    private static bool IsOnnx(InputFile file) => InputFile.Reading(file.Path, () =>
    {
        ReadOnlySpan<byte> start = file.Peek(16);
        return ForeignWeights.IsOnnx(start)
            || (file.Path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase)
                && !ForeignWeights.IsSafeTensors(start) && ForeignWeights.Describe(file) is null);
    });
}
