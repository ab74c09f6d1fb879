using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Studies;

/// <summary>Shares of the last epoch over the seeds, and the report's own where it trained so.</summary>
internal sealed record CompareRow(
    string Model, string Augmentation, int Epochs, Spread TrainingAccuracy, Spread ValidationAccuracy, Spread MacroF1,
    double? ReportTrainingAccuracy, double? ReportValidationAccuracy, double? ReportKaggleScore);

internal sealed record CompareResult(string? Data, int ValidationDigits, int Seeds, IReadOnlyList<CompareRow> Rows);

/// <summary><c>compare</c>: the university report's results table, made again by its own protocol, with and without augmentation.</summary>
internal static class CompareCommand
{
    private static readonly Option<int?> Seeds = CommonOptions.Ranged(
        "--seeds", "N", "Number of seeds for each configuration. Default: 3.", 1, CommonOptions.MostSeeds);
    private static readonly string Names = string.Join(", ", DigitNetworks.Names), ReportedNames = string.Join(',', Reported);
    private static readonly Option<string?> Models = CommonOptions
        .Value("--models", "NAME,…", $"Networks to compare, out of {Names}. Default: {ReportedNames}.")
        .Refusing(value => AreModels(value.Split(',')) ? null
            : $"--models is {value}, expected names of {Names}, each once, such as {ReportedNames}");
    private static readonly Option<int?> Epochs = CommonOptions.Ranged(
        "--epochs", "N", $"Epochs of every network. Default: {DigitNetworks.ForEach(network => network.Training.Epochs)}.",
        1, CommonOptions.MostEpochs);

    public static Command Create() => Study.CommandOf(
        "compare", "Train networks by the university report's protocol (80/20 split, Adam at 0.001), with and without augmentation, "
        + "and show both results.",
        Run, [TrainingOptionSet.Data, Models, Seeds, Epochs, Study.Out("compare")]);

    /// <summary>20 % held out, batch 64, Adam at 0.001, lowered by a schedule where the report says so; it gives no epochs.</summary>
    public static TrainingOptions Protocol(NetworkSpec network, bool augmented, ulong seed, int? epochs)
    {
        TrainingOptions defaults = TrainingOptions.For(
            network.Name, network.Report is { LowersRate: true } ? LearningRateSchedule.Plateau : LearningRateSchedule.Constant);
        return defaults with
        {
            Epochs = epochs ?? defaults.Epochs,
            BatchSize = 64,
            Seed = seed,
            Augmentation = augmented ? AugmentationSpec.Standard : AugmentationSpec.None,
            KeepLast = true,
        };
    }

    private static void Run(ParseResult result)
    {
        using Interruption interruption = new();
        NetworkSpec[] networks = [.. (result.GetValue(Models)?.Split(',') ?? Reported).Select(name => DigitNetworks.Find(name)!)];
        // study.json keeps the epochs that were asked for in the options; 0 stands for each network's own.
        using Study study = Study.Open(result, () => new(
            Protocol(networks[0], augmented: false, seed: 0, result.GetValue(Epochs) ?? 0),
            result.GetValue(Seeds) ?? 3, [.. networks.Select(network => network.Name)]));
        CompareResult summary = Summarize(study, Runs(study, interruption.Token));
        string remark = Remark(summary);
        study.Write("compare.txt", $"{Format(summary, int.MaxValue)}\n\n{remark}\n");
        string text = $"{Format(summary, Screen.OutputWidth)}\n\n{remark}\n\nreport    {study.PageFile}";
        study.End(result, summary, Page(study), text);
    }

