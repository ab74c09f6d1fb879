using System.Security.Cryptography;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// The model that <c>serve</c> takes where no weights are given: trained once on the built-in digits and kept in the user's cache
/// folder. What it was trained with and by which version is in its file's name and metadata, so that none is taken for another.
/// </summary>
internal sealed class QuickModel
{
    /// <summary>A quarter of a minute on two cores; four or six read real digits no better.</summary>
    private const int Epochs = 3;

    private const string Key = "quick_model";

    private readonly string _madeBy;

    /// <summary>Says which model it is; nothing is read or trained yet.</summary>
    /// <param name="network">Name of the network.</param>
    /// <param name="folder">Where it is kept.</param>
    public QuickModel(string network, string folder)
    {
        Options = TrainingOptions.For(network) with { Epochs = Epochs, Validation = 0 };
        _madeBy = $"CudnnDigits {Checkpoint.Version}, {GeneratedDigits.DefaultCount} built-in digits, {JsonSerializer.Serialize(Options, TrainingJson.Default.TrainingOptions)}";
        string sum = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(_madeBy)));
        File = Path.Combine(folder, $"{network}-{Checkpoint.Version}-{sum[..16]}.safetensors");
    }

    /// <summary>How it is trained.</summary>
    public TrainingOptions Options { get; }

    /// <summary>Its file.</summary>
    public string File { get; }

    /// <summary>Reads it; null where it is not there, or damaged.</summary>
    public NetworkWeights? TryRead()
    {
        if (!System.IO.File.Exists(File) || !RecordFile.IsPlain(File))
        {
            return null;
        }

        try
        {
            (NetworkWeights weights, IReadOnlyDictionary<string, string> metadata) = Checkpoint.LoadWeights(File, Options.CreateNetwork());
            return metadata.GetValueOrDefault(Key) == _madeBy ? weights : null;
        }
        catch (InputException)
        {
            return null;
        }
    }

    /// <summary>Writes it, whole or not at all.</summary>
    /// <returns>Why it could not be kept, or null.</returns>
    public string? TryKeep(TrainingState state)
    {
        try
        {
            if (!Path.IsPathRooted(File) || !RecordFile.IsPlain(File))
            {
                return $"{File} is no place for it";
            }

            Directory.CreateDirectory(Path.GetDirectoryName(File)!);
            Checkpoint.SaveWeights(File, state.Weights, state.Optimizer.Step, [new(Key, _madeBy)]);
            return null;
        }
        catch (Exception e) when (e is InputException or IOException or UnauthorizedAccessException)
        {
            return e.Message.TrimEnd('.');
        }
    }
}
