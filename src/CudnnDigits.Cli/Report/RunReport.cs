using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Report;

/// <summary>All that a report says of one run.</summary>
/// <param name="Folder">The run's folder.</param>
/// <param name="Record">run.json.</param>
/// <param name="History">Finished epochs.</param>
/// <param name="KeptEpoch">Epoch of the kept weights, from 1.</param>
/// <param name="HasEnded">Whether it came to its end.</param>
/// <param name="Metrics">The kept weights' metrics, or null where there are neither weights nor metrics.</param>
/// <param name="Scored">The held-out digits as the kept weights read them, or null where the data is not at hand.</param>
/// <param name="WhyNoPictures">Why <paramref name="Scored"/> is null.</param>
internal sealed record RunReport(
    RunFolder Folder, RunRecord Record, IReadOnlyList<EpochRecord> History, int KeptEpoch, bool HasEnded, Metrics? Metrics, ScoredDigits? Scored, string? WhyNoPictures)
{
    /// <summary>The run's name: that of its folder.</summary>
    public string Name => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(Folder.Path)));

    /// <summary>Training time, validation not counted.</summary>
    public double Seconds => History.Sum(epoch => epoch.Seconds);

    /// <summary>Median training throughput of its epochs; 0 before the first has ended.</summary>
    public double ImagesPerSecond => History.Count == 0 ? 0 : History.Select(epoch => epoch.ImagesPerSecond).Order().ElementAt(History.Count / 2);

    /// <summary>Reads a run from its folder, and reads its held-out digits again where the data is still there.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="cache">Data already loaded, by path; added to.</param>
    /// <exception cref="InputException">No run there, or a damaged one.</exception>
    public static RunReport Load(string path, Dictionary<string, DigitDataset> cache)
    {
        RunFolder folder = new(path);
        RunRecord record = folder.ReadRecord();
        NetworkSpec network = record.Options.CreateNetwork();
        Metrics? metrics = folder.ReadMetrics();
        IReadOnlyList<EpochRecord> history;
        NetworkWeights? kept;
        if (metrics is not null)
        {
            history = folder.ReadHistory();
            kept = File.Exists(folder.ModelFile) ? Checkpoint.LoadWeights(folder.ModelFile, network).Weights : null;
        }
        else
        {
            // What counts until a run ends; a kill may have left the other files behind it.
            TrainingState? state = folder.ReadState(network, record, data: null);
            history = state?.History ?? [];
            kept = state is { Optimizer.Step: > 0 } ? state.Kept(record.Options) : null;
        }

        (ScoredDigits? scored, string? why) = kept is not null ? Score(kept, record, cache) : (null, "the run has kept no weights");
        return new RunReport(folder, record, history, TrainingState.KeptEpoch(history, record.Options), metrics is not null, metrics ?? scored?.Metrics, scored, why);
    }

    private static (ScoredDigits? Scored, string? Why) Score(NetworkWeights kept, RunRecord record, Dictionary<string, DigitDataset> cache)
    {
        string? path = record.Data.Path;
        DigitDataset data;
        try
        {
            data = cache.TryGetValue(path ?? "", out DigitDataset? loaded) ? loaded : cache[path ?? ""] = CommonOptions.LoadTraining(path, quiet: true);
        }
        catch (InputException e)
        {
            return (null, e.Message);
        }

        if (data.Fingerprint() != record.Data.Fingerprint)
        {
            return (null, $"{data.Name}: is no longer the data that the run was started with");
        }

        int[] rows = record.Options.Split.Draw(data.Labels).Scored;
        float[] logits = new float[rows.Length * DigitDataset.Classes];
        using DigitClassifier classifier = new(kept, new ClassifierOptions { Device = "cpu" });
        classifier.Predict(data, rows, logits);
        return (ScoredDigits.Of(logits, data, rows), null);
    }
}
