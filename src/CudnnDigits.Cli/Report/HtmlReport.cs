using System.Globalization;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Training;
using static CudnnDigits.Cli.Report.Html;

namespace CudnnDigits.Cli.Report;

/// <summary>What stands before several runs that answer one question.</summary>
/// <param name="Title">The question.</param>
/// <param name="Table">The answer, as it stands in a terminal.</param>
/// <param name="Remark">What to keep in mind; may be empty.</param>
internal sealed record HtmlPreface(string Title, string Table, string Remark = "");

/// <summary>One or more runs as one page that needs no network: figures, curves, confusion, pictures, calibration, options.</summary>
internal static class HtmlReport
{
    private const int MostWrong = 60, LeastSure = 20, AugmentedDigits = 6, AugmentedEpochs = 8;

    /// <summary>Writes the page, whole or not at all.</summary>
    public static void Write(string path, IReadOnlyList<RunReport> runs, HtmlPreface? preface = null) => AtomicFile.WriteText(path, writer => writer.Write(Page(runs, preface)));

    /// <summary>The page.</summary>
    public static string Page(IReadOnlyList<RunReport> runs, HtmlPreface? preface = null)
    {
        if (runs is [RunReport only] && preface is null)
        {
            return Html.Page($"{only.Name}: {only.Record.Options.Model}", Run(only, 0, "h1") + Footer(runs));
        }

        string list = string.Concat(runs.Select((run, i) => $"<li><a href=\"#run-{i}\">{Text(run.Name)}</a></li>"));
        string title = preface?.Title ?? $"{runs.Count} runs side by side";
        string body = $"""
            <header><h1>{Text(title)}</h1>{(preface is null ? "" : $"<pre>{Text(preface.Table)}</pre><p class=\"note\">{Text(preface.Remark)}</p>")}<nav aria-label="Runs"><ul>{list}</ul></nav></header>
            {SideBySide(runs)}
            {Curves(runs, "all")}
            {string.Concat(runs.Select((run, i) => Run(run, i, "h2")))}
            """;
        return Html.Page(title, body + Footer(runs));
    }

    private static string Run(RunReport run, int index, string heading)
    {
        TrainingOptions o = run.Record.Options;
        string data = run.Record.Data.Path is { } path ? Path.GetFileName(path) : "built-in generated digits";
        return $"""
            <section class="run" id="run-{index}">
            <header><{heading}>{Text(run.Name)}</{heading}>
            <p class="lead">The <b>{Text(o.Model)}</b> network on {Text(data)}, {run.Record.Started.ToString("d MMMM yyyy, HH:mm", CultureInfo.InvariantCulture)} UTC, {Text(run.Record.Device)}.</p></header>
            {Headlines(run)}
            {Curves([run], $"run{index}")}
            {(run.Metrics is null ? "" : $"<div class=\"pair\"><div>{Confusion(run.Metrics)}</div><div>{Classes(run.Metrics)}</div></div>")}
            {(run.Scored is null ? NoPictures(run) : Wrong(run.Scored) + Calibration(run.Scored, index) + Augmentation(run))}
            <h3>How it was made</h3>
            {Definitions(Options(run))}
            </section>
            """;
    }

    private static string Headlines(RunReport run)
    {
        TrainingOptions o = run.Record.Options;
        string unfinished = run.HasEnded
            ? ""
            : $"<p class=\"note\">The run has not ended: {run.History.Count} of {o.Epochs} epochs. Go on with <code>cudnn-digits train --resume {Text(run.Folder.Path)}</code>.</p>";
        if (run.Metrics is not { } metrics)
        {
            return unfinished;
        }

        int wrong = metrics.Samples - metrics.Classes.Sum(c => metrics.Confusion[c.Digit][c.Digit]);
        string digits = o.Split.HoldsOut ? "held-out digits" : "training digits; nothing was held out";
        return $"""
            {unfinished}
            <ul class="tiles">
            {Tile("accuracy", $"{metrics.Accuracy:P2}", $"of {metrics.Samples:N0} {digits}")}
            {Tile("read wrong", $"{wrong:N0}", "digits")}
            {Tile("macro F1", $"{metrics.MacroF1:P2}", "mean over the ten classes")}
            {Tile("loss", metrics.Loss.ToString("F4", CultureInfo.InvariantCulture), "mean cross-entropy")}
            {Tile("weights kept", $"epoch {run.KeptEpoch}", $"of {run.History.Count}{(o.KeepLast || !o.Split.HoldsOut ? ", the last" : ", the best")}")}
            {Tile("throughput", $"{run.ImagesPerSecond:N0}", $"images/s; {Duration(run.Seconds)} of training")}
            </ul>
            """;
    }

