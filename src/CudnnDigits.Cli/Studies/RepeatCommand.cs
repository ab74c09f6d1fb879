using System.CommandLine;
using CudnnDigits.Cli.Report;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Studies;

/// <summary>A seed's part of <see cref="RepeatResult"/>.</summary>
internal sealed record SeedResult(ulong Seed, string Run, double Accuracy, double MacroF1, double Loss);

/// <summary>Result of <c>repeat --json</c>: shares of the validation digits after the last epoch.</summary>
internal sealed record RepeatResult(string Model, int Epochs, IReadOnlyList<SeedResult> Seeds, Spread Accuracy, Spread MacroF1);

/// <summary><c>repeat</c>: one training from several seeds, each with its own weights, split, order, augmentation and dropout.</summary>
internal static class RepeatCommand
{
    private static readonly Option<int?> Seeds = CommonOptions.Ranged("--seeds", "N", "Number of trainings, from --seed on. Default: 5.", 2, CommonOptions.MostSeeds);
    private static readonly Option<string?> Out = CommonOptions.OutFolder("Folder of the study. Default: runs/repeat-<UTC time>.");
    private static readonly Option<string?> Resume = Study.ResumeOption("study");

    private static readonly Option[] FixedByStudy = [.. TrainingOptionSet.Training, Seeds, Out, .. Machine.FixedByRun];

    public static Command Create()
    {
        Command command = new("repeat", "Train from several seeds: mean ± deviation of the last epoch.");
        command.AddRange([Seeds, Out, Resume, .. TrainingOptionSet.Training, .. Machine.Options, TrainingOptionSet.Quiet, TrainingOptionSet.Json]);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        using Interruption interruption = new();
        using Study study = Study.Open(result, Resume, FixedByStudy, () => Study.Create(
            result, result.GetValue(Out), TrainingOptionSet.Resolve(result) with { KeepLast = true }, result.GetValue(Seeds) ?? 5));
        FinishedRun[] runs = Runs(study, interruption.Token);
        RepeatResult summary = new(
            runs[0].Options.Model, runs[0].Options.Epochs,
            [.. runs.Select(run => new SeedResult(run.Options.Seed, run.Folder.Path, run.Metrics.Accuracy, run.Metrics.MacroF1, run.Metrics.Loss))],
            Spread.Of(runs.Select(run => run.Metrics.Accuracy)),
            Spread.Of(runs.Select(run => run.Metrics.MacroF1)));
        string json = JsonSerializer.Serialize(summary, StudyJson.Default.RepeatResult);
        study.Write(Study.PageName, Page(study));
        study.Write("repeat.json", json + "\n");
        Study.Tell(result, json, $"{Format(summary)}\nreport    {study.PageFile}");
        return ExitCode.Done;
    }

    private static FinishedRun[] Runs(Study study, CancellationToken cancellation)
    {
        TrainingOptions[] seeds = [.. Enumerable.Range(0, study.Record.Size).Select(i => study.Record.Options with { Seed = study.Record.Options.Seed + (ulong)i })];
        study.Plan(seeds);
        return [.. seeds.Select(o => study.Run($"seed-{o.Seed}", $"seed {o.Seed}", o, cancellation))];
    }

    /// <summary>The page of a study that has ended.</summary>
    public static string Page(Study study)
    {
        IReadOnlyList<RunReport> runs = study.Load(Runs(study, CancellationToken.None));
        string split = runs[0].Record.Options.Split.HoldsOut ? "each with a split of its own, so that digits are held out by some and not by others" : "nothing held out";
        return HtmlReport.Page($"The same training from {runs.Count} seeds, {split}; the last epoch of each, nothing picked.", new RunGroup($"{runs.Count} seeds", runs));
    }

    private static string Format(RepeatResult summary)
    {
        StringBuilder text = new();
        text.AppendLine($"{summary.Model}, {summary.Epochs} epoch{(summary.Epochs == 1 ? "" : "s")}, {summary.Seeds.Count} seeds, each with a split of its own; the last epoch of each");
        text.AppendLine();
        text.AppendLine("seed   accuracy   macro F1      loss");
        foreach (SeedResult seed in summary.Seeds)
        {
            text.AppendLine($"{seed.Seed,4}  {seed.Accuracy,9:P2}  {seed.MacroF1,9:P2}  {seed.Loss,8:F4}");
        }

        text.AppendLine();
        text.AppendLine($"accuracy  {summary.Accuracy.ToPercent()}");
        text.AppendLine($"macro F1  {summary.MacroF1.ToPercent()}");
        return text.ToString();
    }
}
