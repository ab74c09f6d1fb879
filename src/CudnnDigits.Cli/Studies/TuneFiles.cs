using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Studies;

internal static class TuneFiles
{
    private const int Gap = 24, Top = 74, Heading = 26;

    public static string Csv(IEnumerable<Trial> trials)
    {
        string names = string.Join(',', TrialSpace.Fields.Select(field => field.JsonName));
        StringBuilder text = new($"trial,epochs,{names},validation_accuracy,validation_loss,train_loss,seconds\n");
        foreach ((int number, TrainingOptions o, FinishedRun? run) in trials)
        {
            string values = string.Join(',', TrialSpace.Fields.Select(field => field.IsText ? field.Show(o) : field.Text(o)));
            text.Append($"{number},{o.Epochs},{values},{run?.Last.ValidationAccuracy:R},{run?.Last.ValidationLoss:R},");
            text.Append($"{run?.Last.TrainLoss:R},{run?.History.Sum(epoch => epoch.Seconds):F1}\n");
        }

        return text.ToString();
    }

    /// <summary>Lengths of training, in epochs: the colours of the panels.</summary>
    public static int[] Lengths(IReadOnlyList<Trial> trials) => [.. trials.Select(trial => trial.Options.Epochs).Distinct().Order()];

    /// <summary>The options that were searched, and for each a chart of validation error, a colour per length of training.</summary>
    public static IEnumerable<(string Title, Chart Chart)> Panels(IReadOnlyList<Trial> trials, bool hasLegend)
    {
        int[] lengths = Lengths(trials);
        foreach (TrainingField field in TrialSpace.Fields)
        {
            SearchRange range = field.Search!;
            string?[] choices = range.Choices is null ? []
                : [.. trials.Select(trial => trial.Options).OrderBy(PlaceOf).Select(field.Show).Distinct()];
            double PlaceOf(TrainingOptions o) => field.AsNumber?.Invoke(o) ?? Array.IndexOf(range.Choices, field.Text(o));
            Func<TrainingOptions, double?> value = range.Choices is null ? field.AsNumber! : o => Array.IndexOf(choices, field.Show(o));
            if (!trials.Any(trial => value(trial.Options) is not null))
            {
                continue;
            }

            ChartAxis axis = range.Choices is not null ? new ChartAxis("", Labels: choices!)
                : range.IsLogarithmic ? new ChartAxis("", Logarithmic: true)
                : new ChartAxis("", Least: -0.03 * range.Most, Most: 1.03 * range.Most);
            Chart chart = new(axis, new ChartAxis("", Logarithmic: true, Unit: " %"));
            for (int color = 0; color < lengths.Length; color++)
            {
                chart.AddPoints(hasLegend ? Figures.Count(lengths[color], "epoch") : null, color, trials
                    .Where(trial => trial.Options.Epochs == lengths[color] && trial.Error is not null && value(trial.Options) is not null)
                    .Select(trial => (value(trial.Options)!.Value, trial.Error!.Value)));
            }

            hasLegend = false;
            yield return (field.Unit is null ? field.Title : $"{field.Title}, {field.Unit}", chart);
        }
    }

    public static string Picture(StudyRecord study, IReadOnlyList<Trial> trials)
    {
        (string Title, Chart Chart)[] panels = [.. Panels(trials, hasLegend: false)];
        int rows = (panels.Length + 2) / 3, width = 3 * Chart.Width + 4 * Gap, height = Top + rows * (Chart.Height + Heading + Gap);
        StringBuilder body = new();
        for (int i = 0; i < panels.Length; i++)
        {
            (string title, Chart chart) = panels[i];
            int x = Gap + i % 3 * (Chart.Width + Gap), y = Top + i / 3 * (Chart.Height + Heading + Gap);
            body.Append($"<text class=\"title\" x=\"{x}\" y=\"{y + 16}\">{Html.Text(title)}</text>");
            string place = $"x=\"{x}\" y=\"{y + Heading}\" width=\"{Chart.Width}\" height=\"{Chart.Height}\"";
            body.AppendLine(chart.ToSvg($"panel{i}", $"Validation error against {title}", place));
        }

        string legend = string.Concat(Lengths(trials).Select((length, color) =>
            $"<circle cx=\"{Gap + 6 + 120 * color}\" cy=\"56\" r=\"5\" fill=\"var(--series-{color % Chart.SeriesColors})\"/>"
            + $"<text x=\"{Gap + 18 + 120 * color}\" y=\"61\">{Figures.Count(length, "epoch")}</text>"));
        string size = $"viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"";
        int count = trials.DistinctBy(trial => trial.Number).Count();
        string heading = $"Validation error, %, of {count} trials of {Html.Text(study.Options.Model)}";
        return $$"""
            <svg xmlns="http://www.w3.org/2000/svg" {{size}} font-family="system-ui, sans-serif" font-size="14">
            <style>
            {{Html.Resource("colors.css")}}
            text { fill: var(--muted); }
            .title { fill: var(--ink); font-weight: 600; }
            </style>
            <rect width="100%" height="100%" fill="var(--ground)"/>
            <text class="title" x="{{Gap}}" y="30" font-size="19">{{heading}}</text>
            {{legend}}
            {{body}}</svg>

            """;
    }
}
