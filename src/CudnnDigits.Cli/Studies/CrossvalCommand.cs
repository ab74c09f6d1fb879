using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Studies;

internal sealed record FoldResult(int Fold, string Run, int Samples, double Accuracy, double MacroF1, double Loss);

/// <summary>Result of <c>crossval --json</c>: shares of the held-out digits, each digit held out once.</summary>
internal sealed record CrossvalResult(
    string Model, int Epochs, IReadOnlyList<FoldResult> Folds, Spread Accuracy, Spread MacroF1, Metrics Pooled);

/// <summary><c>crossval</c>: stratified k-fold cross-validation, on one machine or fold by fold on several.</summary>
internal static class CrossvalCommand
{
    private const string ResultName = "crossval.json";

    private static readonly Option<int?> Folds = CommonOptions.Ranged(
        "--folds", "K", "Number of folds. Default: 5.", 2, CommonOptions.MostFolds);
    private static readonly Option<int?> Fold = CommonOptions.Ranged(
        "--fold", "k", "Train only fold k, from 1 to K, into a run folder; --collect collects such runs.", 1, CommonOptions.MostFolds);
    private static readonly Option<string[]> Collect = new("--collect")
    {
        Description = "Collect runs made with --fold: their folders, or folders that contain them.",
        HelpName = "DIR",
        AllowMultipleArgumentsPerToken = true,
    };
    private static readonly Option<string?> Out = CommonOptions.OutFolder(
        "Folder of the study, of the run of --fold, or for the report of --collect. "
        + "Default: runs/crossval-<UTC time>; none for --collect.");

    public static Command Create() => Study.CommandOf(
        "crossval", "Run k-fold cross-validation: train on all folds except one and score that one, for each fold. The last epoch counts.",
        Run, [Folds, Fold, Collect, Out, .. TrainingOptionSet.Training]);

    private static void Run(ParseResult result)
    {
        if (result.GetValue(Collect) is { Length: > 0 } folders)
        {
            CheckOut(result.GetValue(Out));
            Dictionary<string, DigitDataset> cache = [];
            Report(
                result, folders.SelectMany(FindRuns).Select(Read), result.GetValue(Out),
                runs => [.. runs.Select(run => RunReport.Load(run.Folder.Path, cache))]);
            return;
        }

        using Interruption interruption = new();
        if (result.GetValue(Fold) is { } fold && !Study.IsResumed(result))
        {
            RunFold(result, fold, interruption.Token);
            return;
        }

        using Study study = Study.Open(result, () => new(OptionsOf(result, fold: 1), result.GetValue(Folds) ?? 5));
        Report(result, Runs(study, interruption.Token), study.Folder, study.Load);
    }

    private static FinishedRun[] Runs(Study study, CancellationToken cancellation)
    {
        int count = study.Record.Size;
        TrainingOptions[] folds = [.. Enumerable.Range(1, count).Select(k => study.Record.Options with { Fold = k })];
        study.Plan(folds);
        return [.. folds.Select(o => study.Run($"fold-{o.Fold}", $"fold {o.Fold} of {count}", o, cancellation))];
    }

    public static string Page(Study study) => Page(study.Load(Runs(study, CancellationToken.None)));

    private static string Page(IReadOnlyList<RunReport> folds) => HtmlReport.Page(
        "Every digit is held out in one fold, and read by a network that was not trained on it; the last epoch of each, not the best one.",
        new RunGroup($"{folds.Count}-fold cross-validation", folds));

    private static void RunFold(ParseResult result, int fold, CancellationToken cancellation)
    {
        TrainingOptions options = OptionsOf(result, fold);
        if (fold > options.Folds)
        {
            throw new InputException($"--fold {fold} of --folds {options.Folds}: there is no such fold; choose 1 to {options.Folds}");
        }

        string? path = result.GetValue(TrainingOptionSet.Data);
        bool quiet = result.GetValue(TrainingOptionSet.Quiet);
        DigitDataset data = CommonOptions.LoadTraining(path, quiet);
        using TrainingRun run = TrainingRun.Create(
            started => result.GetValue(Out) ?? CommonOptions.NewFolder($"fold-{fold}-of-{options.Folds}", started),
            (data, RunData.Of(path, data)), options, Machine.From(result));
        string resumeWith = ThisProgram.Command("train", "--resume", run.Folder.Path);
        Metrics metrics = run.Train(TrainingReporter.Create(quiet, options), resumeWith, cancellation);
        CliJson.Print(
            result, ResultOf(fold, run.Folder, metrics),
            $"fold {fold} of {options.Folds}: {metrics.Accuracy:P2} of {Figures.Count(metrics.Samples, "digit")}, "
                + $"macro F1 {metrics.MacroF1:P2}\n"
            + $"run       {run.Folder.Path}");
    }

    private static FoldResult ResultOf(int fold, RunFolder folder, Metrics metrics) =>
        new(fold, folder.Path, metrics.Samples, metrics.Accuracy, metrics.MacroF1, metrics.Loss);

    private static TrainingOptions OptionsOf(ParseResult result, int fold) =>
        TrainingOptionSet.Resolve(result) with { Folds = result.GetValue(Folds) ?? 5, Fold = fold, KeepLast = true };

