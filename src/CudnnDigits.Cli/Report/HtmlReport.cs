using CudnnDigits.Model;
using CudnnDigits.Training;
using static CudnnDigits.Cli.Report.Html;

namespace CudnnDigits.Cli.Report;

/// <summary>Runs as one page that needs no network: figures, curves, confusion, pictures, calibration, options.</summary>
internal static class HtmlReport
{
    /// <summary>Writes a run's page, whole or not at all.</summary>
    public static void Write(string path, RunReport run) => AtomicFile.WriteText(path, writer => writer.Write(Page([run])));

    /// <summary>The page of a run, or of several side by side.</summary>
    public static string Page(IReadOnlyList<RunReport> runs)
    {
        RunGroup[] groups = [.. runs.Select(RunGroup.Of)];
        return runs is [RunReport only]
            ? Html.Page($"{only.Name}: {only.Record.Options.Model}", Section(groups[0], 0, "h1") + Footer($" into {only.Folder.Path}"))
            : Page($"{runs.Count} runs side by side", "", SideBySide(runs), groups);
    }

    /// <summary>A page on several groups of runs: what is to be said of all of them, their curves together, and each.</summary>
    /// <param name="title">Its heading.</param>
    /// <param name="lead">A line below it; may be empty.</param>
    /// <param name="summary">HTML: what they show together.</param>
    /// <param name="groups">The groups.</param>
    public static string Page(string title, string lead, string summary, IReadOnlyList<RunGroup> groups) => Html.Page(title, $"""
        <header><h1>{Text(title)}</h1>{(lead.Length > 0 ? $"<p class=\"lead\">{Text(lead)}</p>" : "")}
        {(groups.Count < 2 ? "" : $"<nav aria-label=\"Runs\"><ul>{string.Concat(groups.Select((group, i) => $"<li><a href=\"#run-{i}\">{Text(group.Name)}</a></li>"))}</ul></nav>")}</header>
        {summary}
        {(groups.Count < 2 ? "" : Sections.Curves(groups, "all"))}
        {string.Concat(groups.Select((group, i) => Section(group, i, "h2")))}
        {Footer("")}
        """);

    /// <summary>The page of one training, done several times.</summary>
    /// <param name="lead">A line below its heading.</param>
    /// <param name="group">Its runs, under a name that is the heading.</param>
    public static string Page(string lead, RunGroup group) => Html.Page(group.Name, $"""
        <header><h1>{Text(group.Name)}</h1><p class="lead">{Text(lead)} {Circumstances(group.First)}</p></header>
        {Sections.All(group, "run0")}
        {Footer("")}
        """);

    private static string Section(RunGroup group, int index, string heading) => $"""
        <section class="run" id="run-{index}">
        <header><{heading}>{Text(group.Name)}</{heading}>
        <p class="lead">{Circumstances(group.First)}</p></header>
        {Sections.All(group, $"run{index}")}
        </section>
        """;

    private static string Circumstances(RunReport run) =>
        $"The <b>{Text(run.Record.Options.Model)}</b> network on {Text(run.Record.Data.Path is { } path ? Path.GetFileName(path) : "built-in generated digits")}, "
        + $"{run.Record.Started.ToString("d MMMM yyyy, HH:mm", CultureInfo.InvariantCulture)} UTC, {Text(run.Record.Device)}.";

    private static string SideBySide(IReadOnlyList<RunReport> runs)
    {
        (string Name, Func<RunReport, string> Value)[] rows =
        [
            ("network", run => run.Record.Options.Model),
            ("accuracy", run => run.Metrics is { } m ? $"{m.Accuracy:P2}" : "not ended"),
            ("loss", run => run.Metrics is { } m ? m.Loss.ToString("F4", CultureInfo.InvariantCulture) : ""),
            ("macro F1", run => run.Metrics is { } m ? $"{m.MacroF1:P2}" : ""),
            ("calibration error", run => run.Scored is { } scored ? $"{scored.CalibrationError():P2}" : ""),
            ("last epoch: training", run => run.History is [.., EpochRecord last] ? $"{last.TrainAccuracy:P2}" : ""),
            ("last epoch: validation", run => run.History is [.., { ValidationAccuracy: { } last }] ? $"{last:P2}" : ""),
            ("images/s", run => $"{run.ImagesPerSecond:N0}"),
        ];
        string table = string.Concat(rows.Select(row => Row([.. runs.Select(run => new RunFact(row.Name, row.Value(run)))])))
            + string.Concat(RunFacts.Differences(runs).Where(facts => !rows.Any(row => row.Name == facts[0].Name)).Select(Row));
        return $"""
            {(RunFacts.WhyNotComparable(runs) is { } warning ? $"<p class=\"warning\" role=\"note\">{Text(warning)}</p>" : "")}
            <div class="scroll"><table class="sides">
            <thead><tr><td></td>{string.Concat(runs.Select((run, i) => $"<th scope=\"col\" style=\"--own:var(--series-{i % Chart.SeriesColors})\">{Text(run.Name)}</th>"))}</tr></thead>
            <tbody>{table}</tbody></table></div>
            <p class="note">Below the figures, the options in which the runs differ.</p>
            """;
    }

    private static string Row(RunFact[] facts) => $"<tr><th scope=\"row\">{Text(facts[0].Name)}</th>{string.Concat(facts.Select(fact => $"<td{Title(fact.Whole)}>{Text(fact.Value)}</td>"))}</tr>";

    private static string Footer(string place) => $"<footer>Written by cudnn-digits {Checkpoint.Version}{Text(place)}. This page needs no network.</footer>";
}
