using System.Text.RegularExpressions;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Studies;

/// <summary>A search as a page: what won, how sure that is, and every trial.</summary>
internal static partial class TunePage
{
    private const int FewTrials = 10;

    public static string Of(Study study, TuneResult result, IReadOnlyList<Trial> trials)
    {
        Trial[] last = [.. TuneCommand.LastRung(trials)];
        Trial winner = last.First(trial => trial.Number == result.Winner), defaults = last.First(trial => trial.Number == 0);
        (string Name, Trial Trial)[] judged = [($"The winner: trial {winner.Number}", winner), ("The defaults: trial 0", defaults)];
        RunGroup[] groups = [.. judged.Where(one => one.Trial.Run is not null).DistinctBy(one => one.Trial)
            .Select(one => new RunGroup(one.Name, study.Load([one.Trial.Run!])))];
        IEnumerable<string[]> rows = SearchedIn(winner)
            .Select(field => (string[])[field.Title, field.Show(winner.Options) ?? "none", field.Show(defaults.Options) ?? "none"]);
        IEnumerable<string> panels = TuneFiles.Panels(trials, hasLegend: true).Select((panel, i) => panel.Chart.ToFigure(
            $"panel{i}", char.ToUpperInvariant(panel.Title[0]) + panel.Title[1..],
            $"Validation error of each trial against {panel.Title}"));
        return HtmlReport.Page(
            $"{result.Trials} trials of {result.Model}",
            "Successive halving: many trials for few epochs, the best of them for more; "
            + $"{result.EpochsSpent:N0} epochs in all. Trial 0 is the defaults.",
            $"""
            {Html.Tiles(
                ("winner", $"trial {result.Winner}", result.Winner == 0 ? "the defaults" : $"of {result.Trials} trials"),
                ("its test accuracy", $"{result.TestAccuracy:P2}", $"of {result.TestDigits:N0} digits that the search never saw"),
                ("test, the defaults", $"{result.DefaultsTestAccuracy:P2}", "of the same digits"),
                ("its validation accuracy", $"{result.ValidationAccuracy:P2}", "too optimistic, because the winner was chosen by it"))}
            {(result.Winner == 0 ? "" : $"<p class=\"note\">{Difference(result)}</p>")}
            <h3>Use it</h3>
            <pre>{Option().Replace(Html.Text(TuneCommand.CommandLineOf(study.Record, result.Options)), "<span>$0</span>")}</pre>
            {Html.Table(["option", "winner", "defaults"], rows)}
            <h3>Error by option</h3>
            <div class="charts">{string.Concat(panels)}</div>
            <p class="note">Validation error of each trial; a colour per length of training, as in the first picture.</p>
            {Weight(trials)}
            {Rungs(trials, winner)}
            <h3>Trials</h3>
            {Table(trials)}
            """,
            groups);
    }

    /// <summary>An option and its value, which a narrow page breaks the line before.</summary>
    [GeneratedRegex(@"--\S+ \S+")]
    private static partial Regex Option();

    private static string Difference(TuneResult result)
    {
        double winner = result.TestDigits * (1 - result.TestAccuracy), defaults = result.TestDigits * (1 - result.DefaultsTestAccuracy);
        double chance = Math.Sqrt(winner + defaults);
        string apart = winner <= defaults ? $"{defaults - winner:N0} fewer" : $"{winner - defaults:N0} more";
        return $"The winner reads {apart} of the test digits wrong than the defaults ({winner:N0} against {defaults:N0}); "
            + $"the standard error of such a difference is about {chance:N0}: "
            + (Math.Abs(winner - defaults) > 2 * chance ? "more than chance explains." : "it may be chance.");
    }

    /// <summary>Each trial once, at its longest, the best first.</summary>
    private static string Table(IReadOnlyList<Trial> trials) => Html.Table(
        ["trial", "epochs", "validation", "loss", .. SearchedIn(trials[0]).Select(field => field.Title)],
        trials.GroupBy(trial => trial.Options.Epochs).OrderByDescending(rung => rung.Key).SelectMany(Trial.Best)
            .DistinctBy(trial => trial.Number).Select(trial => (string[])
            [
                $"trial {trial.Number}", $"{trial.Options.Epochs}", trial.Last is { } end ? $"{end.ValidationAccuracy:P2}" : "diverged",
                $"{trial.Last?.ValidationLoss:F4}", .. SearchedIn(trials[0]).Select(field => field.Show(trial.Options) ?? "none"),
            ]),
        isStacked: true);

