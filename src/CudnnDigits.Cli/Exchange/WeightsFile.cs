using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Exchange;

/// <summary>
/// What the user gives as weights: a safetensors file, an ONNX file, or a run's folder, which stands for its kept weights.
/// </summary>
internal static class WeightsFile
{
    /// <summary>Reads it.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="network">The network they must fit, or null to find out from the file.</param>
    /// <param name="quiet">Says nothing of what was done to fit them.</param>
    /// <returns>The weights, and the file's metadata.</returns>
    /// <exception cref="InputException">Not such a file, or none of our networks.</exception>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Load(string path, NetworkSpec? network = null, bool quiet = false)
    {
        using InputFile file = Open(path);
        return IsOnnx(file) ? OnnxReader.Load(file, network) : LoadSafeTensors(file, network, quiet);
    }

    /// <summary>
    /// Reads weights to go on training from. ONNX will not do: batch norm that is folded into convolutions cannot be trained on.
    /// </summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="network">The network they must fit, or null to find out from the file.</param>
    /// <param name="quiet">Says nothing of what was done to fit them.</param>
    /// <exception cref="InputException">No safetensors file, or none of our networks.</exception>
    /// <returns>The weights, and the file's metadata.</returns>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) LoadStart(string path, NetworkSpec? network, bool quiet)
    {
        using InputFile file = Open(path);
        return LoadSafeTensors(file, network, quiet);
    }

    /// <summary>By its first bytes, or by its name where they are neither those of ONNX nor of safetensors.</summary>
    private static bool IsOnnx(InputFile file)
    {
        try
        {
            ReadOnlySpan<byte> start = file.Peek(16);
            return ForeignWeights.IsOnnx(start)
                || (file.Path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase) && !ForeignWeights.IsSafeTensors(start) && ForeignWeights.Describe(file) is null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{file.Path}: cannot be read: {e.Message}", e);
        }
    }

    private static InputFile Open(string path) => InputFile.Open(RunFolder.WeightsOf(path), "weights: a .safetensors or .onnx file, or the folder of a run");

    private static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) LoadSafeTensors(InputFile file, NetworkSpec? network, bool quiet)
    {
        (NetworkWeights weights, IReadOnlyDictionary<string, string> metadata, string prefix) = Checkpoint.LoadWeights(file, network);
        if (prefix.Length > 0 && !quiet)
        {
            Console.Error.WriteLine($"weights   {file.Path}: every name begins with '{SafeTensors.Shorten(prefix)}', which is taken off");
        }

        if (metadata.ContainsKey(Checkpoint.StateKey) && !quiet)
        {
            Console.Error.WriteLine($"weights   {file.Path}: a run's state, of which the last step's weights are read; the run's folder stands for the weights that it keeps");
        }

        return (weights, metadata);
    }
}
