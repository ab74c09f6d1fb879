using CudnnDigits.Cli.Studies;

namespace CudnnDigits.Cli.Report;

/// <summary>Several runs as a table for the terminal: what they reached, and the options in which they differ.</summary>
internal sealed class RunsTable
{
    private static readonly string[] OfTheMachine = ["device", "versions"];

    private readonly IReadOnlyList<RunReport> _runs;
    private readonly (string Name, string[] Values)[] _differences;

    public RunsTable(IReadOnlyList<RunReport> runs)
    {
        _runs = runs;
        _differences = [.. RunFacts.Differences(runs).Select(facts => (facts[0].Name, facts.Select(fact => fact.Value).ToArray())).Where(option => !OfTheMachine.Contains(option.Name))];
    }

    /// <summary>Validation accuracy of the runs' last epochs; null unless they are the same training from several seeds, each of them ended and with digits held out.</summary>
    public Spread? OverSeeds => _differences is [("seed", { } seeds)] && seeds.Distinct().Count() == seeds.Length
        && _runs.All(run => run.HasEnded && Last(run) is not null) ? Spread.Of(_runs.Select(run => Last(run)!.Value)) : null;

    public override string ToString()
    {
        string[][] rows =
        [
            ["run", "validation", .. _differences.Select(option => option.Name)],
            .. _runs.Select((run, i) => (string[])[run.Name, run.HasEnded ? Last(run)?.ToString("P2") ?? "none" : "not ended", .. _differences.Select(option => option.Values[i])])
        ];
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        StringBuilder text = new();
        foreach (string[] row in rows)
        {
            text.AppendLine(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }

        text.AppendLine("validation: after the last epoch, nothing picked");
        if (RunFacts.WhyNotComparable(_runs) is { } warning)
        {
            text.AppendLine(warning);
        }

        return OverSeeds is { } spread ? text.AppendLine($"{_runs.Count} seeds: {spread.ToPercent()}").ToString() : text.ToString();
    }

    private static double? Last(RunReport run) => run.History is [.., { ValidationAccuracy: { } accuracy }] ? accuracy : null;
}
