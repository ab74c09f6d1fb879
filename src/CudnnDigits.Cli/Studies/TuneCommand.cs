using CudnnDigits.Cli.Terminal;
using CudnnDigits.Inference;

namespace CudnnDigits.Cli.Studies;

/// <summary>A trial of trials.csv. Number 0 is the network's defaults; a trial that diverged has no run.</summary>
internal sealed record Trial(int Number, TrainingOptions Options, FinishedRun? Run)
{
    public EpochRecord? Last => Run?.Last;

    /// <summary>Validation error in percent; null where the trial diverged.</summary>
    public double? Error => 100 * (1 - Last?.ValidationAccuracy);

    /// <summary>Sorts the better first: validation accuracy, then loss.</summary>
    public static IEnumerable<Trial> Best(IEnumerable<Trial> trials) =>
        trials.OrderByDescending(trial => trial.Last?.ValidationAccuracy ?? -1)
            .ThenBy(trial => trial.Last?.ValidationLoss ?? double.MaxValue).ThenBy(trial => trial.Number);
}

/// <summary>Result of <c>tune --json</c>: winner and defaults, trained for the most epochs, on digits that the search never saw.</summary>
internal sealed record TuneResult(
    string Model, int Trials, int EpochsSpent, int Winner, TrainingOptions Options, double ValidationAccuracy, double TestAccuracy,
    double DefaultsValidationAccuracy, double DefaultsTestAccuracy, int TestDigits, string Run);

/// <summary><c>tune</c>: a seeded search for training options, within a budget, that resumes.</summary>
internal static class TuneCommand
{
    private static readonly Option<int?> Budget = CommonOptions.Ranged(
        "--budget", "N", "Total epochs of all trials. Default: ten times --epochs.", 1, CommonOptions.MostBudget);

    public static Command Create() => Study.CommandOf(
        "tune", "Search learning rate, batch size, schedule, dropout and augmentation by successive halving within a budget of epochs.",
        Run,
        [TrainingOptionSet.Data, TrainingOptionSet.Model, TrainingOptionSet.Epochs, Budget, TrainingOptionSet.Seed, Study.Out("tune")]);

    private static void Run(ParseResult result)
    {
        using Interruption interruption = new();
        using Study study = Study.Open(result, () =>
        {
            TrainingOptions options = TrainingOptionSet.Resolve(result) with { Validation = 0.2, Test = 0.2, KeepLast = true };
            int budget = result.GetValue(Budget) ?? 10 * options.Epochs, least = Rung.LeastBudget(options.Epochs);
            return budget >= least
                ? new StudyPlan(options, budget)
                : throw new InputException($"--budget {budget} is too little to compare anything at "
                    + $"{Figures.Count(options.Epochs, "epoch")}; give at least {least}, or fewer --epochs");
        });

        List<Trial> trials = Search(study, interruption.Token);
        TuneResult summary = Judge(study, trials);
        study.End(result, summary, TunePage.Of(study, summary, trials), Format(study, summary));
    }

    public static string Page(Study study)
    {
        string file = Path.Combine(study.Folder, "tune.json"), mend = $"make it again with {study.ResumeWith}";
        TuneResult result = RecordFile.Read(file, StudyJson.Default.TuneResult, mend)
            ?? throw new InputException($"{study.Folder}: has not ended; go on with {study.ResumeWith}");
        List<Trial> trials = Search(study, CancellationToken.None);
        return LastRung(trials).Any(trial => trial.Number == result.Winner)
            ? TunePage.Of(study, result, trials)
            : throw new InputException($"{file}: is damaged, trial {result.Winner} is not in the last rung; {mend}");
    }

    /// <summary>Runs rung after rung. The defaults are among the trials of each.</summary>
    private static List<Trial> Search(Study study, CancellationToken cancellation)
    {
        List<Trial> trials = [];
        TrainingOptions defaults = study.Record.Options;
        IReadOnlyList<Rung> rungs = Rung.Plan(defaults.Epochs, study.Record.Size);
        study.Plan(rungs.SelectMany(rung => Enumerable.Repeat(defaults with { Epochs = rung.Epochs }, rung.Trials)));
        foreach (Rung rung in rungs)
        {
            // The defaults go all the way, whatever they score: they are what the winner is compared with.
            IEnumerable<int> best = Trial.Best(LastRung(trials)).Select(trial => trial.Number).Where(number => number > 0);
            int[] numbers = [0, .. trials.Count == 0 ? Enumerable.Range(1, rung.Trials - 1) : best.Take(rung.Trials - 1)];
            foreach ((int i, int number) in numbers.Index())
            {
                string label = $"{Figures.Count(rung.Epochs, "epoch")}, {i + 1} of {numbers.Length}, trial {number}";
                trials.Add(RunTrial(study, number, rung, label, keep: rung == rungs[^1], cancellation));
                if (study.Data is not null)
                {
                    study.Write("trials.csv", TuneFiles.Csv(trials));
                    study.Write("tune.svg", TuneFiles.Picture(study.Record, trials));
                }
            }
        }

        return trials;
    }

