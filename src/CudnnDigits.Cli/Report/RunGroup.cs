using CudnnDigits.Cli.Studies;

namespace CudnnDigits.Cli.Report;

/// <summary>The runs of one training: a single run, or several that differ only in their seed or fold.</summary>
internal sealed record RunGroup(string Name, IReadOnlyList<RunReport> Runs)
{
    public RunReport First => Runs[0];

    public bool IsSingle => Runs.Count == 1;

    /// <summary>Metrics of the digits of all runs together. Null if a run has none.</summary>
    public Metrics? Metrics { get; } = Runs.All(run => run.Metrics is not null) ? Pool([.. Runs.Select(run => run.Metrics!)]) : null;

    /// <summary>The evaluated digits of all runs. Null if those of a run are not available.</summary>
    public ScoredDigits? Scored { get; } =
        Runs.All(run => run.Scored is not null) ? ScoredDigits.Pool([.. Runs.Select(run => run.Scored!)]) : null;

    /// <summary>Metrics of several sets of digits as if they were one set.</summary>
    public static Metrics Pool(IReadOnlyList<Metrics> parts)
    {
        int[] classes = [.. Enumerable.Range(0, DigitDataset.Classes)];
        int[][] confusion = Array.ConvertAll(
            classes, label => Array.ConvertAll(classes, predicted => parts.Sum(part => part.Confusion[label][predicted])));
        return parts is [Metrics only] ? only : Metrics.FromConfusion(confusion, parts.Sum(part => part.Loss * part.Samples));
    }

    /// <summary>A figure of the metrics, over the runs.</summary>
    public Spread Over(Func<Metrics, double> figure) => Spread.Of(Runs.Select(run => figure(run.Metrics!)));

    /// <summary>A figure for each epoch, over the runs that have it.</summary>
    public IReadOnlyList<(int Epoch, Spread Figure)> ByEpoch(Func<EpochRecord, double?> figure) =>
        [.. Runs.SelectMany(run => run.History).Where(epoch => figure(epoch) is not null)
            .GroupBy(epoch => epoch.Epoch, epoch => figure(epoch)!.Value).OrderBy(epochs => epochs.Key)
            .Select(epochs => (epochs.Key, Spread.Of(epochs)))];
}