    /// <summary>A run's own folder, or those of all runs right under a folder.</summary>
    private static string[] FindRuns(string folder)
    {
        string[] below = Directory.Exists(folder) ? [.. Directory.GetDirectories(folder).Order(StringComparer.Ordinal)] : [];
        string[] runs = Array.FindAll(IsRun(folder) ? [folder] : below, IsRun);
        string wrong = Directory.Exists(folder) ? "holds no runs" : "no such folder";
        return runs.Length > 0
            ? runs
            : throw new InputException($"{folder}: {wrong}; give --collect the runs of --fold, or a folder that holds them");

        static bool IsRun(string path) => File.Exists(Path.Combine(path, "run.json"));
    }

    /// <summary>--collect writes two files, beside the folds say, and only over those that it has written.</summary>
    private static void CheckOut(string? folder)
    {
        bool isOwn = folder is not null && IsResult(Path.Combine(folder, ResultName));
        string[] foreign = isOwn ? ["run.json", Study.RecordName] : ["run.json", Study.RecordName, ResultName, Study.PageName];
        if (folder is not null && Array.Find(foreign, name => File.Exists(Path.Combine(folder, name))) is { } taken)
        {
            throw new InputException($"{folder}: holds {taken}, which --collect has not written; choose another --out");
        }
    }

    private static bool IsResult(string file)
    {
        try
        {
            return File.Exists(file) && JsonSerializer.Deserialize(RecordFile.ReadText(file), StudyJson.Default.CrossvalResult) is not null;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static FinishedRun Read(string folder) => FinishedRun.Read(folder)
        ?? throw new InputException($"{folder}: has not ended; go on with {ThisProgram.Command("train", "--resume", folder)}");

    private static CrossvalResult Summarize(FinishedRun[] folds) => new(
        folds[0].Options.Model, folds[0].Options.Epochs, [.. folds.Select(run => ResultOf(run.Options.Fold, run.Folder, run.Metrics))],
        Spread.Of(folds.Select(run => run.Metrics.Accuracy)), Spread.Of(folds.Select(run => run.Metrics.MacroF1)),
        RunGroup.Pool([.. folds.Select(run => run.Metrics)]));

    /// <summary>All folds of one cross-validation, each once.</summary>
    private static void Check(FinishedRun[] folds)
    {
        FinishedRun first = folds[0];
        foreach (FinishedRun run in folds)
        {
            if (run.Options.Folds == 0)
            {
                throw new InputException($"{run.Folder.Path}: is no run of crossval --fold; leave it out");
            }

            if (run.Options with { Fold = first.Options.Fold } != first.Options
                || run.Folder.ReadRecord().Data.Fingerprint != first.Folder.ReadRecord().Data.Fingerprint)
            {
                throw new InputException($"{run.Folder.Path}: was made with other options or data than {first.Folder.Path}; "
                    + "collect the folds of one cross-validation");
            }
        }

        int count = first.Options.Folds;
        for (int fold = 1; fold <= count; fold++)
        {
            string[] held = [.. folds.Where(run => run.Options.Fold == fold).Select(run => run.Folder.Path)];
            if (held.Length != 1)
            {
                throw new InputException(held.Length == 0
                    ? $"fold {fold} of {count} is missing; run "
                        + $"{ThisProgram.Command("crossval", "--folds", $"{count}", "--fold", $"{fold}")} with the same options as "
                        + "the other folds"
                    : $"fold {fold} is there {held.Length} times ({string.Join(", ", held)}); leave all but one out");
            }
        }
    }

    /// <summary>Prints the summary and, where there is a folder, leaves it there too, with a page.</summary>
    private static void Report(
        ParseResult result, IEnumerable<FinishedRun> runs, string? folder, Func<IEnumerable<FinishedRun>, IReadOnlyList<RunReport>> load)
    {
        FinishedRun[] folds = [.. runs.OrderBy(run => run.Options.Fold)];
        Check(folds);
        CrossvalResult summary = Summarize(folds);
        string text = Format(summary, Screen.OutputWidth);
        if (folder is not null)
        {
            string page = Path.Combine(folder, Study.PageName);
            CommonOptions.CreateFolder(folder);
            AtomicFile.WriteText( // first: it says whose folder this is
                Path.Combine(folder, ResultName), CliJson.Format(isJson: true, summary, "") + "\n");
            AtomicFile.WriteText(page, Page(load(folds)));
            text += $"\nreport    {page}";
        }

        CliJson.Print(result, summary, text, mustArrive: folder is null);
    }

    /// <summary>The result; in a narrow terminal without the counts of digits.</summary>
    private static string Format(CrossvalResult summary, int width)
    {
        bool counts = width >= MetricsTable.WithSupport;
        string epochs = Figures.Count(summary.Epochs, "epoch");
        IEnumerable<string> folds = summary.Folds.Select(f =>
            $"{f.Fold,4}  {f.Accuracy,9:P2}  {f.MacroF1,9:P2}  {f.Loss,8:F4}{(counts ? $"  {f.Samples,8:N0}" : "")}");
        return $"""
            {summary.Model}, {epochs}, {summary.Folds.Count} folds, each digit held out once; the last epoch of each

            fold   accuracy   macro F1      loss{(counts ? "    digits" : "")}
            {string.Join('\n', folds)}

            accuracy  {summary.Accuracy.ToPercent()}
            macro F1  {summary.MacroF1.ToPercent()}

            all folds together
            {MetricsTable.Format(summary.Pooled, width)}
            """;
    }
}