    public static string Page(Study study)
    {
        ILookup<Kind, FinishedRun> runs = Runs(study, CancellationToken.None);
        CompareResult result = Summarize(study, runs);
        RunGroup[] groups = [.. runs.Select(kind =>
            new RunGroup($"{kind.Key.Network.Name}{(kind.Key.Augmented ? ", augmented" : "")}", study.Load(kind)))];
        double[] reported = [.. result.Rows.Select(row => 100 * (1 - row.ReportValidationAccuracy) ?? double.NaN)];
        Spread[] errors = [.. groups.Select(group => group.Over(metrics => 100 * (1 - metrics.Accuracy)))];
        double most = errors.SelectMany(error => error.Values).Concat(reported.Where(double.IsFinite)).Max();
        IEnumerable<(double, double)> each = errors.SelectMany((error, i) => error.Values.Select(value => (i - 0.15, value)));
        Chart chart = new Chart(
            new ChartAxis("", Labels: [.. groups.Select(group => group.Name.Replace(", ", "\n", StringComparison.Ordinal))]),
            new ChartAxis("", Least: 0, Most: 1.1 * most, Unit: " %"))
            .AddPoints(result.Seeds > 1 ? "each seed" : null, 4, each, 3)
            .AddBars(0, errors.Select((error, i) => ((double)i, error.Low, error.High)))
            .AddPoints(result.Seeds > 1 ? "ours, mean ± deviation" : "ours", 0, errors.Select((error, i) => ((double)i, error.Mean)), 5)
            .AddPoints("the report", 1, reported.Select((error, i) => (i + 0.15, error)).Where(point => double.IsFinite(point.error)), 5);
        const string Description = "Validation error of each network, with and without augmentation, beside the report's; "
            + "the table has the same figures";
        string[] head = ["", "epochs", "training", "validation", "report: training", "report: validation", "report: Kaggle"];
        IEnumerable<string[]> rows = result.Rows.Select((row, i) => (string[])[
            groups[i].Name, $"{row.Epochs}", row.TrainingAccuracy.ToPercent(), row.ValidationAccuracy.ToPercent(),
            $"{row.ReportTrainingAccuracy:P2}", $"{row.ReportValidationAccuracy:P2}", $"{row.ReportKaggleScore:F5}"]);
        return HtmlReport.Page(
            "The university report's table, made again",
            $"Accuracy {(result.Seeds > 1 ? $"over {result.Seeds} seeds, mean ± standard deviation" : "of one seed")}; "
            + $"{result.ValidationDigits:N0} digits held out; Adam at 0.001, batch 64; last epoch, never the best.",
            $"""
            {Html.Table(head, rows, isStacked: true)}
            <div class="pair"><div class="beside">{chart.ToFigure("kinds", "Validation error", Description)}</div>
            <p class="note beside">{Html.Text(Remark(result))}</p></div>
            """,
            groups);
    }

    /// <summary>Names of the networks that the report has, which are compared where none are named.</summary>
    private static string[] Reported => [.. DigitNetworks.All.Where(network => network.Report is not null).Select(network => network.Name)];

    /// <summary>Whether names are of networks of the program, each once.</summary>
    public static bool AreModels(IReadOnlyList<string> names) =>
        names.Count > 0 && names.All(name => DigitNetworks.Find(name) is not null) && names.Distinct().Count() == names.Count;

    private static ILookup<Kind, FinishedRun> Runs(Study study, CancellationToken cancellation)
    {
        int? epochs = study.Record.Options.Epochs is > 0 and int given ? given : null;
        IEnumerable<NetworkSpec> networks = (study.Record.Models ?? Reported).Select(name => DigitNetworks.Find(name)!);
        Kind[] kinds = [.. networks.SelectMany(network => (Kind[])[new(network, Augmented: false), new(network, Augmented: true)])];

        // Seed by seed, so that an interrupted comparison has something of each kind.
        (Kind Kind, ulong Seed, TrainingOptions Options)[] runs = [.. Enumerable.Range(0, study.Record.Size).SelectMany(
            seed => kinds.Select(kind => (kind, (ulong)seed, Protocol(kind.Network, kind.Augmented, (ulong)seed, epochs))))];
        study.Plan(runs.Select(run => run.Options));
        return runs.ToLookup(run => run.Kind, run => study.Run(
            $"{run.Kind.Network.Name}-{(run.Kind.Augmented ? "augmented" : "plain")}-seed{run.Seed}",
            $"{run.Kind.Network.Name}, {(run.Kind.Augmented ? "augmented" : "as it is")}, seed {run.Seed}",
            run.Options,
            cancellation));
    }

