using CudnnDigits.Cli.Studies;
using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Report;

/// <summary>One training, as often as it was done: a single run, or several that differ in their seed or fold alone.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Runs">At least one run.</param>
internal sealed record RunGroup(string Name, IReadOnlyList<RunReport> Runs)
{
    /// <summary>The first run, for what all have in common.</summary>
    public RunReport First => Runs[0];

    public bool IsSingle => Runs.Count == 1;

    /// <summary>Metrics of all scored digits together; null where a run has none.</summary>
    public Metrics? Metrics { get; } = Runs.All(run => run.Metrics is not null) ? Pool([.. Runs.Select(run => run.Metrics!)]) : null;

    /// <summary>All scored digits; null where those of a run are not at hand.</summary>
    public ScoredDigits? Scored { get; } = Runs.All(run => run.Scored is not null) ? ScoredDigits.Pool([.. Runs.Select(run => run.Scored!)]) : null;

    public static RunGroup Of(RunReport run) => new(run.Name, [run]);

    /// <summary>Metrics of several sets of digits as if they were one set.</summary>
    public static Metrics Pool(IReadOnlyList<Metrics> parts) => parts is [Metrics only] ? only : Metrics.FromConfusion(
        [.. Enumerable.Range(0, DigitDataset.Classes).Select(label => (IReadOnlyList<int>)[.. Enumerable.Range(0, DigitDataset.Classes).Select(read => parts.Sum(part => part.Confusion[label][read]))])],
        parts.Sum(part => part.Loss * part.Samples));

    /// <summary>A figure of the metrics over the runs.</summary>
    public Spread Over(Func<Metrics, double> figure) => Spread.Of(Runs.Select(run => figure(run.Metrics!)));

    /// <summary>A figure by epoch, over the runs that have it.</summary>
    public IReadOnlyList<(int Epoch, Spread Figure)> ByEpoch(Func<EpochRecord, double?> figure) =>
        [.. Runs.SelectMany(run => run.History).Where(epoch => figure(epoch) is not null).GroupBy(epoch => epoch.Epoch).OrderBy(epochs => epochs.Key).Select(epochs => (epochs.Key, Spread.Of(epochs.Select(epoch => figure(epoch)!.Value))))];
}
