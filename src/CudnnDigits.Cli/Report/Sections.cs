using CudnnDigits.Cli.Studies;
using CudnnDigits.Cli.Terminal;
using CudnnDigits.Cpu;
using CudnnDigits.Numerics;
using static CudnnDigits.Cli.Report.Html;

namespace CudnnDigits.Cli.Report;

/// <summary>Sections of a page about one training: a single run, or several that differ only in their seed or fold.</summary>
internal static class Sections
{
    private const int MostWrong = 60, MostUnsure = 20, AugmentedDigits = 6, AugmentedEpochs = 8, FewDigits = 10;

    /// <summary>All sections. The names of its charts begin with <paramref name="id"/>, which is unique in the page.</summary>
    public static string All(RunGroup group, string id) => $"""
        {Headlines(group)}
        {(group.IsSingle || group.Metrics is null ? "" : EachRun(group, id))}
        {Curves([group], id)}
        {(group.Metrics is null ? "" : Pair(Confusion(group.Metrics), Classes(group.Metrics)))}
        {(group.Scored is null ? NoPictures(group) : Wrong(group.Scored) + Calibration(group.Scored, id) + Augmentation(group.First))}
        <h3>How it was made</h3>
        {Definitions(RunFacts.Common(group.Runs))}
        """;

    /// <summary>Loss, error and learning rate by epoch. For several runs: their mean and standard deviation.</summary>
    public static string Curves(IReadOnlyList<RunGroup> groups, string id)
    {
        RunReport[] runs = [.. groups.SelectMany(group => group.Runs)];
        if (runs.All(run => run.History.Count == 0))
        {
            return "";
        }

        bool isAlone = groups.Count == 1, isHeldOut = runs.Any(run => run.History.Any(epoch => epoch.ValidationLoss is not null));
        ChartAxis epochs = new("epoch", Whole: true);
        Chart loss = new(epochs, new ChartAxis("", Logarithmic: true)), rate = new(epochs, new ChartAxis("", Least: 0));
        Chart error = new(epochs, new ChartAxis("", Logarithmic: true, Unit: " %"));
        foreach ((int i, RunGroup group) in groups.Index().Where(one => one.Item.Runs.Any(run => run.History.Count > 0)))
        {
            Draw(loss, group, i, epoch => epoch.TrainLoss, epoch => epoch.ValidationLoss);
            Draw(error, group, i, epoch => 100 * (1 - epoch.TrainAccuracy), epoch => 100 * (1 - epoch.ValidationAccuracy));
            rate.Add(isAlone ? null : group.Name, isAlone ? 2 : i, Means(group.ByEpoch(epoch => epoch.LearningRate)));
        }

        EpochRecord? end = runs is [{ History: [.., EpochRecord only] }] ? only : null;
        string last = end is null ? "" : $"; after the last epoch, training {1 - end.TrainAccuracy:P2}"
            + (end.ValidationAccuracy is { } validation ? $" and validation {1 - validation:P2}" : "");
        string means = groups.All(group => group.IsSingle) ? ""
            : " Lines are means over the runs, bars one standard deviation up and down.";
        string shown = isHeldOut ? "training and validation" : "training";
        string measured = !isHeldOut ? "Training is measured during the epoch"
            : isAlone ? "Validation (solid) is measured after each epoch, training (dashed) during the epoch"
            : "Solid lines: validation, measured after each epoch. Dashed lines: training, measured during the epoch";
        string augmented = runs.Any(run => run.Record.Options.Augmentation.IsEnabled) ? ", on augmented digits" : "";
        return $"""
            <h3>Curves</h3>
            <div class="charts">
            {error.ToFigure($"{id}-error", "Error", $"Share of digits read wrong, by epoch, {shown}{last}")}
            {loss.ToFigure($"{id}-loss", "Loss", $"Loss by epoch, {shown}")}
            {rate.ToFigure($"{id}-rate", "Learning rate", "Learning rate at the end of each epoch")}
            </div>
            <p class="note">Error is the share of digits read wrong.{means}
            {measured}{augmented}, with dropout where the network has it.</p>
            """;

        void Draw(Chart chart, RunGroup group, int index, Func<EpochRecord, double?> trained, Func<EpochRecord, double?> validated)
        {
            IReadOnlyList<(int Epoch, Spread Figure)> held = group.ByEpoch(validated);
            int solid = isAlone ? 1 : index;
            foreach ((int i, RunReport run) in isAlone && !group.IsSingle && held.Count > 0 ? group.Runs.Index() : [])
            {
                chart.AddFaint(i == 0 ? "each run" : null, solid, Means(new RunGroup("", [run]).ByEpoch(validated)));
            }

            string? title = isAlone ? "training" : held.Count > 0 ? null : group.Name;
            chart.Add(title, isAlone ? 0 : index, Means(group.ByEpoch(trained)), dashed: true);
            if (held.Count > 0)
            {
                chart.Add(isAlone ? "validation" : group.Name, solid, Means(held));
                chart.AddBars(
                    solid, group.IsSingle ? [] : held.Select(epoch => ((double)epoch.Epoch, epoch.Figure.Low, epoch.Figure.High)));
            }
        }
    }