    private static IEnumerable<TrainingField> SearchedIn(Trial trial) => TrialSpace.Fields.Where(field => field.Applies(trial.Options));

    /// <summary>How the trials went from rung to rung.</summary>
    private static string Rungs(IReadOnlyList<Trial> trials, Trial winner)
    {
        int[] lengths = TuneFiles.Lengths(trials);
        ChartAxis epochs = new("", Labels: [.. lengths.Select(length => Figures.Count(length, "epoch"))]);
        Chart chart = new(epochs, new ChartAxis("", Logarithmic: true, Unit: " %"));
        IEnumerable<int> numbers = trials.Select(trial => trial.Number).Distinct();
        foreach ((int i, int number) in numbers.Where(number => number != winner.Number && number != 0).Index())
        {
            chart.AddFaint(i == 0 ? "others" : null, 5, Course(number)).AddPoints(null, 5, Course(number), 1.5);
        }

        chart.Add(winner.Number == 0 ? "the defaults, which won" : "the defaults", 0, Course(0), dashed: true);
        if (winner.Number != 0)
        {
            chart.Add("the winner", 1, Course(winner.Number));
        }

        const string Description = "Validation error of each trial in each rung it reached; the table below has the figures";
        return $"""
            <h3>From rung to rung</h3>
            <div class="charts">{chart.ToFigure("rungs", "Validation error", Description)}</div>
            """;

        IEnumerable<(double X, double Y)> Course(int number) => trials
            .Where(trial => trial.Number == number && trial.Error is not null)
            .Select(trial => ((double)Array.IndexOf(lengths, trial.Options.Epochs), trial.Error!.Value));
    }

    /// <summary>How much an option tells of the error: rank correlation in the first rung, where every trial was trained alike.</summary>
    public static string Weight(IReadOnlyList<Trial> trials)
    {
        Trial[] first = [.. trials.Where(trial => trial.Options.Epochs == trials[0].Options.Epochs && trial.Last is not null)];
        if (first.Length < FewTrials)
        {
            return "";
        }

        double chance = 1.96 / Math.Sqrt(first.Length - 1);
        IEnumerable<string[]> rows = TrialSpace.Fields.Where(field => field.AsNumber is not null)
            .Select(field => (Name: field.Title, Points: PointsOf(field.AsNumber!)))
            .Where(option => option.Points.DistinctBy(point => point.X).Count() > 1)
            .Select(option => (option.Name, Correlation: RankCorrelation(option.Points)))
            .OrderByDescending(option => Math.Abs(option.Correlation))
            .Select(row => (string[])[row.Name, $"{row.Correlation:+0.00;−0.00;0.00}", Math.Abs(row.Correlation) > chance ? "no" : "yes"]);
        return $"""
            <h3>What mattered</h3>
            {Html.Table(["option", "rank correlation with error", "may be chance"], rows)}
            <p class="note">Of the {first.Length} trials of {Figures.Count(first[0].Options.Epochs, "epoch")}: +1 where more of it
            always meant more error, −1 where it always meant less. Chance alone stays within ±{chance:F2} in 19 of 20 cases. An option
            whose best value lies in the middle does not show here; see the pictures.</p>
            """;

        // A trial with the network's own dropout rates has no one number.
        (double X, double Error)[] PointsOf(Func<TrainingOptions, double?> number) =>
            [.. first.Where(trial => number(trial.Options) is not null)
                .Select(trial => (number(trial.Options)!.Value, trial.Error!.Value))];
    }

    /// <summary>Spearman's: the correlation of the ranks, where equal numbers share the mean of theirs.</summary>
    private static double RankCorrelation((double X, double Error)[] points)
    {
        (long[] a, long[] b) = (Ranks(point => point.X), Ranks(point => point.Error));
        long aa = a.Sum(p => p * p), bb = b.Sum(q => q * q);
        return aa == 0 || bb == 0 ? 0 : a.Zip(b, (p, q) => p * q).Sum() / Math.Sqrt((double)aa * bb);

        // Twice each rank's distance from their mean: how many points are less, minus how many are greater.
        long[] Ranks(Func<(double X, double Error), double> value) =>
            [.. points.Select(one => points.Sum(other => (long)value(one).CompareTo(value(other))))];
    }
}
