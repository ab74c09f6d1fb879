namespace CudnnDigits.Tests.Cli;

/// <summary>Runs that are killed, interrupted, extended: through the program itself.</summary>
public sealed class ResumeTests : TestsWithFolder
{
    private readonly string _train;

    public ResumeTests() => _train = _folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(300, seed: 2)));

    [LongFact]
    public void A_killed_run_resumes_to_the_same_bits()
    {
        string[] options = ["--data", _train, "--model", "improved", "--epochs", "3", "--seed", "3", "--batch-size", "16"];
        string whole = _folder["whole"], killed = _folder["killed"];
        CliProgram.Run(["train", .. options, "--out", whole]).Succeeded();
        using (Process process = CliProgram.Start(["train", .. options, "--out", killed]))
        {
            Signals.WaitUntil(() => File.Exists(Path.Combine(killed, "history.csv"))
                && File.ReadAllLines(Path.Combine(killed, "history.csv")).Length > 1, process);
            process.Kill(); // SIGKILL
            process.WaitForExit();
        }

        CliProgram.Run("train", "--resume", killed, "--threads", "1").Succeeded();
        AssertSameRun(whole, killed);

        // Once done, resuming changes nothing.
        byte[] model = File.ReadAllBytes(Path.Combine(killed, "model.safetensors"));
        CliProgram.Run("train", "--resume", killed).Succeeded();
        Assert.Equal(model, File.ReadAllBytes(Path.Combine(killed, "model.safetensors")));
    }

    /// <summary>Its files hold the average where weights are kept, so that all commands read the average.</summary>
    [Fact]
    public void A_run_with_an_average_of_the_weights_resumes_and_keeps_the_average()
    {
        string[] options = ["--data", _train, "--model", "simple", "--schedule", "constant", "--validation", "0", "--ema", "0.9"];
        string whole = _folder["whole"], resumed = _folder["resumed"];
        Assert.Equal(0, CliProgram.Invoke(["train", .. options, "--epochs", "2", "--out", whole]));
        Assert.Equal(0, CliProgram.Invoke(["train", .. options, "--epochs", "1", "--out", resumed]));
        Assert.Equal(0, CliProgram.Invoke("train", "--resume", resumed, "--epochs", "2", "--quiet"));
        AssertSameRun(whole, resumed);
        TrainingState state = Checkpoint.LoadState(Path.Combine(whole, "last.safetensors"), Network(whole));
        Assert.NotEqual(state.Weights.Trained, state.Optimizer.Average);
        foreach (string file in new[] { "model.safetensors", "last.safetensors" })
        {
            Assert.Equal(state.Optimizer.Average, Checkpoint.LoadWeights(Path.Combine(whole, file)).Weights.Trained);
        }
    }

    [LongFact]
    public void A_run_killed_again_and_again_ends_with_the_same_bits()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "30", "--seed", "5", "--batch-size", "16"];
        string whole = _folder["whole"], killed = _folder["killed"];
        CliProgram.Run(["train", .. options, "--out", whole]).Succeeded();
        Random random = new(1);
        for (double left = 5 * Mutations.Factor; left > 0; left--)
        {
            int milliseconds = random.Next(250, 560);
            bool begun = File.Exists(Path.Combine(killed, "run.json"));
            using Process process = CliProgram.Start(begun ? ["train", "--resume", killed] : ["train", .. options, "--out", killed]);
            process.WaitForExit(milliseconds);
            process.Kill();
            process.WaitForExit();
        }

        CliProgram.Run(File.Exists(Path.Combine(killed, "run.json")) ? ["train", "--resume", killed]
            : ["train", .. options, "--out", killed]).Succeeded();
        AssertSameRun(whole, killed);
    }

    [Fact]
    public void A_run_killed_while_its_first_file_is_written_can_be_started_again()
    {
        string run = _folder["run"];
        _folder.Write("run/run.json.0123456789abcdef.tmp", "{");
        CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "1", "--out", run).Succeeded();
        Assert.False(File.Exists(Path.Combine(run, "run.json.0123456789abcdef.tmp")));
    }

    [LongFact]
    public void A_run_that_is_extended_and_killed_has_not_ended()
    {
        string run = _folder["run"], history = Path.Combine(run, "history.csv");
        CliProgram.Run("train", "--data", _train, "--model", "improved", "--epochs", "1", "--batch-size", "16", "--out", run).Succeeded();
        Assert.True(File.Exists(Path.Combine(run, "metrics.json")));
        using (Process process = CliProgram.Start("train", "--resume", run, "--epochs", "1000"))
        {
            Signals.WaitUntil(() => File.ReadAllLines(history).Length > 2, process);
            process.Kill();
            process.WaitForExit();
        }

        Assert.False(File.Exists(Path.Combine(run, "metrics.json")));
        CliProgram.Run("report", run).Succeeded();
        string page = File.ReadAllText(Path.Combine(run, "report.html"));
        Assert.Contains("The run has not ended", page, StringComparison.Ordinal);
        Assert.Contains("<h3>Digits it read wrong</h3>", page, StringComparison.Ordinal); // by the weights that it has kept so far
    }

    [Fact]
    public void A_run_killed_before_its_first_save_starts_over()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "2"];
        string whole = _folder["whole"], killed = _folder["killed"];
        CliProgram.Run(["train", .. options, "--out", whole]).Succeeded();
        _folder.Write("killed/run.json", File.ReadAllBytes(_folder["whole/run.json"])); // all there is after the first moment
        _folder.Write("killed/last.safetensors.0123456789abcdef.tmp", [1, 2, 3]);
        CliProgram.Run("train", "--resume", killed).Succeeded();
        AssertSameRun(whole, killed);
        Assert.False(File.Exists(Path.Combine(killed, "last.safetensors.0123456789abcdef.tmp")));
    }

    [LongFact]
    public void Ctrl_C_saves_first_and_the_run_resumes_to_the_same_bits()
    {
        Signals.Require("INT");
        string[] options = ["--data", _train, "--model", "improved", "--epochs", "3", "--seed", "3", "--batch-size", "16"];
        string whole = _folder["whole"], stopped = _folder["stopped"];
        CliProgram.Run(["train", .. options, "--out", whole]).Succeeded();
        Process process = CliProgram.Start(["train", .. options, "--out", stopped]);
        Signals.WaitUntil(() => File.Exists(Path.Combine(stopped, "history.csv"))
            && File.ReadAllLines(Path.Combine(stopped, "history.csv")).Length > 1, process);
        Signals.Send(process, "INT");
        CliProgram.Result result = CliProgram.Finish(process);
        Assert.Equal(130, result.ExitCode);
        Assert.Contains($"--resume {stopped}", result.Error, StringComparison.Ordinal);

        CliProgram.Run("train", "--resume", stopped).Succeeded();
        AssertSameRun(whole, stopped);
    }

    [Fact]
    public void Resume_extends_a_run_and_refuses_other_changes()
    {
        string run = _folder["run"];
        CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "2", "--schedule", "constant", "--out", run).Succeeded();
        CliProgram.AssertRefused("--lr cannot be changed by --resume", "train", "--resume", run, "--lr", "0.1");
        CliProgram.AssertRefused("--resume can only extend", "train", "--resume", run, "--epochs", "1");
        CliProgram.AssertRefused("holds a run already; continue it with train --resume", "train", "--data", _train, "--out", run);
        CliProgram.Run("train", "--resume", run, "--epochs", "3").Succeeded();
        Assert.Equal(4, File.ReadAllLines(Path.Combine(run, "history.csv")).Length);

        File.WriteAllBytes(_train, DigitFiles.Csv(GeneratedDigits.Create(200, seed: 8)));
        CliProgram.AssertRefused("is not the data that", "train", "--resume", run);
        CliProgram.AssertRefused("no such folder", "train", "--resume", _folder["absent"]);
    }

    [LongTheory]
    [InlineData("constant", true)]
    [InlineData("plateau", true)]
    [InlineData("one-cycle", false)]
    public void A_run_that_is_extended_is_one_of_more_epochs_or_says_that_it_is_not(string schedule, bool same)
    {
        string[] options = ["--data", _train, "--model", "simple", "--schedule", schedule, "--device", "cpu"];
        string whole = _folder["whole"], run = _folder["run"];
        Assert.Equal(0, CliProgram.Invoke(["train", .. options, "--epochs", "4", "--quiet", "--out", whole]));
        Assert.Equal(0, CliProgram.Invoke(["train", .. options, "--epochs", "2", "--quiet", "--out", run]));
        CliProgram.Result extended = CliProgram.Run("train", "--resume", run, "--epochs", "4").Succeeded();
        Assert.Equal(same, Checkpoint.LoadWeights(whole).Weights.Trained.SequenceEqual(Checkpoint.LoadWeights(run).Weights.Trained));
        Assert.Equal(
            same ? [] : ["note      the one-cycle schedule was computed for --epochs 2 and is now computed for --epochs 4, so the result "
                + "is not that of a run with --epochs 4 from the start"], Notes(extended));

        // Said at the end of the run, too: there is nothing more to do.
        Assert.Equal(["note      nothing is left to train: epoch 4 of 4 is done; more --epochs train further"],
            Notes(CliProgram.Run("train", "--resume", run)));
    }

    [LongFact]
    public void A_run_that_was_killed_before_its_first_step_is_extended_without_a_note()
    {
        string whole = _folder["whole"], killed = _folder["killed"];
        Assert.Equal(0, CliProgram.Invoke("train", "--data", _train, "--model", "simple", "--epochs", "3", "--device", "cpu", "--quiet",
            "--out", whole));
        Assert.Equal(0, CliProgram.Invoke("train", "--data", _train, "--model", "simple", "--epochs", "2", "--device", "cpu", "--quiet",
            "--out", killed));
        Assert.All(Directory.GetFiles(killed).Where(file => !file.EndsWith("run.json", StringComparison.Ordinal)), File.Delete);
        CliProgram.Result extended = CliProgram.Run("train", "--resume", killed, "--epochs", "3").Succeeded();
        Assert.Empty(Notes(extended));
        Assert.Equal(Checkpoint.LoadWeights(whole).Weights.Trained, Checkpoint.LoadWeights(killed).Weights.Trained);
    }

    [LongFact]
    public void A_run_that_stopped_early_says_that_more_epochs_train_nothing()
    {
        string run = _folder["run"];
        CliProgram.Result trained = CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "9", "--early-stop", "1",
            "--lr", "0.3", "--device", "cpu", "--out", run).Succeeded();
        Assert.Contains(", early stop after 1, augmentation ", trained.Error, StringComparison.Ordinal);
        int stopped = File.ReadAllLines(Path.Combine(run, "history.csv")).Length - 1;
        Assert.InRange(stopped, 2, 8);
        Assert.Equal([$"note      stopped early after epoch {stopped}, since none was better than epoch {stopped - 1} (--early-stop 1)"],
            Notes(trained));
        byte[] model = File.ReadAllBytes(Path.Combine(run, "model.safetensors"));
        CliProgram.Result resumed = CliProgram.Run("train", "--resume", run, "--epochs", "20", "--json").Succeeded();
        Assert.Contains("\"trained_epochs\": 0,", resumed.Output, StringComparison.Ordinal);
        Assert.Contains(": 9 epochs of ", resumed.Error, StringComparison.Ordinal);
        Assert.Contains($"run       {run}, which has ended\n", resumed.Error, StringComparison.Ordinal);
        Assert.Equal(9, new RunFolder(run).ReadRecord().Options.Epochs);
        CliProgram.AssertRefused($"{run}/last.safetensors: is one of a run's files; give the run's folder, {run}", "train", "--resume",
            $"{run}/last.safetensors");
        Assert.Equal(
            [$"note      nothing is left to train: the run stopped early after epoch {stopped}, since none was better than epoch "
                + $"{stopped - 1} (--early-stop 1); --init-from {run} begins a new run with its weights"],
            Notes(resumed));
        Assert.Equal(model, File.ReadAllBytes(Path.Combine(run, "model.safetensors")));
    }

    [Fact]
    public void A_run_of_an_older_version_that_stops_early_by_nothing_held_out_still_resumes()
    {
        string run = _folder["run"];
        Assert.Equal(0, CliProgram.Invoke("train", "--data", _train, "--model", "simple", "--epochs", "2", "--validation", "0",
            "--schedule", "constant", "--device", "cpu", "--quiet", "--out", run));
        RunFolder folder = new(run);
        RunRecord record = folder.ReadRecord();
        record = record with { Options = record.Options with { EarlyStop = 3 } };
        folder.WriteRecord(record);
        folder.Save(Checkpoint.LoadState(folder.StateFile, DigitNetworks.Simple), record);
        CliProgram.Result resumed = CliProgram.Run("train", "--resume", run, "--epochs", "3").Succeeded();
        Assert.Equal(["note      nothing is held out, so --early-stop 3 goes by the training loss; new runs refuse it"], Notes(resumed));
        Assert.Equal(4, File.ReadAllLines(Path.Combine(run, "history.csv")).Length);
    }

    [Theory]
    [InlineData("train", "run", "run.json")]
    [InlineData("repeat", "repeat", "study.json")]
    public void What_was_begun_with_kernels_that_are_gone_says_that_it_goes_on_with_others(string command, string what, string record)
    {
        string folder = _folder["begun"], file = Path.Combine(folder, record);
        Assert.Equal(0, CliProgram.Invoke(command, "--data", _train, "--model", "simple", "--epochs", "1", "--quiet", "--out", folder));
        string text = RunFiles.WithoutSum(File.ReadAllText(file));
        File.WriteAllText(file, text.Replace("\"kernels\": \"Auto\"", "\"kernels\": \"Warpgroups\"", StringComparison.Ordinal));
        CliProgram.Result resumed = CliProgram.Run(command, "--resume", folder).Succeeded();
        string[] notes = [$"note      this {what} was begun with --kernels warpgroups, which no longer exists; it goes on with auto"];
        Assert.Equal(notes, Notes(resumed).Take(1));
    }

    private static IEnumerable<string> Notes(CliProgram.Result result) =>
        result.Error.Split('\n').Where(line => line.StartsWith("note ", StringComparison.Ordinal));

    [LongFact]
    public void A_run_that_is_being_written_is_not_resumed_and_ends_with_the_same_bits()
    {
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "15", "--seed", "5", "--batch-size", "16"];
        string whole = _folder["whole"], run = _folder["run"];
        CliProgram.Run(["train", .. options, "--out", whole]).Succeeded();
        Process first = CliProgram.Start(["train", .. options, "--out", run]);
        Signals.WaitUntil(() => File.Exists(Path.Combine(run, "history.csv")), first);
        Signals.Send(first, "STOP"); // or it may end before the others come
        CliProgram.AssertRefused($"{run}: is being written by process {first.Id} on {Environment.MachineName}", "train", "--resume", run);
        CliProgram.AssertRefused($"{run}: is being written by process {first.Id}", ["train", .. options, "--out", run]);
        Assert.Equal(2, CliProgram.RunIn(".", "DOTNET_SYSTEM_IO_DISABLEFILELOCKING", "1", "train", "--resume", run)
            .ExitCode); // .NET locks nothing then
        Signals.Send(first, "CONT");
        CliProgram.Finish(first).Succeeded();
        AssertSameRun(whole, run);
        Assert.False(File.Exists(Path.Combine(run, ".lock")));
    }

    [LongFact]
    public void Of_two_that_resume_at_once_one_goes_on()
    {
        Signals.Require("INT");
        string run = _folder["run"];
        CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "1", "--batch-size", "16", "--out", run).Succeeded();
        Process[] both = [.. Enumerable.Range(0, 2).Select(_ => CliProgram.Start("train", "--resume", run, "--epochs", "10000"))];
        Signals.WaitUntil(() => both[1].HasExited, both[0]);
        Process late = Array.Find(both, process => process.HasExited)!, first = both.Single(process => process != late);
        CliProgram.Result refused = CliProgram.Finish(late);
        Assert.Equal(2, refused.ExitCode);
        Assert.Contains($"{run}: is being written by process {first.Id} on {Environment.MachineName}", refused.Error,
            StringComparison.Ordinal);
        Signals.WaitUntil(() => File.ReadAllLines(Path.Combine(run, "history.csv")).Length > 2, first);
        Signals.Send(first, "INT");
        Assert.Equal(130, CliProgram.Finish(first).ExitCode);
        CliProgram.Run("report", run).Succeeded();
    }

    [LongFact]
    public void A_study_that_is_being_written_is_not_resumed()
    {
        string study = _folder["study"];
        Process first = CliProgram.Start("repeat", "--data", _train, "--model", "simple", "--epochs", "3", "--seeds", "2", "--batch-size",
            "16", "--out", study);
        Signals.WaitUntil(() => File.Exists(Path.Combine(study, "study.json")), first);
        Signals.Send(first, "STOP");
        CliProgram.AssertRefused($"{study}: is being written by process {first.Id}", "repeat", "--resume", study);
        Signals.Send(first, "CONT");
        Assert.Equal(0, CliProgram.Finish(first).ExitCode);
        CliProgram.Run("repeat", "--resume", study).Succeeded();
    }

    [LongFact]
    public void A_damaged_state_is_not_gone_on_with_and_nothing_is_changed()
    {
        string run = _folder["run"], state = Path.Combine(run, "last.safetensors");
        CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "1", "--out", run).Succeeded();
        byte[] good = File.ReadAllBytes(state);
        Dictionary<string, byte[]> before = Directory.GetFiles(run).Where(file => file != state)
            .ToDictionary(file => file, File.ReadAllBytes);
        byte[] flipped = [.. good];
        flipped[good.Length / 2] ^= 4;
        Refused("last.safetensors: is damaged", flipped);
        Refused("last.safetensors: is damaged", [.. good[..(good.Length / 2)], .. new byte[good.Length - good.Length / 2]]);
        Refused("bytes follow its last tensor", [.. good, 10]);
        File.Delete(state);
        CliProgram.AssertRefused("last.safetensors: is missing, though the run has trained", "train", "--resume", run, "--epochs", "2");
        Assert.All(before, file => Assert.Equal(file.Value, File.ReadAllBytes(file.Key)));

        void Refused(string says, byte[] bytes)
        {
            File.WriteAllBytes(state, bytes);
            CliProgram.AssertRefused(says, "train", "--resume", run, "--epochs", "2");
        }
    }

    private static void AssertSameRun(string expected, string actual)
    {
        TrainingState a = Checkpoint.LoadState(Path.Combine(expected, "last.safetensors"), Network(expected));
        TrainingState b = Checkpoint.LoadState(Path.Combine(actual, "last.safetensors"), Network(actual));
        Assert.Equal(a.Weights.Trained, b.Weights.Trained);
        Assert.Equal(a.Weights.Statistics, b.Weights.Statistics);
        Assert.Equal(File.ReadAllBytes(Path.Combine(expected, "model.safetensors")),
            File.ReadAllBytes(Path.Combine(actual, "model.safetensors")));
        Assert.Equal(RunFiles.Metrics(expected), RunFiles.Metrics(actual));
    }

    private static NetworkSpec Network(string run) => DigitNetworks.Find(new RunFolder(run).ReadRecord().Options.Model)!;
}