    private static IEnumerable<(double X, double Y)> Means(IEnumerable<(int Epoch, Spread Figure)> epochs) =>
        epochs.Select(epoch => ((double)epoch.Epoch, epoch.Figure.Mean));

    private static string Headlines(RunGroup group)
    {
        RunReport first = group.First;
        TrainingOptions o = first.Record.Options;
        string unfinished = string.Concat(group.Runs.Where(run => !run.HasEnded).Select(run =>
            $"<p class=\"note\">The run has not ended: {run.History.Count} of {Figures.Count(o.Epochs, "epoch")}. "
            + "If it is not being trained, go on with "
            + $"<code>{Text(ThisProgram.Command("train", "--resume", run.Folder.Path))}</code>.</p>"));
        if (group.Metrics is not { } metrics)
        {
            return unfinished;
        }

        string digits = $"{metrics.Samples:N0} {(o.Split.HoldsOut ? "held-out digits" : "training digits; nothing was held out")}";
        string deviation = $"over {group.Runs.Count} runs", which = o.KeepLast || !o.Split.HoldsOut ? ", the last" : ", the best";
        (Spread accuracy, Spread f1) = (group.Over(part => part.Accuracy), group.Over(part => part.MacroF1));
        double seconds = group.Runs.Sum(run => run.Seconds);
        return unfinished + Tiles(
            ("accuracy", $"{accuracy.Mean:P2}", group.IsSingle ? $"of {digits}" : $"± {accuracy.Deviation:P2}, {deviation}"),
            ("read wrong", $"{WrongOf(metrics):N0}", group.IsSingle ? "digits" : $"of {digits}"),
            ("macro F1", $"{f1.Mean:P2}", group.IsSingle ? "mean over the ten classes" : $"± {f1.Deviation:P2}, {deviation}"),
            ("loss", $"{metrics.Loss:F4}", "mean cross-entropy"),
            ("weights kept", $"epoch {first.KeptEpoch}", $"of {first.History.Count}{which}"),
            ("throughput", $"{RunReport.ImagesPerSecond(group.Runs):N0}", $"images/s; {Duration(seconds)} of training"));
    }

    private static int WrongOf(Metrics metrics) => metrics.Samples - metrics.Classes.Sum(c => metrics.Confusion[c.Digit][c.Digit]);

    private static string EachRun(RunGroup group, string id)
    {
        Spread error = group.Over(metrics => 100 * (1 - metrics.Accuracy));
        string what = group.First.Record.Options.Folds > 0 ? "fold" : "seed";
        string[] numbers =
            [.. group.Runs.Select(run => run.Record.Options).Select(o => o.Folds > 0 ? $"{o.Fold}" : $"{o.Seed}")];
        double most = Math.Max(0.1, 1.1 * Math.Max(error.Values.Max(), error.High)), end = numbers.Length - 0.5;
        Chart chart = new Chart(new ChartAxis(what, Labels: numbers), new ChartAxis("", Least: 0, Most: most, Unit: " %"))
            .AddGuide((-0.5, error.Low), (end, error.Low)).AddGuide((-0.5, error.High), (end, error.High))
            .AddFaint("mean, ± deviation dotted", 1, [(-0.5, error.Mean), (end, error.Mean)])
            .AddPoints(null, 1, error.Values.Select((value, i) => ((double)i, value)), 5);
        IEnumerable<string[]> rows = group.Runs.Select((run, i) => Row(
            $"{what} {numbers[i]}", run.Metrics!.Accuracy, $"{WrongOf(run.Metrics):N0} of {run.Metrics.Samples:N0}", run.Metrics.MacroF1,
            run.Metrics.Loss));
        string[] mean = Row("mean", Mean(m => m.Accuracy), $"{Mean(m => WrongOf(m)):N1}", Mean(m => m.MacroF1), Mean(m => m.Loss));
        string description = $"Share of held-out digits read wrong by each run; "
            + $"mean {error.Mean:F2} %, standard deviation {error.Deviation:F2} %";
        string table = Table([what, "accuracy", "wrong", "macro F1", "loss"], rows, mean, isStacked: true);
        return "<h3>Run by run</h3>\n" + Pair(table, chart.ToFigure($"{id}-runs", "Error", description), "beside");

        double Mean(Func<Metrics, double> figure) => group.Over(figure).Mean;
        static string[] Row(string name, double accuracy, string wrong, double f1, double loss) =>
            [name, $"{accuracy:P2}", wrong, $"{f1:P2}", $"{loss:F4}"];
    }

