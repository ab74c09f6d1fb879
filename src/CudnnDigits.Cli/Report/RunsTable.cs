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
        StringBuilder text = new();
        foreach (string[] row in rows)
        {
            text.AppendLine(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }

        text.AppendLine("validation: after the last epoch, nothing picked");
        if (RunFacts.WhyNotComparable(runs) is { } warning)
        {
            text.AppendLine(warning);
        }

        return OverSeeds is { } spread ? text.AppendLine($"{runs.Count} seeds: {spread.ToPercent()}").ToString() : text.ToString();
    }

    private static string Validation(RunReport run) => run.HasEnded ? Last(run)?.ToString("P2") ?? "none" : "not ended";

    private static double? Last(RunReport run) => run.History is [.., { ValidationAccuracy: { } accuracy }] ? accuracy : null;
}
