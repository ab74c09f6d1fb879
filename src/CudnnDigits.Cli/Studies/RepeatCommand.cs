using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Studies;

internal sealed record SeedResult(ulong Seed, string Run, double Accuracy, double MacroF1, double Loss);

/// <summary>Result of <c>repeat --json</c>: shares of the validation digits after the last epoch.</summary>
internal sealed record RepeatResult(string Model, int Epochs, IReadOnlyList<SeedResult> Seeds, Spread Accuracy, Spread MacroF1);

/// <summary><c>repeat</c>: one training from several seeds, each with its own weights, split, order, augmentation and dropout.</summary>
internal static class RepeatCommand
{
    private static readonly Option<int?> Seeds = CommonOptions.Ranged(
        "--seeds", "N", "Number of trainings, from --seed on. Default: 5.", 2, CommonOptions.MostSeeds);

    public static Command Create() => Study.CommandOf(
        "repeat", "Train from several seeds: mean ± deviation of the last epoch.", Run,
        [Seeds, Study.Out("repeat"), .. TrainingOptionSet.Training]);

    private static void Run(ParseResult result)
    {
        using Interruption interruption = new();
        using Study study = Study.Open(
            result, () => new(TrainingOptionSet.Resolve(result) with { KeepLast = true }, result.GetValue(Seeds) ?? 5));
        FinishedRun[] runs = Runs(study, interruption.Token);
        SeedResult[] seeds = [.. runs.Select(run =>
            new SeedResult(run.Options.Seed, run.Folder.Path, run.Metrics.Accuracy, run.Metrics.MacroF1, run.Metrics.Loss))];
        RepeatResult summary = new(
            study.Record.Options.Model, study.Record.Options.Epochs, seeds,
            Spread.Of(seeds.Select(seed => seed.Accuracy)), Spread.Of(seeds.Select(seed => seed.MacroF1)));
        study.End(result, summary, Page(study), $"{Format(summary)}\nreport    {study.PageFile}");
    }

    private static FinishedRun[] Runs(Study study, CancellationToken cancellation)
    {
        TrainingOptions o = study.Record.Options;
        TrainingOptions[] seeds = [.. Enumerable.Range(0, study.Record.Size).Select(i => o with { Seed = o.Seed + (ulong)i })];
        study.Plan(seeds);
        return [.. seeds.Select(run => study.Run($"seed-{run.Seed}", $"seed {run.Seed}", run, cancellation))];
    }

    public static string Page(Study study)
    {
        IReadOnlyList<RunReport> runs = study.Load(Runs(study, CancellationToken.None));
        string split = runs[0].Record.Options.Split.HoldsOut
            ? "each with a split of its own, so that digits are held out by some and not by others"
            : "nothing held out";
        return HtmlReport.Page(
            $"The same training from {runs.Count} seeds, {split}; the last epoch of each, not the best one.",
            new RunGroup($"{runs.Count} seeds", runs));
    }

    private static string Format(RepeatResult summary) => $"""
        {summary.Model}, {Figures.Count(summary.Epochs, "epoch")}, {summary.Seeds.Count} seeds, each with its own split; the last epoch

        seed   accuracy   macro F1      loss
        {string.Join('\n', summary.Seeds.Select(s => $"{s.Seed,4}  {s.Accuracy,9:P2}  {s.MacroF1,9:P2}  {s.Loss,8:F4}"))}

        accuracy  {summary.Accuracy.ToPercent()}
        macro F1  {summary.MacroF1.ToPercent()}

        """;
}