    /// <summary>Two elements side by side.</summary>
    private static string Pair(string left, string right, string rightClass = "") =>
        $"<div class=\"pair\"><div>{left}</div>\n<div class=\"{rightClass}\">{right}</div></div>";

    private static string Confusion(Metrics metrics)
    {
        int most = Math.Max(1, metrics.Confusion.SelectMany((row, label) => row.Where((_, read) => read != label)).Max());
        int longest = Math.Max(2, $"{metrics.Confusion.Max(row => row.Max())}".Length); // without a comma, four fit a phone
        string rows = string.Concat(metrics.Confusion.Select((row, label) =>
            $"<tr><th scope=\"row\">{label}</th>{string.Concat(row.Select((count, read) => Cell(count, label == read)))}</tr>"));
        string head = string.Concat(Enumerable.Range(0, DigitDataset.Classes).Select(digit => $"<th scope=\"col\">{digit}</th>"));
        return $"""
            <h3>Confusion matrix</h3>
            <div class="scroll"><table class="confusion" style="--longest:{longest}">
            <caption>A row per label, a column per answer</caption>
            <thead><tr><td></td>{head}</tr></thead>
            <tbody>{rows}</tbody></table></div>
            """;

        string Cell(int count, bool isRight) => isRight ? $"<td class=\"right\">{count}</td>"
            : count == 0 ? "<td class=\"none\">·</td>"
            : $"<td class=\"wrong\" style=\"--share:{Math.Round(15 + 85.0 * count / most)}%\">{count}</td>";
    }

    private static string Classes(Metrics metrics) => "<h3>Per class</h3>" + Table(
        ["digit", "precision", "recall", "F1", "digits"],
        metrics.Classes.Select(c => (string[])[$"{c.Digit}", $"{c.Precision:P2}", $"{c.Recall:P2}", $"{c.F1:P2}", $"{c.Support:N0}"]),
        ["mean", $"{metrics.MacroPrecision:P2}", $"{metrics.MacroRecall:P2}", $"{metrics.MacroF1:P2}", $"{metrics.Samples:N0}"]);

    public static string Wrong(ScoredDigits scored)
    {
        (ScoredDigit Digit, int Times)[] wrong = [.. scored.Wrong().GroupBy(digit => digit.Row)
            .Select(same => (Digit: same.First(), Times: same.Count())).OrderByDescending(pair => pair.Times)];
        ScoredDigit[] unsure = [.. scored.LeastSure().DistinctBy(digit => digit.Row).Take(MostUnsure)];
        string sure = string.Concat(unsure.Select(digit => Digit(scored.Data, digit, 1)));
        bool isRepeated = wrong is [(_, > 1), ..];
        string shown = wrong.Length > MostWrong ? $"{MostWrong} of {wrong.Length:N0}. " : "";
        string order = isRepeated ? "Those read wrong most often first, then the surest." : "The surest first.";
        string times = isRepeated ? "; × how often it was read wrong" : "";
        string heading = wrong.Length == 0 ? "None."
            : $"{shown}{order} What it is → what the network said, and how sure it was{times}.";
        return $"""
            <h3>Digits it read wrong</h3>
            <p class="note">{heading}</p>
            <ul class="digits">{string.Concat(wrong.Take(MostWrong).Select(pair => Digit(scored.Data, pair.Digit, pair.Times)))}</ul>
            <h3>Digits it read right, but was least sure of</h3>
            {(unsure.Length > 0
                ? $"<ul class=\"digits\">{sure}</ul>"
                : "<p class=\"note\">None: it was at least 99.5 % sure of every digit that it read right.</p>")}
            """;
    }

    private static string Digit(DigitDataset data, ScoredDigit digit, int times)
    {
        string said = $"{digit.Label}" + (digit.Label == digit.Read ? "" : $" → <b>{digit.Read}</b>{(times > 1 ? $" ×{times}" : "")}");
        string image = Image(data.Image(digit.Row), $"row {digit.Row}: label {digit.Label}, read as {digit.Read}");
        return $"<li>{image}<span>{said}</span><small>{Sure(digit.Sure)}</small></li>";
    }