    private static CompareResult Summarize(Study study, ILookup<Kind, FinishedRun> runs) => new(
        study.Record.Data.Path, runs.First().First().Metrics.Samples, study.Record.Size,
        [.. runs.Select(kind => RowOf(kind.Key, [.. kind]))]);

    private static CompareRow RowOf(Kind kind, IReadOnlyList<FinishedRun> runs)
    {
        ReportedTraining? report = kind.Network.Report is { } own && own.Augmented == kind.Augmented ? own : null;
        return new CompareRow(
            kind.Network.Name, kind.Augmented ? "standard" : "none", runs[0].Options.Epochs,
            Spread.Of(runs.Select(run => run.Last.TrainAccuracy)), Spread.Of(runs.Select(run => run.Metrics.Accuracy)),
            Spread.Of(runs.Select(run => run.Metrics.MacroF1)),
            report?.TrainingAccuracy, report?.ValidationAccuracy, report?.KaggleScore);
    }

    private static string Remark(CompareResult result)
    {
        double[] scores = [.. result.Rows.Select(row => row.ReportKaggleScore).OfType<double>()];
        string reported = string.Join(" and ", scores.Select(score => $"{score:F5}"));
        string apart = scores.Length < 2 ? "" : $"The report's {reported} are {28_000 * (scores.Max() - scores.Min()):F0} digits "
            + "apart in 28,000, and the standard error of such a score is 20 digits (0.07 %): they do not tell its networks apart. ";
        return $"Kaggle keeps the labels of its test digits, so ours have no score. {apart}"
            + "Training accuracy is measured while training, with dropout and augmentation on."
            + (result.Data is not null ? ""
                : " The report trained on Kaggle's digits, which are harder than these drawings; give --data train.csv to compare.");
    }

    /// <summary>The result as a table; in a narrow terminal without the less important columns.</summary>
    private static string Format(CompareResult result, int width)
    {
        string mean = result.Seeds > 1 ? $"± standard deviation over {result.Seeds} seeds" : "of one seed";
        string data = result.Data ?? "built-in generated digits";
        return $"""
            data      {data}; {result.ValidationDigits:N0} digits held out; last epoch, never the best
            ours      mean {mean}; Adam at 0.001, batch 64

            {Line("network", "augmentation", "epochs", "training", "validation", "Kaggle")}
            {string.Join('\n', result.Rows.Select(Row))}
            """;

        string Row(CompareRow row)
        {
            string training = row.TrainingAccuracy.ToPercent(), validation = row.ValidationAccuracy.ToPercent();
            string ours = Line(row.Model, row.Augmentation, $"{row.Epochs}", training, validation, "");
            (training, validation) = ($"{row.ReportTrainingAccuracy:P2}", $"{row.ReportValidationAccuracy:P2}");
            return row.ReportTrainingAccuracy is null ? ours
                : $"{ours}\n{Line("", "the report", "", training, validation, $"{row.ReportKaggleScore:F5}")}";
        }

        string Line(string network, string augmentation, string epochs, string training, string validation, string kaggle)
        {
            const int All = 73, Most = 56;
            string left = $"{network,-9} {augmentation,-12}{(width < All ? "" : $"  {epochs,6}")}";
            return $"{left}{(width < Most ? "" : $"  {training,-15}")}  {validation,-15}{(width < All ? "" : $"  {kaggle}")}".TrimEnd();
        }
    }

    private sealed record Kind(NetworkSpec Network, bool Augmented);
}