    private static string Tile(string name, string value, string note) => $"<li><span>{name}</span><strong>{Text(value)}</strong><small>{Text(note)}</small></li>";

    private static string Curves(IReadOnlyList<RunReport> runs, string id)
    {
        if (runs.All(run => run.History.Count == 0))
        {
            return "";
        }

        ChartAxis epochs = new("epoch", Whole: true);
        Chart loss = new(epochs, new ChartAxis("", Logarithmic: true)), accuracy = new(epochs, new ChartAxis("")), rate = new(epochs, new ChartAxis(""));
        for (int i = 0; i < runs.Count; i++)
        {
            string name = runs.Count > 1 ? runs[i].Name : "validation";
            int validation = runs.Count > 1 ? i : 1, training = runs.Count > 1 ? i : 0;
            IReadOnlyList<EpochRecord> history = runs[i].History;
            EpochRecord[] validated = [.. history.Where(epoch => epoch.ValidationLoss is not null)];
            loss.Add(runs.Count > 1 ? null : "training", training, history.Select(e => ((double)e.Epoch, e.TrainLoss)), dashed: true);
            accuracy.Add(runs.Count > 1 ? null : "training", training, history.Select(e => ((double)e.Epoch, 100 * e.TrainAccuracy)), dashed: true);
            if (validated.Length > 0)
            {
                loss.Add(name, validation, validated.Select(e => ((double)e.Epoch, e.ValidationLoss!.Value)));
                accuracy.Add(name, validation, validated.Select(e => ((double)e.Epoch, 100 * e.ValidationAccuracy!.Value)));
            }

            rate.Add(runs.Count > 1 ? runs[i].Name : null, runs.Count > 1 ? i : 2, history.Select(e => ((double)e.Epoch, e.LearningRate)));
        }

        string last = runs is [{ History: [.., EpochRecord end] }]
            ? $"; after the last epoch, training {end.TrainAccuracy:P2}{(end.ValidationAccuracy is { } held ? $" and validation {held:P2}" : "")}"
            : "";
        return $"""
            <h3>Curves</h3>
            <div class="charts">
            {loss.ToFigure($"{id}-loss", "Loss", "Loss by epoch, training and validation")}
            {accuracy.ToFigure($"{id}-accuracy", "Accuracy, %", "Accuracy by epoch, training and validation" + last)}
            {rate.ToFigure($"{id}-rate", "Learning rate", "Learning rate at the end of each epoch")}
            </div>
            <p class="note">{(runs.Count > 1 ? "Solid: validation, after each epoch. Dashed: training, " : "Validation is measured after each epoch; training figures (dashed) are ")}taken while training{(runs.Any(run => run.Record.Options.Augmentation.IsEnabled) ? ", on augmented digits" : "")}, with dropout where the network has it.</p>
            """;
    }

    private static string Confusion(Metrics metrics)
    {
        int most = Math.Max(1, metrics.Confusion.SelectMany((row, label) => row.Where((_, read) => read != label)).Max());
        string rows = string.Concat(metrics.Confusion.Select((row, label) =>
            $"<tr><th scope=\"row\">{label}</th>{string.Concat(row.Select((count, read) => Cell(count, label, read, most)))}</tr>"));
        return $"""
            <h3>Confusion matrix</h3>
            <div class="scroll"><table class="confusion"><caption>A row per label, a column per answer</caption>
            <thead><tr><td></td>{string.Concat(Enumerable.Range(0, DigitDataset.Classes).Select(digit => $"<th scope=\"col\">{digit}</th>"))}</tr></thead>
            <tbody>{rows}</tbody></table></div>
            """;
    }

    private static string Cell(int count, int label, int read, int most) => label == read
        ? $"<td class=\"right\">{count:N0}</td>"
        : count == 0
            ? "<td class=\"none\">·</td>"
            : string.Create(CultureInfo.InvariantCulture, $"<td class=\"wrong\" style=\"--share:{Math.Round(15 + 85.0 * count / most)}%\">{count:N0}</td>");

