using static CudnnDigits.Cli.Report.Html;

namespace CudnnDigits.Cli.Report;

internal static class HtmlReport
{
    /// <summary>The page of a run, or of several side by side.</summary>
    public static string Page(IReadOnlyList<RunReport> runs)
    {
        RunGroup[] groups = [.. runs.Select(run => new RunGroup(run.Name, [run]))];
        return runs is [RunReport only]
            ? Html.Page($"{only.Name}: {only.Record.Options.Model}", Section(groups[0], 0, "h1") + Footer($" into {only.Folder.Path}"))
            : Page($"{runs.Count} runs side by side", "", SideBySide(runs), groups);
    }

    /// <summary>A page about several groups of runs: a summary in HTML, their curves in common charts, and a section for each.</summary>
    public static string Page(string title, string lead, string summary, IReadOnlyList<RunGroup> groups) => Html.Page(title, $"""
        <header><h1>{Text(title)}</h1>{(lead.Length > 0 ? $"<p class=\"lead\">{Text(lead)}</p>" : "")}
        {(groups.Count < 2 ? "" : Contents(groups))}</header>
        {summary}
        {(groups.Count < 2 ? "" : Sections.Curves(groups, "all"))}
        {string.Concat(groups.Select((group, i) => Section(group, i, "h2")))}
        {Footer("")}
        """);

    /// <summary>The page of one training that was run several times. The group's name is the heading; the lead follows it.</summary>
    public static string Page(string lead, RunGroup group) =>
        Html.Page(group.Name, Section(group, 0, "h1", $"{Text(lead)} ") + Footer(""));

    private static string Contents(IReadOnlyList<RunGroup> groups)
    {
        IEnumerable<string> links = groups.Select((group, i) => $"<li><a href=\"#run-{i}\">{Text(group.Name)}</a></li>");
        return $"<nav aria-label=\"Runs\"><ul>{string.Concat(links)}</ul></nav>";
    }

    private static string Section(RunGroup group, int index, string heading, string lead = "") => $"""
        <section class="run" id="run-{index}">
        <header><{heading}>{Text(group.Name)}</{heading}>
        <p class="lead">{lead}{Circumstances(group.First)}</p></header>
        {Sections.All(group, $"run{index}")}
        </section>
        """;

    private static string Circumstances(RunReport run)
    {
        string data = run.Record.Data.Path is { } path ? Path.GetFileName(path) : "built-in generated digits";
        return $"The <b>{Text(run.Record.Options.Model)}</b> network on {Text(data)}, "
            + $"{run.Record.Started.ToString("d MMMM yyyy, HH:mm", CultureInfo.InvariantCulture)} UTC, {Text(run.Record.Device)}.";
    }

    private static string SideBySide(IReadOnlyList<RunReport> runs)
    {
        (string Name, Func<RunReport, string> Value)[] rows =
        [
            ("network", run => run.Record.Options.Model),
            ("accuracy", run => run.Metrics is { } m ? $"{m.Accuracy:P2}" : "not ended"),
            ("loss", run => run.Metrics is { } m ? $"{m.Loss:F4}" : ""),
            ("macro F1", run => run.Metrics is { } m ? $"{m.MacroF1:P2}" : ""),
            ("calibration error", run => run.Scored is { } scored ? $"{scored.CalibrationError():P2}" : ""),
            ("epochs trained", run => $"{run.History.Count} of {run.Record.Options.Epochs}{(run.HasEnded ? "" : ", not ended")}"),
            ("last epoch: training", run => run.History is [.., EpochRecord last] ? $"{last.TrainAccuracy:P2}" : ""),
            ("last epoch: validation", run => run.History is [.., { ValidationAccuracy: { } last }] ? $"{last:P2}" : ""),
            ("images/s", run => run.History.Count > 0 ? $"{RunReport.ImagesPerSecond([run]):N0}" : ""),
        ];
        IEnumerable<RunFact[]> figures = rows.Select(row => runs.Select(run => new RunFact(row.Name, row.Value(run))).ToArray());
        IEnumerable<RunFact[]> options = RunFacts.Differences(runs).Where(facts => !rows.Any(row => row.Name == facts[0].Name));
        string table = string.Concat(figures.Concat(options).Select(Row));
        IEnumerable<string> names = runs.Select((run, i) =>
            $"<th scope=\"col\" style=\"--own:var(--series-{i % Chart.SeriesColors})\">{Text(run.Name)}</th>");
        return $"""
            {(RunFacts.WhyNotComparable(runs) is { } warning ? $"<p class=\"warning\" role=\"note\">{Text(warning)}</p>" : "")}
            <div class="scroll"><table class="sides" style="--runs:{runs.Count}">
            <thead><tr><td></td>{string.Concat(names)}</tr></thead>
            <tbody>{table}</tbody></table></div>
            <p class="note">The rows below the figures are the options in which the runs differ.</p>
            """;

        static string Row(RunFact[] facts) => $"<tr><th scope=\"row\">{Text(facts[0].Name)}</th>{string.Concat(facts.Select(Cell))}</tr>";
        static string Cell(RunFact fact) => $"<td{Title(fact.Whole)}>{Parts(Text(fact.Value))}</td>";

        // A line ends rather between parts than in one, and rather after a folder than in a name.
        static string Parts(string text) => text.Replace("/", "/<wbr>", StringComparison.Ordinal).Split(", ") is { Length: > 1 } parts
            ? $"<span>{string.Join(",</span> <span>", parts)}</span>"
            : text;
    }

    private static string Footer(string place) =>
        $"<footer>Written by cudnn-digits {Checkpoint.Version}{Text(place)}. This page needs no network.</footer>";
}
