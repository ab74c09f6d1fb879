using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Exchange;

/// <summary>A file that the user gives as weights: safetensors, or ONNX where it ends so.</summary>
internal static class WeightsFile
{
    /// <summary>Reads it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="network">The network they must fit, or null to find out from the file.</param>
    /// <returns>The weights, and the file's metadata.</returns>
    /// <exception cref="Data.InputException">Not such a file, or none of our networks.</exception>
    public static (NetworkWeights Weights, IReadOnlyDictionary<string, string> Metadata) Load(string path, NetworkSpec? network = null) =>
        path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase) ? OnnxReader.Load(path, network) : Checkpoint.LoadWeights(path, network);
}