    private static string Image(ReadOnlySpan<byte> image, string description)
    {
        string png = Convert.ToBase64String(Picture.ToPng(image, DigitDataset.Side, DigitDataset.Side));
        return $"""<img src="data:image/png;base64,{png}" width="28" height="28" alt="{description}">""";
    }

    /// <summary>A probability. Never "100 %", because no network can be certain.</summary>
    private static string Sure(double probability) => probability switch
    {
        >= 0.999 => "over 99.9 %",
        >= ScoredDigits.SureFrom => $"{100 * probability:F1} %",
        _ => WholePercent(probability),
    };

    public static string Calibration(ScoredDigits scored, string id)
    {
        IReadOnlyList<CalibrationBin> all = scored.Calibration();
        CalibrationBin[] bins = [.. all.Where(bin => bin.Count >= FewDigits)];
        int leftOut = all.Sum(bin => bin.Count) - bins.Sum(bin => bin.Count);
        string few = leftOut == 0 ? "" : $" Left out: {leftOut:N0} digit{(leftOut == 1 ? "" : "s")} in bins of fewer than ten.";
        const string Heading = "<h3>Calibration: is it as sure as it is right?</h3>";
        if (bins.Length == 0)
        {
            return $"{Heading}<p class=\"note\">Too few digits to say: no bin has ten.</p>";
        }

        double from = 100 * bins.Min(bin => Math.Min(bin.Sure, bin.Right)), least = Math.Max(0, 10 * Math.Floor((from - 2) / 10));
        ChartAxis sure = new("sure", Least: least, Most: 100 + 0.04 * (100 - least), Unit: " %");
        Chart chart = new Chart(sure, sure with { Title = "" }).AddGuide((least, least), (100, 100));
        foreach (CalibrationBin bin in bins)
        {
            chart.AddPoints(null, 1, [(100 * bin.Sure, 100 * bin.Right)], radius: 1 + 2.3 * Math.Log10(bin.Count));
        }

        const string Description = "Share of right answers against how sure the network was; the table beside it has the same figures";
        IEnumerable<string[]> rows = bins.Select(bin => (string[])[Range(bin), WholePercent(bin.Right), $"{bin.Count:N0}"]);
        return $"""
            {Heading}
            <div class="pair">
            <div class="beside">{chart.ToFigure($"{id}-calibration", "Right", Description)}</div>
            <div class="beside">{Table(["sure", "right", "digits"], rows)}
            <p class="note">The larger a dot, the more digits. On the dotted line, being 80 % sure means being right 80 % of the time;
            the expected calibration error, the mean distance from it, is {scored.CalibrationError():P2}.{few}</p></div>
            </div>
            """;

        static string Range(CalibrationBin bin) => bin.Most == 1 ? $"over {100 * bin.Least:0.#} %"
            : bin.Least == 0 ? $"under {100 * bin.Most:0.#} %"
            : $"{100 * bin.Least:0.#}–{100 * bin.Most:0.#} %";
    }

    private static string Augmentation(RunReport run)
    {
        TrainingOptions o = run.Record.Options;
        if (!o.Augmentation.IsEnabled)
        {
            return "";
        }

        DigitDataset data = run.Scored!.Data;
        Philox random = new(o.Seed);
        int epochs = Math.Clamp(run.History.Count, 1, AugmentedEpochs);
        int[] rows = [.. o.Split.Draw(data.Labels).Training.Take(AugmentedDigits)];
        string strip = string.Concat(rows.Select(row =>
        {
            string original = Image(data.Image(row), $"row {row}: label {data.Labels[row]}, as it is");
            return $"<li>{original}{string.Concat(Enumerable.Range(0, epochs).Select(Epoch))}</li>";

            string Epoch(int epoch) =>
                Image(AugmentedPicture.Of(o.Augmentation, random, (uint)row, (uint)epoch, data.Image(row)), $"in epoch {epoch + 1}");
        }));
        return $"""
            <h3>Augmentation</h3>
            <p class="note">Each row: a training digit as it is, then as the first {(epochs == 1 ? "epoch" : $"{epochs} epochs")} saw it:
            {TrainingField.Describe(TrainingField.Augmentation, o)}.</p>
            <ul class="strip">{strip}</ul>
            """;
    }

    private static string NoPictures(RunGroup group) => "<p class=\"note\">No pictures of digits and no calibration: "
        + $"{Text(group.Runs.First(run => run.Scored is null).WhyNoPictures ?? "")}.</p>";

    private static string Duration(double seconds) =>
        seconds >= 60 ? $"{TimeSpan.FromSeconds(seconds):h\\:mm\\:ss}" : $"{seconds:F1} s";
}