    private static string Classes(Metrics metrics) => $"""
        <h3>Per class</h3>
        <div class="scroll"><table class="classes">
        <thead><tr><th scope="col">digit</th><th scope="col">precision</th><th scope="col">recall</th><th scope="col">F1</th><th scope="col">digits</th></tr></thead>
        <tbody>{string.Concat(metrics.Classes.Select(c => $"<tr><th scope=\"row\">{c.Digit}</th><td>{c.Precision:P2}</td><td>{c.Recall:P2}</td><td>{c.F1:P2}</td><td>{c.Support:N0}</td></tr>"))}</tbody>
        <tfoot><tr><th scope="row">mean</th><td>{metrics.MacroPrecision:P2}</td><td>{metrics.MacroRecall:P2}</td><td>{metrics.MacroF1:P2}</td><td>{metrics.Samples:N0}</td></tr></tfoot>
        </table></div>
        """;

    private static string Wrong(ScoredDigits scored)
    {
        ScoredDigit[] wrong = [.. scored.Wrong()], shown = [.. wrong.Take(MostWrong)];
        string heading = wrong.Length == 0 ? "None." : shown.Length < wrong.Length ? $"The {shown.Length} it was surest of, out of {wrong.Length:N0}." : "The surest first.";
        return $"""
            <h3>Digits it read wrong</h3>
            <p class="note">{heading} What it is → what the network said, and how sure it was.</p>
            <ul class="digits">{string.Concat(shown.Select(digit => Digit(scored.Data, digit)))}</ul>
            <h3>Digits it read right, but was least sure of</h3>
            <ul class="digits">{string.Concat(scored.LeastSure().Take(LeastSure).Select(digit => Digit(scored.Data, digit)))}</ul>
            """;
    }

    private static string Digit(DigitDataset data, ScoredDigit digit)
    {
        string said = digit.Label == digit.Read ? $"{digit.Label}" : $"{digit.Label} → <b>{digit.Read}</b>";
        return $"""<li><img src="{Picture.DataUri(data.Image(digit.Row))}" width="28" height="28" alt="row {digit.Row}: a {digit.Label}, read as {digit.Read}"><span>{said}</span><small>{100 * digit.Sure:F0} %</small></li>""";
    }

    private static string Calibration(ScoredDigits scored, int index)
    {
        IReadOnlyList<CalibrationBin> bins = scored.Calibration();
        Chart chart = new(new ChartAxis("sure, %", Least: 0, Most: 102), new ChartAxis("", Least: 0, Most: 102));
        chart.AddGuide((0, 0), (100, 100)).Add(null, 1, bins.Select(bin => (100 * bin.Sure, 100 * bin.Right)));
        string rows = string.Concat(bins.Select(bin => $"<tr><td>{bin.Sure:P2}</td><td>{bin.Right:P2}</td><td>{bin.Count:N0}</td></tr>"));
        return $"""
            <h3>Calibration: is it as sure as it is right?</h3>
            <div class="charts">
            {chart.ToFigure($"run{index}-calibration", "Right, %", "Share of right answers against how sure the network was; the table beside it has the same figures")}
            <div><table class="classes"><thead><tr><th scope="col">sure</th><th scope="col">right</th><th scope="col">digits</th></tr></thead><tbody>{rows}</tbody></table>
            <p class="note">Expected calibration error {scored.CalibrationError():P2}. On the dotted line, being 80 % sure would mean being right 80 % of the time; points of few digits scatter.</p></div>
            </div>
            """;
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
        byte[] augmented = new byte[DigitDataset.PixelCount];
        int[] rows = [.. o.Split.Draw(data.Labels).Training.Take(AugmentedDigits)];
        string strip = string.Concat(rows.Select(row =>
        {
            string original = $"""<img src="{Picture.DataUri(data.Image(row))}" width="28" height="28" alt="row {row}: a {data.Labels[row]}, as it is">""";
            return $"<li>{original}{string.Concat(Enumerable.Range(0, AugmentedEpochs).Select(Epoch))}</li>";

            string Epoch(int epoch)
            {
                o.Augmentation.Apply(random, (uint)row, (uint)epoch, data.Image(row), augmented);
                return $"""<img src="{Picture.DataUri(augmented)}" width="28" height="28" alt="in epoch {epoch + 1}">""";
            }
        }));
        return $"""
            <h3>Augmentation</h3>
            <p class="note">Each row: a training digit as it is, then as the first {AugmentedEpochs} epochs saw it: {Describe(o.Augmentation)}.</p>
            <ul class="strip">{strip}</ul>
            """;
    }

