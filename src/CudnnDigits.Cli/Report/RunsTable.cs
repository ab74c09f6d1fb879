using CudnnDigits.Cli.Studies;

namespace CudnnDigits.Cli.Report;

/// <summary>Several runs as a table for the terminal: their accuracy, and the options in which they differ.</summary>
internal sealed class RunsTable(IReadOnlyList<RunReport> runs)
{
    private static readonly string[] OfTheMachine = ["device", "versions"];

    private readonly RunFact[][] _differences = [.. RunFacts.Differences(runs).Where(facts => !OfTheMachine.Contains(facts[0].Name))];

    /// <summary>
    /// Validation accuracy after the last epochs. Null unless all runs are the same training with different seeds, have ended, and have
    /// held digits out.
    /// </summary>
    public Spread? OverSeeds => _differences is [[{ Name: "seed" }, ..] seeds] && seeds.Distinct().Count() == seeds.Length
        && runs.All(run => run.HasEnded && Last(run) is not null) ? Spread.Of(runs.Select(run => Last(run)!.Value)) : null;

    public override string ToString()
    {
        string[][] rows =
        [
            ["run", "validation", .. _differences.Select(facts => facts[0].Name)],
            .. runs.Select((run, i) => (string[])[run.Name, Validation(run), .. _differences.Select(facts => facts[i].Value)]),
        ];
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        return string.Join(Environment.NewLine, [
            .. rows.Select(row => string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd()),
            "validation accuracy after the last epoch, not the best one",
            .. RunFacts.WhyNotComparable(runs) is { } warning ? (string[])[warning] : [],
            .. OverSeeds is { } spread ? (string[])[$"{runs.Count} seeds: {spread.ToPercent()}"] : [],
            "",
        ]);
    }

    private static string Validation(RunReport run) => run.HasEnded ? Last(run)?.ToString("P2") ?? "none" : "not ended";

    private static double? Last(RunReport run) => run.History is [.., { ValidationAccuracy: { } accuracy }] ? accuracy : null;
}
