using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Runs;

namespace CudnnDigits.Cli.Exchange;

/// <summary>Weights that the user gives: a safetensors file, an ONNX file, or a run's folder, which stands for its kept weights.</summary>
internal static class WeightsFile
{
    /// <summary>Reads weights and metadata of the given network or, if it is null, of any known one. Quiet prints no notes.</summary>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Load(
        string path, NetworkSpec? network = null, bool quiet = false)
    {
        using InputFile file = Open(path);
        return IsOnnx(file) ? OnnxReader.Find(file.Path, OnnxGraph.Read(file), network) : LoadSafeTensors(file, network, quiet);
    }

    /// <summary>Reads weights for further training. Not from ONNX: batch norm that is folded into convolutions cannot be trained.</summary>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) LoadStart(
        string path, NetworkSpec? network, bool quiet)
    {
        using InputFile file = Open(path);
        return LoadSafeTensors(file, network, quiet);
    }

    /// <summary>Whether a file is ONNX, judged by its first bytes or, if these tell nothing, by its extension.</summary>
    private static bool IsOnnx(InputFile file) => InputFile.Reading(file.Path, () =>
    {
        ReadOnlySpan<byte> start = file.Peek(16);
        return ForeignWeights.IsOnnx(start)
            || (file.Path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase)
                && !ForeignWeights.IsSafeTensors(start) && ForeignWeights.Describe(file) is null);
    });

    private static InputFile Open(string path) =>
        InputFile.Open(RunFolder.WeightsOf(path), "weights: a .safetensors or .onnx file, or the folder of a run");

    private static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) LoadSafeTensors(
        InputFile file, NetworkSpec? network, bool quiet)
    {
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
}
