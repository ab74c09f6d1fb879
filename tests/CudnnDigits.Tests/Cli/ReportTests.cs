using System.Xml.Linq;

namespace CudnnDigits.Tests.Cli;

/// <summary>report.html, as a file: what stands in it, and that it needs nothing else.</summary>
public sealed class ReportTests : TestsWithFolder
{
    private readonly string _train;

    public ReportTests() => _train = _folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(400, seed: 2)));

    [Fact]
    public void A_run_leaves_a_report_that_needs_no_network()
    {
        string run = Train("run", "--augment", "standard", "--epochs", "2");
        string page = File.ReadAllText(Path.Combine(run, "report.html"));
        foreach (string heading in new[] { "Curves", "Confusion matrix", "Per class", "Digits it read wrong",
            "Digits it read right, but was least sure of", "Calibration: is it as sure as it is right?", "Augmentation",
            "How it was made" })
        {
            Assert.Contains($"<h3>{heading}</h3>", page, StringComparison.Ordinal);
        }

        Assert.DoesNotMatch("(src|href)=\"(?!data:|#)", page);
        Assert.DoesNotContain("url(", page.Replace("url(#", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("rgb(1,1,", page, StringComparison.Ordinal); // every colour of a chart became a variable of the page
        Assert.All(Svgs(page), svg => XElement.Parse(svg));
        Assert.Equal(4, Svgs(page).Count());
        Assert.Contains("<figcaption>Error<ul>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("Accuracy, %", page, StringComparison.Ordinal);
        Assert.Contains(XElement.Parse(Svgs(page).First()).Descendants(), text => text.Value.Trim() is "50 %" or "100 %");
        Assert.Equal(6, Regex.Count(page, "in epoch 2\">"));
        Assert.DoesNotContain("in epoch 3\">", page, StringComparison.Ordinal);
        Assert.All(Variables(page), variable => Assert.Contains($"  {variable}: ", page, StringComparison.Ordinal));
    }

    [Fact]
    public void It_shows_the_digits_that_the_network_reads_wrong()
    {
        string run = Train("run", "--epochs", "3");
        string page = File.ReadAllText(Path.Combine(run, "report.html"));
        DigitDataset data = DataSource.Open(_train, DataPart.Training);
        RunRecord record = new RunFolder(run).ReadRecord();
        int[] rows = record.Options.Split.Draw(data.Labels).Validation;
        float[] logits = new float[10 * rows.Length];
        using ITrainingBackend backend =
            BackendFactory.Create("cpu", record.Options.CreateNetwork(), new BackendOptions(16, 0, AugmentationSpec.None));
        backend.Load(Checkpoint.LoadWeights(Path.Combine(run, "model.safetensors")).Weights, new OptimizerState(backend.Network));
        backend.Predict(data, rows, logits);
        int wrong = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            int read = Prediction.Best(logits.AsSpan(10 * i, 10)), label = data.Labels[rows[i]];
            if (read != label)
            {
                Assert.Contains($"alt=\"row {rows[i]}: label {label}, read as {read}\"", page, StringComparison.Ordinal);
                wrong++;
            }
        }

        Assert.InRange(wrong, 5, 60); // three epochs of 320 digits: it has not learned all
        Assert.Equal(wrong, Regex.Count(page, "→ <b>"));
        Assert.Contains($"<strong>{wrong}</strong>", page, StringComparison.Ordinal);
    }

    /// <summary>
    /// The library that draws the charts is not annotated for trimming; this shows that nothing it needs is trimmed away.
    /// </summary>
    [Fact]
    public void A_native_build_draws_the_same_page()
    {
        string? native = Environment.GetEnvironmentVariable("CUDNN_DIGITS_NATIVE");
        Assert.SkipWhen(native is null, "CUDNN_DIGITS_NATIVE names no native build of the program");
        string run = Train("run", "--augment", "standard", "--epochs", "2"), page = _folder["page.html"];
        CliProgram.RunNative(native, "report", run, "--out", page).Succeeded();
        string drawn = File.ReadAllText(page);
        CliProgram.RunIn(_folder.Path, "DOTNET_EnableAVX512", "0", "report", run, "--out", page).Succeeded(); // the native build has AVX2
        Assert.Equal(File.ReadAllText(page), drawn);
    }

    [Fact]
    public void Runs_stand_side_by_side_with_the_options_in_which_they_differ()
    {
        string first = Train("first", "--epochs", "1"), second = Train("a <b> & \"c\"", "--epochs", "2", "--seed", "5"),
        page = _folder["both.html"];
        using JsonDocument result = JsonDocument.Parse(CliProgram.Run("report", first, second, "--out", page, "--json").Output);
        Assert.Equal(page, result.RootElement.GetProperty("report").GetString());
        string text = File.ReadAllText(page);
        Assert.Contains("2 runs side by side", text, StringComparison.Ordinal);
        Assert.Contains("a &lt;b&gt; &amp; &quot;c&quot;", text, StringComparison.Ordinal);
        Assert.DoesNotContain("a <b>", text, StringComparison.Ordinal);
        int from = text.IndexOf("<table class=\"sides\"", StringComparison.Ordinal);
        string table = text[from..text.IndexOf("</table>", StringComparison.Ordinal)];
        Assert.Contains("<th scope=\"row\">seed</th><td>0</td><td>5</td>", table, StringComparison.Ordinal);
        Assert.DoesNotContain("batch size", table, StringComparison.Ordinal);
        string[] ids = [.. Regex.Matches(text, " id=\"([^\"]+)\"").Select(match => match.Groups[1].Value)];
        Assert.Equal(ids.Length, ids.Distinct().Count());
    }

    [LongFact]
    public void Runs_that_were_scored_on_other_digits_are_compared_with_a_warning()
    {
        string other = _folder.Write("other.csv", DigitFiles.Csv(GeneratedDigits.Create(400, seed: 3))),
        first = Train("first", "--epochs", "1");
        string[] foreign = ["--data", other, "--model", "simple", "--epochs", "1", "--out", _folder["foreign"]];
        CliProgram.Run(["train", .. foreign]).Succeeded();
        Assert.Null(Warning(first, Train("rate", "--epochs", "1", "--lr", "0.002")));
        Assert.Contains("their splits differ", Warning(first, Train("seed", "--epochs", "1", "--seed", "5")), StringComparison.Ordinal);
        Assert.Contains("their splits differ", Warning(first, Train("share", "--epochs", "1", "--validation", "0.3")),
            StringComparison.Ordinal);
        Assert.Contains("their splits differ", Warning(first, Train("all", "--epochs", "1", "--validation", "0")),
            StringComparison.Ordinal);
        Assert.Null(Warning(_folder["all"],
            Train("all-5", "--epochs", "1", "--validation", "0", "--seed", "5"))); // nothing held out, so no seed splits it
        Assert.Contains("different data", Warning(first, _folder["foreign"]), StringComparison.Ordinal);

        Assert.Contains("Compare with care", CliProgram.Run("report", first, _folder["foreign"], "--out", _folder["both.html"]).Output,
            StringComparison.Ordinal);
        Assert.DoesNotContain("Compare with care", CliProgram.Run("report", first, _folder["rate"], "--out", _folder["rate.html"]).Output,
            StringComparison.Ordinal);

        string fingerprint = new RunFolder(_folder["foreign"]).ReadRecord().Data.Fingerprint;
        Assert.Contains($"<td title=\"{fingerprint}\">{fingerprint[..12]}</td>", File.ReadAllText(_folder["both.html"]),
            StringComparison.Ordinal);
        Assert.DoesNotContain($">{fingerprint}<", File.ReadAllText(_folder["both.html"]), StringComparison.Ordinal);
        Assert.Contains($"<dd title=\"{fingerprint}\">{fingerprint[..12]}</dd>", File.ReadAllText(_folder["foreign/report.html"]),
            StringComparison.Ordinal);

        string? Warning(params string[] runs)
        {
            using JsonDocument json =
                JsonDocument.Parse(CliProgram.Run(["report", .. runs, "--out", _folder["both.html"], "--json"]).Output);
            string? warning = json.RootElement.GetProperty("warning").GetString();
            Assert.Equal(warning is null ? 0 : 1, Regex.Count(File.ReadAllText(_folder["both.html"]), "class=\"warning\""));
            return warning;
        }
    }

    [Fact]
    public void Without_its_data_or_its_end_a_run_is_still_reported()
    {
        string run = Train("run", "--epochs", "1");
        File.Delete(_train);
        CliProgram.Result result = CliProgram.Run("report", run).Succeeded();
        Assert.StartsWith($"note      {run}: no pictures of digits and no calibration: {_train}: no such file", result.Error,
            StringComparison.Ordinal);
        CliProgram.AssertRefused($"{_train}: is gone, and the run was started with these digits; bring them back there", "train",
            "--resume", run);
        string page = File.ReadAllText(Path.Combine(run, "report.html"));
        Assert.Contains("No pictures of digits and no calibration", page, StringComparison.Ordinal);
        Assert.Contains("train.csv: no such file any more.</p>", page, StringComparison.Ordinal); // without advice on how to give digits
        Assert.Contains("Confusion matrix", page, StringComparison.Ordinal); // from metrics.json

        foreach (string file in new[] { "metrics.json", "model.safetensors", "history.csv" }) // which follow from the state
        {
            File.Delete(Path.Combine(run, file));
        }

        CliProgram.Run("report", run).Succeeded();
        Assert.Contains("The run has not ended: 1 of 1 epoch", File.ReadAllText(Path.Combine(run, "report.html")),
            StringComparison.Ordinal);
        CliProgram.Run("report", run, run, "--out", _folder["both.html"]).Succeeded();
        Assert.Contains("<td><span>1 of 1,</span> <span>not ended</span></td>", File.ReadAllText(_folder["both.html"]),
            StringComparison.Ordinal);
    }

    [LongFact]
    public void What_is_no_run_or_damaged_is_refused()
    {
        string run = Train("run", "--epochs", "1");
        CliProgram.AssertRefused("no such folder", "report", _folder["absent"]);
        CliProgram.AssertRefused("is a folder", "report", run, "--out", _folder.Path);
        CliProgram.AssertRefused("cannot be written", "report", run, "--out", _folder["absent/report.html"]);
        CliProgram.AssertRefused("report", "report");
        File.AppendAllText(Path.Combine(run, "history.csv"), "2,x\n");
        CliProgram.AssertRefused("metrics.json: is damaged: its content and that of history.csv do not match", "report", run);
        File.WriteAllText(Path.Combine(run, "metrics.json"),
            RunFiles.WithoutSum(File.ReadAllText(Path.Combine(run, "metrics.json")))
            .Replace("\"confusion\": [", "\"confusion\": [[1],", StringComparison.Ordinal));
        File.WriteAllLines(Path.Combine(run, "history.csv"), File.ReadLines(Path.Combine(run, "history.csv")).Take(2).ToArray());
        CliProgram.AssertRefused("metrics.json: is damaged: its numbers", "report", run);
        File.WriteAllText(Path.Combine(run, "metrics.json"), "{");
        CliProgram.AssertRefused("metrics.json: is damaged", "report", run);
    }

    private string Train(string name, params string[] options)
    {
        string run = _folder[name];
        Assert.Equal(0, CliProgram.Invoke(
            ["train", "--data", _train, "--model", "simple", "--device", "cpu", "--quiet", "--out", run, .. options]));
        return run;
    }

    private static IEnumerable<string> Svgs(string page) =>
        Regex.Matches(page, "<svg.*?</svg>", RegexOptions.Singleline).Select(match => match.Value);

    private static IEnumerable<string> Variables(string page) =>
        Regex.Matches(page, @"var\((--[a-z0-9-]+)\)").Select(match => match.Groups[1].Value)
        .Where(name => name is not ("--own" or "--share" or "--longest" or "--runs")).Distinct();
}
