using System.Net;
using System.Xml.Linq;
using CudnnDigits.Cli.Studies;

namespace CudnnDigits.Tests.Cli;

/// <summary>compare, crossval, repeat and tune, through the program itself.</summary>
public sealed class StudyTests : TestsWithFolder
{
    private readonly string _train;

    public StudyTests() => _train = _folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(203, seed: 2)));

    [LongFact]
    public void Folds_made_one_by_one_and_collected_are_the_whole_cross_validation()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "1", "--folds", "3"];
        using JsonDocument whole = JsonDocument.Parse(Run(["crossval", .. options, "--out", _folder["whole"], "--json"]));
        foreach (int fold in new[] { 3, 1, 2 })
        {
            Run(["crossval", .. options, "--fold", $"{fold}", "--out", _folder[$"cv/fold-{fold}"]]);
        }

        using JsonDocument collected = JsonDocument.Parse(Run("crossval", "--collect", _folder["cv"], "--json"));
        foreach (string part in new[] { "accuracy", "macro_f1", "pooled" })
        {
            Assert.Equal(whole.RootElement.GetProperty(part).GetRawText(), collected.RootElement.GetProperty(part).GetRawText());
        }

        Run("crossval", "--collect", _folder["cv"], "--out", _folder["together"]);
        Assert.Contains("3-fold cross-validation", File.ReadAllText(_folder["together/report.html"]), StringComparison.Ordinal);
        Assert.Equal(collected.RootElement.GetRawText(), File.ReadAllText(_folder["together/crossval.json"]).Trim());

        JsonElement pooled = whole.RootElement.GetProperty("pooled");
        Assert.Equal(203, pooled.GetProperty("samples").GetInt32());
        Assert.Equal([68, 68, 67],
            whole.RootElement.GetProperty("folds").EnumerateArray().Select(fold => fold.GetProperty("samples").GetInt32()));
        int[] support = [.. pooled.GetProperty("classes").EnumerateArray().Select(c => c.GetProperty("support").GetInt32())];
        Assert.Equal([21, 21, 21, 20, 20, 20, 20, 20, 20, 20], support);
        string page = AssertPage("whole", "Run by run", "Curves", "Confusion matrix", "Per class", "Digits it read wrong",
            "Calibration: is it as sure as it is right?", "How it was made");
        Assert.Contains($"<td>{pooled.GetProperty("macro_recall").GetDouble():P2}</td>", page, StringComparison.Ordinal);
        Assert.Contains("<dd>fold 1 of 3 … fold 3 of 3</dd>", page, StringComparison.Ordinal);
        Assert.Equal(3, Regex.Count(page, "<th scope=\"row\">fold "));
        Assert.True(File.Exists(_folder["whole/fold-2/report.html"]));

        // A fold is a run like any other: its weights know which rows it held out.
        string evaluated = Run("evaluate", "--weights", _folder["cv/fold-2/model.safetensors"], "--data", _train, "--subset", "validation",
            "--json");
        Assert.Equal(RunFiles.Metrics(_folder["cv/fold-2"]), evaluated.Trim());

        CliProgram.AssertRefused("fold 3 of 3 is missing", "crossval", "--collect", _folder["cv/fold-1"], _folder["cv/fold-2"]);
        CliProgram.AssertRefused("holds run.json, which --collect has not written", "crossval", "--collect", _folder["cv"], "--out",
            _folder["cv/fold-1"]);
        for (int times = 0; times < 2; times++) // beside the folds, as README has it, and over its own
        {
            Run("crossval", "--collect", _folder["cv"], "--out", _folder["cv"]);
            Assert.True(File.Exists(_folder["cv/report.html"]) && File.Exists(_folder["cv/crossval.json"]));
        }

        foreach (string name in new[] { "report.html", "crossval.json" })
        {
            string mine = _folder.Make($"mine-{name}");
            File.WriteAllText(Path.Combine(mine, name), "mine");
            CliProgram.AssertRefused($"holds {name}, which --collect has not written", "crossval", "--collect", _folder["cv"], "--out",
                mine);
            Assert.Equal("mine", File.ReadAllText(Path.Combine(mine, name)));
        }

        CliProgram.AssertRefused("is there 2 times", "crossval", "--collect", _folder["cv"], _folder["whole/fold-1"]);
        CliProgram.AssertRefused("no such folder", "crossval", "--collect", _folder["absent"]);
        CliProgram.AssertRefused("holds no runs", "crossval", "--collect", _folder.Make("empty"));
        CliProgram.AssertRefused("there is no such fold", ["crossval", .. options, "--fold", "4"]);
        Run(["train", "--data", _train, "--model", "simple", "--epochs", "1", "--out", _folder["cv/plain"]]);
        CliProgram.AssertRefused("plain: is no run of crossval --fold", "crossval", "--collect", _folder["cv"]);
        Directory.Delete(_folder["cv/plain"], recursive: true);
        Directory.Delete(_folder["cv/fold-1"], recursive: true);
        Run(["crossval", .. options, "--fold", "1", "--seed", "7", "--out", _folder["cv/fold-1"]]);
        CliProgram.AssertRefused("other options or data", "crossval", "--collect", _folder["cv"]);
        File.Delete(_folder["cv/fold-2/metrics.json"]);
        CliProgram.AssertRefused("fold-2: has not ended", "crossval", "--collect", _folder["cv"]);
    }

    [LongFact]
    public void An_interrupted_study_resumes_to_the_same_figures()
    {
        Signals.Require("INT");
        string[] options = ["--data", _train, "--model", "improved", "--epochs", "3", "--batch-size", "16", "--folds", "3"];
        string whole = Run(["crossval", .. options, "--out", _folder["whole"], "--json"]);
        Process process = CliProgram.Start(["crossval", .. options, "--out", _folder["stopped"]]);
        Signals.WaitUntil(() => File.Exists(_folder["stopped/fold-2/history.csv"]), process);
        Signals.Send(process, "INT");
        CliProgram.Result stopped = CliProgram.Finish(process);
        Assert.Equal(130, stopped.ExitCode);
        Assert.Contains($"crossval --resume {_folder["stopped"]}", stopped.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["stopped/crossval.json"]));

        DateTime first = File.GetLastWriteTimeUtc(_folder["stopped/fold-1/model.safetensors"]);
        Assert.Equal(whole.Replace(_folder["whole"], _folder["stopped"], StringComparison.Ordinal),
            Run("crossval", "--resume", _folder["stopped"], "--json"));
        Assert.Equal(first, File.GetLastWriteTimeUtc(_folder["stopped/fold-1/model.safetensors"])); // not trained again

        CliProgram.AssertRefused("--folds cannot be changed by --resume", "crossval", "--resume", _folder["stopped"], "--folds", "4");
        CliProgram.AssertRefused("holds no crossval", "crossval", "--resume", _folder["absent"]);
        CliProgram.AssertRefused("holds a crossval", "tune", "--resume", _folder["stopped"]);
        CliProgram.AssertRefused("holds a study, which has a page of its own", "report", _folder["stopped"], _folder["stopped/fold-1"]);
        CliProgram.AssertRefused("a file that this command reads", "report", _folder["stopped"], "--out",
            _folder["stopped/fold-1/model.safetensors"]);
        File.Delete(_folder["stopped/fold-2/metrics.json"]);
        CliProgram.AssertRefused("has not ended (fold 2 of 3); if it is not running, go on with ", "report", _folder["stopped"]);
        CliProgram.AssertRefused("holds a study already; go on with ", ["crossval", .. options, "--out", _folder["stopped"]]);
        CliProgram.AssertRefused("is not empty; choose another", ["crossval", .. options, "--out", _folder.Path]);
        _folder.Write("killed/study.json.0123456789abcdef.tmp", "{");
        Run(["crossval", "--data", _train, "--model", "simple", "--epochs", "1", "--folds", "2", "--out", _folder["killed"]]);
        Assert.False(File.Exists(_folder["killed/study.json.0123456789abcdef.tmp"]));
        _folder.Write("stopped/study.json", "{ \"command\": 3");
        CliProgram.AssertRefused("study.json: is damaged", "crossval", "--resume", _folder["stopped"]);
    }

    /// <summary>What stands in study.json, and what somebody or something has made of it.</summary>
    [LongFact]
    public void A_damaged_study_is_refused_in_one_line()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "1"];
        Run(["repeat", .. options, "--seeds", "2", "--out", _folder["repeat"]]);
        string file = _folder["repeat/study.json"], good = File.ReadAllText(file);
        (string From, string To)[] wounds =
        [
            ("\"size\": 2", "\"size\": 1"), ("\"size\": 2", "\"size\": 2000000000"), ("\"size\": 2", "\"size\": -1"),
            ("\"size\": 2", "\"size\": \"2\""), ("\"size\": 2", "\"size\": 1e99"), ("\"size\": 2", "\"width\": 2"),
            ("\"epochs\": 1", "\"epochs\": 0"), ("\"epochs\": 1", "\"epochs\": 2000000000"), ("\"epochs\": 1", "\"epochs\": null"),
            ("\"batch_size\": 64", "\"batch_size\": 2000000000"), ("\"batch_size\": 64", "\"batch_size\": 0"),
            ("\"threads\": 0", "\"threads\": -5"), ("\"threads\": 0", "\"threads\": 2000000000"),
            ("\"device\": \"auto\"", "\"device\": \"tpu\""), ("\"device\": \"auto\"", "\"device\": null"),
            ("\"schedule\": \"OneCycle\"", "\"schedule\": 17"), ("\"model\": \"simple\"", "\"model\": \"resnet\""),
            ("\"learning_rate\": 0.003", "\"learning_rate\": -1"), ("\"validation\": 0.2", "\"validation\": 7"),
            ("\"command\": \"repeat\"", "\"command\": null"), ("\"command\": \"repeat\"", "\"command\": \"crossval\""),
            ("\"data\": {", "\"data\": null, \"x\": {"), ("\"fingerprint\"", "\"x\""), ("{", "["), ("{", "null {"),
        ];
        foreach ((string from, string to) in wounds)
        {
            Assert.Contains(from, good, StringComparison.Ordinal);
            File.WriteAllText(file, good.Replace(from, to, StringComparison.Ordinal));
            Assert.Contains(_folder["repeat"], CliProgram.Refusal("repeat", "--resume", _folder["repeat"], "--quiet"),
                StringComparison.Ordinal);
        }

        CliProgram.AssertRefused(file, "repeat", "--resume", _folder["repeat"]);
        File.Delete(file);
        Directory.CreateDirectory(file);
        CliProgram.AssertRefused(_folder["repeat"], "repeat", "--resume", _folder["repeat"]);
        Directory.Delete(file);
        File.WriteAllText(file, good);
        File.Delete(_folder["repeat/report.html"]);
        _folder.Make("repeat/report.html/x"); // where its own page would go
        File.Delete(_folder["repeat/repeat.json"]);
        Assert.Equal(2, CliProgram.Run("repeat", "--resume", _folder["repeat"]).ExitCode);
    }

    [LongFact]
    public void Compare_trains_by_the_reports_protocol_and_sets_its_table_beside_ours()
    {
        string text = Run("compare", "--data", _train, "--seeds", "2", "--epochs", "1", "--out", _folder["compare"]);
        Assert.Contains("0.98585 and 0.98614 are 8 digits apart in 28,000", text, StringComparison.Ordinal);
        Assert.Contains("99.12 %          98.54 %          0.98585", text, StringComparison.Ordinal);
        Assert.Contains("98.84 %          98.90 %          0.98614", text, StringComparison.Ordinal);
        foreach (string kind in new[] { "simple-plain", "simple-augmented", "improved-plain", "improved-augmented" })
        {
            for (int seed = 0; seed < 2; seed++)
            {
                TrainingOptions o = new RunFolder(_folder[$"compare/{kind}-seed{seed}"]).ReadRecord().Options;
                Assert.Equal((0.001, 64, 0.2, (ulong)seed, true),
                    (o.Optimizer.LearningRate, o.BatchSize, o.Validation, o.Seed, o.KeepLast));
                Assert.Equal(kind.EndsWith("augmented", StringComparison.Ordinal), o.Augmentation.IsEnabled);
                Assert.Equal(kind.StartsWith("simple", StringComparison.Ordinal) ? LearningRateSchedule.Constant
                    : LearningRateSchedule.Plateau, o.Schedule);
            }
        }

        // The means are those of the runs' own files; a second call reads what the first one trained.
        using JsonDocument json = JsonDocument.Parse(Run("compare", "--resume", _folder["compare"], "--json"));
        JsonElement row = json.RootElement.GetProperty("rows")[0];
        double[] accuracies =
            [.. new[] { 0, 1 }.Select(seed =>
            new RunFolder(_folder[$"compare/simple-plain-seed{seed}"]).ReadHistory()[^1].ValidationAccuracy!.Value)];
        Assert.Equal(accuracies.Average(), row.GetProperty("validation_accuracy").GetProperty("mean").GetDouble(), 1e-12);
        Assert.Equal(0.98585, row.GetProperty("report_kaggle_score").GetDouble());
        Assert.Equal(JsonValueKind.Null, json.RootElement.GetProperty("rows")[1].GetProperty("report_kaggle_score").ValueKind);
        string page = AssertPage("compare", "Curves", "Run by run", "Confusion matrix", "Digits it read wrong");
        Assert.Contains("8 digits apart", page, StringComparison.Ordinal);
        Assert.Matches(">99.12 %</td><td[^>]*>98.54 %</td><td[^>]*>0.98585</td>", page);
        Assert.Contains($">{Spread.Of(accuracies).ToPercent()}</td>", page, StringComparison.Ordinal);
        Assert.Equal(4, Regex.Count(page, "<section class=\"run\""));
        Assert.Equal(text[..text.IndexOf("\n\nreport ", StringComparison.Ordinal)],
            File.ReadAllText(_folder["compare/compare.txt"]).TrimEnd());
    }

    [Fact]
    public void Compare_takes_the_networks_that_are_named_and_keeps_them_for_resume()
    {
        string text = Run("compare", "--data", _train, "--models", "mlp", "--seeds", "1", "--epochs", "1", "--out", _folder["compare"]);
        Assert.Matches(@"
mlp +none +1 .*
mlp +standard +1 ", text);
        Assert.DoesNotContain("apart in 28,000", text, StringComparison.Ordinal); // the report gives no figures of it
        TrainingOptions o = new RunFolder(_folder["compare/mlp-augmented-seed0"]).ReadRecord().Options;
        Assert.Equal((0.001, 64, LearningRateSchedule.Constant), (o.Optimizer.LearningRate, o.BatchSize, o.Schedule));
        Assert.Equal(text, Run("compare", "--resume", _folder["compare"]));
        Assert.DoesNotContain("models", File.ReadAllText(_folder["compare/mlp-plain-seed0/run.json"]), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("resnet")]
    [InlineData("mlp,")]
    [InlineData("mlp,mlp")]
    [InlineData("")]
    public void Compare_refuses_what_is_no_list_of_networks(string models)
    {
        Assert.Equal(2, CliProgram.Run(["compare", "--models", models, "--out", _folder["none"]]).ExitCode);
        Assert.False(Directory.Exists(_folder["none"]));
    }

    [Fact]
    public void Repeat_is_what_train_does_with_each_seed()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "2", "--batch-size", "32"];
        string text = Run(["repeat", .. options, "--seeds", "3", "--seed", "7", "--out", _folder["repeat"]]);
        Run(["train", .. options, "--seed", "8", "--out", _folder["alone"]]);
        Assert.Equal(File.ReadLines(_folder["alone/history.csv"]).Select(Without),
            File.ReadLines(_folder["repeat/seed-8/history.csv"]).Select(Without));

        using JsonDocument json = JsonDocument.Parse(Run("repeat", "--resume", _folder["repeat"], "--json"));
        double[] accuracies =
            [.. new[] { 7, 8, 9 }.Select(seed =>
            new RunFolder(_folder[$"repeat/seed-{seed}"]).ReadHistory()[^1].ValidationAccuracy!.Value)];
        JsonElement accuracy = json.RootElement.GetProperty("accuracy");
        Assert.Equal(accuracies, accuracy.GetProperty("values").EnumerateArray().Select(value => value.GetDouble()));
        Assert.Equal(accuracies.Average(), accuracy.GetProperty("mean").GetDouble(), 1e-12);
        Assert.Equal([7UL, 8, 9],
            json.RootElement.GetProperty("seeds").EnumerateArray().Select(seed => seed.GetProperty("seed").GetUInt64()));
        Assert.Equal(json.RootElement.GetRawText(), File.ReadAllText(_folder["repeat/repeat.json"]).Trim());
        Assert.Contains("simple, 2 epochs, 3 seeds", text, StringComparison.Ordinal);
        string page = AssertPage("repeat", "Run by run", "Curves", "Confusion matrix", "Digits it read wrong");
        Assert.Contains("<h1>3 seeds</h1>", page, StringComparison.Ordinal);
        Assert.Contains($"± {json.RootElement.GetProperty("accuracy").GetProperty("deviation").GetDouble():P2}, over 3 runs", page,
            StringComparison.Ordinal);
        Assert.DoesNotContain("Compare with care", page, StringComparison.Ordinal); // a split of its own is what each seed is asked for
        CliProgram.AssertRefused("--seeds cannot be changed by --resume", "repeat", "--resume", _folder["repeat"], "--seeds", "4");

        static string Without(string row) => string.Join(',', row.Split(',')[..6]); // seconds are those of the clock
    }

    [LongFact]
    public void Tune_spends_its_budget_resumes_and_judges_on_digits_it_never_saw()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "3", "--budget", "18", "--seed", "4"];
        using JsonDocument whole = JsonDocument.Parse(Run(["tune", .. options, "--out", _folder["whole"], "--json"]));
        string[] rows = File.ReadAllLines(_folder["whole/trials.csv"]);
        Assert.Equal(
            "trial,epochs,learning_rate,batch_size,schedule,dropout,rotate,shift,zoom,"
                + "validation_accuracy,validation_loss,train_loss,seconds", rows[0]);
        Assert.Equal([9, 3], rows.Skip(1).GroupBy(row => row.Split(',')[1]).Select(rung => rung.Count())); // 9 × 1 + 3 × 3 epochs
        Assert.Equal(18, whole.RootElement.GetProperty("epochs_spent").GetInt32());
        Assert.Equal("0", rows[10].Split(',')[0]); // the defaults reach the last rung

        string best = rows.Skip(10).Select(row => row.Split(','))
            .OrderByDescending(cells => double.Parse(cells[9], CultureInfo.InvariantCulture))
            .ThenBy(cells => double.Parse(cells[10], CultureInfo.InvariantCulture)).First()[0];
        Assert.Equal(best, $"{whole.RootElement.GetProperty("winner").GetInt32()}");
        string weights = Path.Combine(whole.RootElement.GetProperty("run").GetString()!, "model.safetensors");
        using JsonDocument test = JsonDocument.Parse(Run("evaluate", "--weights", weights, "--data", _train, "--subset", "test", "--json"));
        Assert.Equal(test.RootElement.GetProperty("accuracy").GetDouble(), whole.RootElement.GetProperty("test_accuracy").GetDouble());
        Assert.Equal(40, test.RootElement.GetProperty("samples").GetInt32());
        XElement.Load(_folder["whole/tune.svg"]);
        string page = AssertPage("whole", "Use it", "Error by option", "From rung to rung", "Trials", "Confusion matrix",
            "Digits it read wrong");
        Assert.Contains($"--lr {whole.RootElement.GetProperty("options").GetProperty("learning_rate").GetRawText()}</span>", page,
            StringComparison.Ordinal);
        Assert.Contains($"<strong>{whole.RootElement.GetProperty("test_accuracy").GetDouble():P2}</strong>", page,
            StringComparison.Ordinal);
        string table = page[page.IndexOf("<h3>Trials</h3>", StringComparison.Ordinal)..];
        string[] listed = [.. Regex.Matches(table[..table.IndexOf("</table>", StringComparison.Ordinal)],
            "<tr><th scope=\"row\">trial (\\d+)</th>").Select(match => match.Groups[1].Value)];
        Assert.Equal(best, listed[0]);
        Assert.Equal(9, listed.Distinct().Count());
        string result = File.ReadAllText(_folder["whole/tune.json"]);
        _folder.Write("whole/tune.json", Regex.Replace(result, "\"winner\": \\d+", "\"winner\": 77"));
        CliProgram.AssertRefused("is damaged, trial 77 is not in the last rung", "report", _folder["whole"]);
        _folder.Write("whole/tune.json", "{");
        CliProgram.AssertRefused("tune.json: is damaged", "report", _folder["whole"]);
        _folder.Write("whole/tune.json", result);
        string last = $"trial-{int.Parse(listed[^1], CultureInfo.InvariantCulture):D3}-epochs-1";
        File.Move(_folder[$"whole/{last}/metrics.json"], _folder["metrics.json"]); // as a trial is left whose loss became no number
        Run("report", _folder["whole"]);
        Assert.Contains(">diverged</td>", File.ReadAllText(_folder["whole/report.html"]), StringComparison.Ordinal);
        File.Move(_folder["metrics.json"], _folder[$"whole/{last}/metrics.json"]);
        Assert.Equal(9, listed.Length);

        // As if it had been stopped in the last rung.
        _folder.Make("stopped");
        foreach (string trial in Directory.GetDirectories(_folder["whole"])
            .Where(path => path.EndsWith("epochs-1", StringComparison.Ordinal)))
        {
            string copy = Directory.CreateDirectory(Path.Combine(_folder["stopped"], Path.GetFileName(trial))).FullName;
            Array.ForEach(Directory.GetFiles(trial), file => File.Copy(file, Path.Combine(copy, Path.GetFileName(file))));
        }

        File.Copy(_folder["whole/study.json"], _folder["stopped/study.json"]);
        Run("tune", "--resume", _folder["stopped"]);
        Assert.Equal(rows.Select(WithoutSeconds), File.ReadAllLines(_folder["stopped/trials.csv"]).Select(WithoutSeconds));
        CliProgram.AssertRefused("--budget 3 is too little", "tune", "--data", _train, "--model", "simple", "--epochs", "3", "--budget",
            "3");
        static string WithoutSeconds(string row) => row[..row.LastIndexOf(',')];
    }

    [Theory]
    [InlineData(12, 120)]
    [InlineData(5, 30)]
    [InlineData(1, 2)]
    [InlineData(27, 1000)]
    public void Rungs_stay_within_the_budget_and_get_fewer_and_longer(int epochs, int budget)
    {
        IReadOnlyList<Rung> rungs = Rung.Plan(epochs, budget);
        Assert.InRange(rungs.Sum(rung => rung.Epochs * rung.Trials), 1, budget);
        Assert.Equal(epochs, rungs[^1].Epochs);
        Assert.True(rungs[^1].Trials >= 2);
        Assert.All(rungs.Zip(rungs.Skip(1)),
            pair => Assert.True(pair.First.Epochs < pair.Second.Epochs && pair.First.Trials > pair.Second.Trials));
        Assert.True(Rung.LeastBudget(epochs) <= budget);
        Assert.True(Rung.Plan(epochs, Rung.LeastBudget(epochs))[^1].Trials >= 2);
    }

    [Fact]
    public void Trials_are_drawn_by_the_seed_from_the_whole_space()
    {
        TrainingOptions defaults = TrainingOptions.For("improved");
        TrainingOptions[] trials = [.. Enumerable.Range(0, 200).Select(trial => TrialSpace.Draw(defaults, trial))];
        Assert.Equal(defaults, trials[0]);
        Assert.Equal(trials[77], TrialSpace.Draw(defaults, 77));
        Assert.NotEqual(trials[77], TrialSpace.Draw(defaults with { Seed = 1 }, 77) with { Seed = 0 });
        Assert.Equal([32, 64, 128, 256], trials.Select(o => o.BatchSize).Distinct().Order());
        Assert.Equal(Enum.GetValues<LearningRateSchedule>(), trials.Select(o => o.Schedule).Distinct().Order());
        Assert.All(trials, o => Assert.InRange(o.Optimizer.LearningRate, 3e-4, 1e-2));
        Assert.InRange(trials.Count(o => o.Optimizer.LearningRate < 1.7e-3), 70, 130); // the middle of a logarithmic scale
        Assert.InRange(trials.Skip(1).Average(o => o.Dropout!.Value), 0.2, 0.3);
        Assert.Null(TrialSpace.Draw(TrainingOptions.For("simple"), 5).Dropout); // it has none
        Assert.All(trials, o =>
            Assert.Equal(o.Optimizer.LearningRate,
            double.Parse(o.Optimizer.LearningRate.ToString("G2", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)));
    }

    [Fact]
    public void The_deviation_is_that_of_a_sample()
    {
        Spread spread = Spread.Of([2, 4, 4, 4, 5, 5, 7, 9]);
        Assert.Equal((5.0, Math.Sqrt(32.0 / 7)), (spread.Mean, spread.Deviation));
        Assert.Equal("98.57 ± 0.14 %", Spread.Of([0.9847, 0.9867]).ToPercent());
        Assert.Equal("98.54 %", Spread.Of([0.9854]).ToPercent());
    }

    /// <summary>A study's page: its sections, in one file without a script, and the same when it is written again.</summary>
    private string AssertPage(string study, params string[] headings)
    {
        string file = _folder[$"{study}/report.html"], page = File.ReadAllText(file);
        Assert.All(headings, heading => Assert.Contains($"<h3>{heading}</h3>", page, StringComparison.Ordinal));
        Assert.DoesNotMatch("(src|href)=\"(?!data:|#)", page);
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        string[] ids = [.. Regex.Matches(page, " id=\"([^\"]+)\"").Select(match => match.Groups[1].Value)];
        Assert.Equal(ids.Length, ids.Distinct().Count());
        string[] before = Directory.GetFiles(_folder[study], "*", SearchOption.AllDirectories);
        File.Delete(file);
        Assert.Contains(file, Run("report", _folder[study]), StringComparison.Ordinal);
        Assert.Equal(page, File.ReadAllText(file));
        Assert.Equal(before, Directory.GetFiles(_folder[study], "*", SearchOption.AllDirectories));
        return WebUtility.HtmlDecode(page);
    }

    private static string Run(params string[] arguments) => CliProgram.Run(arguments).Succeeded().Output;
}