    private static string NoPictures(RunReport run) => $"<p class=\"note\">No pictures of digits and no calibration: {Text(run.WhyNoPictures ?? "")}.</p>";

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
        string[] shown = [.. rows.Select(row => row.Name)];
        IEnumerable<(string Name, string[] Values)> facts = Options(runs[0]).Select((fact, i) => (fact.Name, runs.Select(run => Options(run).ElementAt(i).Value).ToArray()));
        string table = string.Concat(rows.Select(row => Row(row.Name, [.. runs.Select(row.Value)])))
            + string.Concat(facts.Where(fact => !shown.Contains(fact.Name) && fact.Values.Distinct().Count() > 1).Select(fact => Row(fact.Name, fact.Values)));
        return $"""
            <div class="scroll"><table class="sides">
            <thead><tr><td></td>{string.Concat(runs.Select((run, i) => $"<th scope=\"col\" style=\"--own:var(--series-{i % Chart.SeriesColors})\">{Text(run.Name)}</th>"))}</tr></thead>
            <tbody>{table}</tbody></table></div>
            <p class="note">Below the figures, the options in which the runs differ.</p>
            """;
    }

    private static string Row(string name, string[] values) => $"<tr><th scope=\"row\">{Text(name)}</th>{string.Concat(values.Select(value => $"<td>{Text(value)}</td>"))}</tr>";

    /// <summary>A run's options and circumstances, in words; the same names in the same order for every run.</summary>
    public static IEnumerable<(string Name, string Value)> Options(RunReport run)
    {
        (RunRecord record, TrainingOptions o) = (run.Record, run.Record.Options);
        yield return ("network", $"{o.Model}, {DigitNetworks.Find(o.Model)?.Parameters.TrainedCount:N0} parameters");
        yield return ("epochs", $"{o.Epochs}{(o.EarlyStop > 0 ? $", early stop after {o.EarlyStop}" : "")}");
        yield return ("batch size", $"{o.BatchSize}");
        yield return ("learning rate", string.Create(CultureInfo.InvariantCulture, $"{o.LearningRate}, {CommonOptions.ScheduleName(o.Schedule)}"));
        yield return ("augmentation", Describe(o.Augmentation));
        yield return ("weight decay", o.WeightDecay.ToString(CultureInfo.InvariantCulture));
        yield return ("dropout", o.Dropout is { } rate ? rate.ToString(CultureInfo.InvariantCulture) : "the network's own");
        yield return ("held out", o.Folds > 0 ? $"fold {o.Fold} of {o.Folds}" : $"{o.Validation:P0} of each class{(o.Test > 0 ? $"; a further {o.Test:P0} kept away" : "")}");
        yield return ("seed", $"{o.Seed}");
        yield return ("order", o.Shuffle ? "shuffled" : "the file's");
        yield return ("began with", record.InitFrom ?? "fresh weights");
        yield return ("data", $"{record.Data.Path ?? "built-in generated digits"}, {record.Data.Count:N0} digits");
        yield return ("data fingerprint", record.Data.Fingerprint);
        yield return ("device", $"{record.Device}, {record.Precision.ToString().ToLowerInvariant()}{(record.Deterministic ? ", deterministic" : "")}");
        yield return ("versions", $"CudnnDigits {record.Version}, {record.Runtime}");
    }

    private static string Describe(AugmentationSpec spec) => spec.IsEnabled
        ? string.Create(CultureInfo.InvariantCulture, $"rotation ±{spec.RotateDegrees}°, shift ±{100 * spec.ShiftFraction:0.#} %, zoom ±{100 * spec.ZoomFraction:0.#} %")
        : "none";

    private static string Footer(IReadOnlyList<RunReport> runs) =>
        $"<footer>Written by cudnn-digits {Checkpoint.Version}{(runs.Count > 1 ? "" : $" into {Text(runs[0].Folder.Path)}")}. This page needs no network.</footer>";

    private static string Duration(double seconds) => TimeSpan.FromSeconds(seconds) is var time && time.TotalMinutes >= 1
        ? time.ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture)
        : string.Create(CultureInfo.InvariantCulture, $"{seconds:F1} s");
}
