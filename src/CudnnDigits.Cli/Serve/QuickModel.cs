using System.Security.Cryptography;

namespace CudnnDigits.Cli.Serve;

/// <summary>The model of <c>serve</c> without weights: trained once on the built-in digits, and kept in the user's cache folder.</summary>
internal sealed class QuickModel
{
    /// <summary>Three epochs take 15 seconds on two cores; four or six do not predict real digits better.</summary>
    private const int Epochs = 3;

    private const string Key = "quick_model";

    private readonly string _madeBy;

    /// <summary>Identifies the model. Nothing is read or trained yet.</summary>
    public QuickModel(string network, string folder)
    {
        Options = TrainingOptions.For(network) with { Epochs = Epochs, Validation = 0 };
        string options = JsonSerializer.Serialize(Options, TrainingJson.Default.TrainingOptions);
        _madeBy = $"CudnnDigits {Checkpoint.Version}, {GeneratedDigits.DefaultCount} built-in digits, {options}";
        string sum = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(_madeBy)));
        File = Path.Combine(folder, $"{network}-{Checkpoint.Version}-{sum[..16]}.safetensors");
    }

    public TrainingOptions Options { get; }

    public string File { get; }

    /// <summary>Reads the model. Null if the file does not exist, or is damaged.</summary>
    public NetworkWeights? TryRead()
    {
        try
        {
            return System.IO.File.Exists(File) && RecordFile.IsPlain(File)
                && Checkpoint.LoadWeights(File, Options.CreateNetwork()) is var (weights, metadata, _)
                && metadata.GetValueOrDefault(Key) == _madeBy ? weights : null;
        }
        catch (InputException)
        {
            return null;
        }
    }

    /// <summary>Writes the model. Returns why that failed, or null.</summary>
    public string? TryKeep(TrainingState state)
    {
        try
        {
            if (!Path.IsPathRooted(File) || !RecordFile.IsPlain(File))
            {
                return $"{File} cannot hold it";
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
