using CudnnDigits.Inference;

namespace CudnnDigits.Cli.Report;

/// <summary>What a report says of one run. Metrics are those of the kept weights; if Scored is null, WhyNoPictures says why.</summary>
internal sealed record RunReport(
    RunFolder Folder, RunRecord Record, IReadOnlyList<EpochRecord> History, int KeptEpoch, bool HasEnded, Metrics? Metrics,
    ScoredDigits? Scored, string? WhyNoPictures)
{
    /// <summary>The name of the run's folder.</summary>
    public string Name => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(Folder.Path)));

    /// <summary>Time of training, without validation.</summary>
    public double Seconds => History.Sum(epoch => epoch.Seconds);

    /// <summary>All images that runs trained on, divided by their seconds; 0 before the first epoch has ended.</summary>
    public static double ImagesPerSecond(IEnumerable<RunReport> runs) =>
        runs.Sum(run => run.History.Sum(epoch => epoch.ImagesPerSecond * epoch.Seconds))
            / Math.Max(runs.Sum(run => run.Seconds), double.Epsilon);

    /// <summary>Reads a run, and predicts its evaluated digits again if the data still exists. The cache holds data by path.</summary>
    public static RunReport Load(string path, Dictionary<string, DigitDataset> cache)
    {
        RunFolder folder = new(path);
        RunRecord record = folder.ReadRecord();
        NetworkSpec network = record.Options.CreateNetwork();
        Metrics? metrics = folder.ReadMetrics();
        // Until a run ends, its state counts: if the process was killed, the other files may be older.
        TrainingState? state = metrics is null ? folder.ReadState(network, record, data: null) : null;
        IReadOnlyList<EpochRecord> history = metrics is not null ? folder.ReadHistory() : state?.History ?? [];
        NetworkWeights? kept = state is { Optimizer.Step: > 0 } ? state.Kept(record.Options)
            : metrics is not null && File.Exists(folder.ModelFile) ? Checkpoint.LoadWeights(folder.ModelFile, network).Weights
            : null;
        (ScoredDigits? scored, string? why) = kept is not null ? Score(kept, record, cache) : (null, "the run has kept no weights");
        int keptEpoch = TrainingState.KeptEpoch(history, record.Options);
        return new RunReport(folder, record, history, keptEpoch, metrics is not null, metrics ?? scored?.Metrics, scored, why);
    }

    private static (ScoredDigits? Scored, string? Why) Score(NetworkWeights kept, RunRecord record, Dictionary<string, DigitDataset> cache)
    {
        string path = record.Data.Path ?? "";
        DigitDataset? data;
        try
        {
            data = cache.GetValueOrDefault(path) ?? (cache[path] = CommonOptions.LoadTraining(record.Data.Path, quiet: true));
        }
        catch (InputException e)
        {
            return (null, Path.Exists(path) ? e.Message : $"{path}: no such file any more"); // without advice on how to give digits
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