    /// <summary>The trials that were trained for the most epochs; the defaults are among them.</summary>
    public static IEnumerable<Trial> LastRung(IReadOnlyList<Trial> trials) =>
        trials.Where(trial => trial.Options.Epochs == trials[^1].Options.Epochs);

    private static Trial RunTrial(Study study, int number, Rung rung, string label, bool keep, CancellationToken cancellation)
    {
        TrainingOptions options = TrialSpace.Draw(study.Record.Options, number) with { Epochs = rung.Epochs };
        string name = NameOf(number, rung.Epochs);
        if (study.Data is null)
        {
            return new Trial(number, options, FinishedRun.Read(Path.Combine(study.Folder, name))); // one that has not ended has diverged
        }

        try
        {
            FinishedRun run = study.Run(name, label, options, cancellation);
            if (!keep)
            {
                // The figures stay; weights and page of hundreds of trials would fill a disk.
                Array.ForEach([run.Folder.StateFile, run.Folder.ModelFile, run.Folder.ReportFile], File.Delete);
            }

            return new Trial(number, options, run);
        }
        catch (RunFailedException e) when (e.InnerException is DivergedException)
        {
            return new Trial(number, options, null);
        }
    }

    /// <summary>Scores winner and defaults on the digits that neither training nor choosing has seen.</summary>
    private static TuneResult Judge(Study study, List<Trial> trials)
    {
        Trial[] last = [.. LastRung(trials)];
        Trial winner = Trial.Best(last).First(), defaults = last.First(trial => trial.Number == 0);
        int[] rows = study.Record.Options.Split.Draw(study.Data!.Labels).Test;
        return new TuneResult(
            study.Record.Options.Model, trials.DistinctBy(trial => trial.Number).Count(), trials.Sum(trial => trial.Options.Epochs),
            winner.Number, winner.Options, winner.Last?.ValidationAccuracy ?? 0, Test(winner), defaults.Last?.ValidationAccuracy ?? 0,
            Test(defaults), rows.Length, Path.Combine(study.Folder, NameOf(winner.Number, winner.Options.Epochs)));

        double Test(Trial trial)
        {
            if (trial.Run is not { } run)
            {
                return 0;
            }

            NetworkWeights weights = Checkpoint.LoadWeights(run.Folder.ModelFile, trial.Options.CreateNetwork()).Weights;
            using DigitClassifier classifier = new(weights, new ClassifierOptions { Device = "cpu" });
            return classifier.Evaluate(study.Data, rows).Accuracy;
        }
    }

    private static string NameOf(int trial, int epochs) => $"trial-{trial:D3}-epochs-{epochs}";

    private static string Format(Study study, TuneResult result) => $"""
        {result.Trials} trials, {result.EpochsSpent:N0} epochs; winner trial {result.Winner}{(result.Winner == 0 ? ", the defaults" : "")}

                        validation   test
        winner          {result.ValidationAccuracy,-11:P2}  {result.TestAccuracy:P2}
        the defaults    {result.DefaultsValidationAccuracy,-11:P2}  {result.DefaultsTestAccuracy:P2}

        The search never saw the {result.TestDigits:N0} test digits. It chose the winner by its validation accuracy, which flatters it.

        trials    {Path.Combine(study.Folder, "trials.csv")}
        picture   {Path.Combine(study.Folder, "tune.svg")}
        run       {result.Run}
        report    {study.PageFile}
        use it    {CommandLineOf(study.Record, result.Options)}
        """;

    public static string CommandLineOf(StudyRecord study, TrainingOptions o)
    {
        string data = study.Data.Path is { } path ? $" --data {Shell.OfUser.Quote(path)}" : "";
        IEnumerable<string> options = TrainingField.All
            .Where(field => field.Option is not null && field.Name != nameof(o.Seed) && field.Text(o) is not null)
            .Where(field => field.Search is not null || field.IsChanged(o))
            .Select(field => $"{field.Option} {(field.AsNumber is { } number ? TrainingField.Exact(number(o)!.Value) : field.Show(o))}");
        return $"{ThisProgram.Command("train")}{data} --model {o.Model} {string.Join(' ', options)}";
    }
}
