using CudnnDigits.Cli.Studies;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Report;

/// <summary>Several runs as a table for the terminal: their accuracy, and the options in which they differ.</summary>
internal sealed class RunsTable(IReadOnlyList<RunReport> runs)
{
    private static readonly string[] OfTheMachine = ["device", "versions"];

    private readonly RunFact[][] _differences = Differences(runs);

    /// <summary>
    /// Validation accuracy after the last epochs. Null unless all runs are the same training with different seeds, have ended, and have
    /// held digits out.
    /// </summary>
    public Spread? OverSeeds => _differences is [[{ Name: "seed" }, ..] seeds] && seeds.Distinct().Count() == seeds.Length
        && runs.All(run => run.HasEnded && Last(run) is not null) ? Spread.Of(runs.Select(run => Last(run)!.Value)) : null;

    /// <summary>
    /// A row per run, or, where a terminal is too narrow for that, a row per option with so many runs side by side as fit it. A terminal
    /// has short paths; what is piped into a file has whole ones.
    /// </summary>
    public string Format(int width)
    {
        RunFact[][] differences = width == int.MaxValue ? _differences : Differences([.. runs.Select(Near)]);
        string[][] rows =
        [
            ["run", "validation", .. differences.Select(facts => facts[0].Name)],
            .. runs.Select((run, i) => (string[])[run.Name, Validation(run), .. differences.Select(facts => facts[i].Value)]),
        ];
        string[] lines = [.. Lines(rows)];
        return string.Join(Environment.NewLine, [
            .. lines.Max(line => line.Length) <= width ? lines : Turned(rows[0], rows[1..], width),
            "validation accuracy after the last epoch, not the best one",
            .. RunFacts.WhyNotComparable(runs) is { } warning ? (string[])[warning] : [],
            .. OverSeeds is { } spread ? (string[])[$"{runs.Count} seeds: {spread.ToPercent()}"] : [],
            "",
        ]);
    }

    private static RunFact[][] Differences(IReadOnlyList<RunReport> runs) =>
        [.. RunFacts.Differences(runs).Where(facts => !OfTheMachine.Contains(facts[0].Name))];

    private static RunReport Near(RunReport run) => run with
    {
        Record = run.Record with
        {
            InitFrom = Near(run.Record.InitFrom),
            Data = run.Record.Data with { Path = Near(run.Record.Data.Path) },
        },
    };

    private static string? Near(string? path) => path is null ? null : ThisProgram.Shortest(path);

    private static IEnumerable<string> Lines(string[][] rows)
    {
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        return rows.Select(row => string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
    }

    /// <summary>A row per name and a column per run; runs for which there is no room follow below, after a blank line.</summary>
    private static IEnumerable<string> Turned(string[] names, string[][] runs, int width)
    {
        int room = width - names.Max(name => name.Length);
        int longest = runs.SelectMany(run => run).SelectMany(cell => Screen.Wrap(cell, 1)).Max(word => word.Length);
        int parts = (int)Math.Ceiling((double)runs.Length / Math.Max(1, room / (longest + 2)));
        int together = (int)Math.Ceiling((double)runs.Length / parts);
        return runs.Chunk(together).SelectMany(part => Lines([.. names.SelectMany((name, i) =>
            Wrapped([[name], .. part.Select(run => Screen.Wrap(run[i], room / together - 2))]))]).Append(""));
    }

    /// <summary>The rows of a row whose cells have several lines.</summary>
    private static IEnumerable<string[]> Wrapped(string[][] cells) => Enumerable.Range(0, cells.Max(cell => cell.Length))
        .Select(line => cells.Select(cell => cell.ElementAtOrDefault(line) ?? "").ToArray());

    private static string Validation(RunReport run) => run.HasEnded ? Last(run)?.ToString("P2") ?? "none" : "not ended";

    private static double? Last(RunReport run) => run.History is [.., { ValidationAccuracy: { } accuracy }] ? accuracy : null;
}
