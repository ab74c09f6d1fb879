namespace CudnnDigits.Tests.Cli;

/// <summary>Signals, closed streams and terminals that go away.</summary>
public sealed class InterruptionTests : TestsWithFolder
{
    private readonly string _train;

    public InterruptionTests()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs kill(1) and a shell");
        _train = _folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(100, seed: 2)));
    }

    /// <summary>A terminal that closes sends two of them, timeout(1) too.</summary>
    [Theory]
    [InlineData("train", "TERM")]
    [InlineData("train", "HUP HUP")]
    [InlineData("repeat", "HUP")]
    [InlineData("crossval", "TERM")]
    [InlineData("compare", "HUP")]
    [InlineData("tune", "TERM TERM")]
    public void A_signal_saves_first(string command, string signals)
    {
        ArgumentNullException.ThrowIfNull(signals);
        Signals.Require(signals.Split(' '));
        string run = _folder["run"];
        string[] few = command is "train" or "repeat" or "crossval" ? ["--model", "simple", "--batch-size", "16"] : command == "tune"
            ? ["--model", "simple", "--budget", "3000000"] : [];
        few = signals == "HUP" ? [.. few, "--quiet"] : few; // which keeps the advice
        Process process = CliProgram.Start([command, "--data", _train, "--epochs", "100000", .. few, "--out", run]);
        Signals.WaitUntil(() => Directory.Exists(run)
            && Directory.GetFiles(run, "history.csv", SearchOption.AllDirectories) is [string history, ..]
            && File.ReadAllLines(history).Length > 1, process);
        foreach (string signal in signals.Split(' '))
        {
            Signals.Send(process, signal);
        }

        CliProgram.Result result = CliProgram.Finish(process);
        Assert.Equal(130, result.ExitCode);
        Assert.Contains($"saved: go on with {CliProgram.Command} {command} --resume {run}\n", result.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(run, "*.tmp", SearchOption.AllDirectories));
        string[] states = Directory.GetFiles(run, "last.safetensors", SearchOption.AllDirectories);
        Assert.True(states.Length > 0 || command == "tune"); // whose shortest runs may have ended, and keep no state
        Assert.All(states, state =>
        {
            RunFolder folder = new(Path.GetDirectoryName(state)!);
            Assert.True(Checkpoint.LoadState(state, DigitNetworks.Find(folder.ReadRecord().Options.Model)!).Optimizer.Step > 0);
        });
    }

    [Fact]
    public void A_second_signal_ends_at_once()
    {
        Signals.Require("INT", "TERM");
        Process process = CliProgram.Start("train", "--data", _train, "--model", "simple", "--epochs", "100000", "--batch-size", "16",
            "--out", _folder["run"]);
        Signals.WaitUntil(() => File.Exists(_folder["run/history.csv"]), process);
        Signals.Send(process, "STOP"); // so that it cannot end by the first alone
        Signals.Send(process, "INT");
        Signals.Send(process, "CONT");
        Signals.Send(process, "TERM");
        Assert.Equal(130, CliProgram.Finish(process).ExitCode);
        Assert.Empty(Directory.GetFiles(_folder["run"], "*.tmp"));
    }

    /// <summary>What nohup and a shell's background jobs ask for.</summary>
    [Fact]
    public void A_signal_that_is_to_be_ignored_is_ignored()
    {
        using Process process =
            CliProgram.Shell("trap '' HUP INT; exec \"$@\"", "train", "--data", _train, "--model", "simple", "--epochs", "100000",
            "--batch-size", "16", "--out", _folder["run"]);
        Signals.WaitUntil(() => File.Exists(_folder["run/history.csv"]), process);
        Signals.Send(process, "HUP");
        Signals.Send(process, "INT");
        int before = Epochs();
        Signals.WaitUntil(() => Epochs() > before + 3, process);
        process.Kill();
        process.WaitForExit();

        int Epochs() => File.ReadAllLines(_folder["run/history.csv"]).Length;
    }

    [Theory]
    [InlineData("TERM", "digits.csv.gz")]
    [InlineData("HUP", "folder")]
    public void A_command_that_saves_nothing_leaves_nothing(string signal, string output)
    {
        Signals.Require(signal);
        _folder.Write("digits.csv.gz", "old");
        Process process = CliProgram.Start("data", "generate", "--count", "30000", "--out", _folder[output]);
        Signals.WaitUntil(() => Directory.GetFiles(_folder.Path, "*.tmp", SearchOption.AllDirectories).Length > 0, process);
        Signals.Send(process, signal);
        CliProgram.Result result = CliProgram.Finish(process);
        Assert.Equal((130, ""), (result.ExitCode, result.Error));
        Assert.Equal(["digits.csv.gz", "train.csv"],
            Directory.GetFiles(_folder.Path, "*", SearchOption.AllDirectories).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal("old", File.ReadAllText(_folder["digits.csv.gz"]));
    }

    [Fact]
    public void Waiting_for_the_reader_of_a_fifo_can_be_interrupted()
    {
        Signals.Require("TERM", "HUP"); // by the latter the program is seen to be ready
        Process process = CliProgram.Start("data", "generate", "--count", "10", "--out", FileNodes.Fifo(_folder["fifo"]));
        Signals.WaitUntilHandled(process);
        Assert.False(process.WaitForExit(300)); // by then it waits, most likely
        Signals.Send(process, "TERM");
        Assert.Equal(130, CliProgram.Finish(process).ExitCode);
    }

    [Theory]
    [LongData(">&-")]
    [LongData("2>&-")]
    [LongData("<&- 2>&-")]
    [InlineData("<&- >&- 2>&-")]
    public void Closed_streams_change_no_file_and_get_into_none(string closed)
    {
        ArgumentNullException.ThrowIfNull(closed);
        bool output = !$" {closed}".Contains(" >&-", StringComparison.Ordinal), error = !closed.Contains("2>&-", StringComparison.Ordinal);

        // Files come out as ever, and what is said of them goes nowhere; a result on standard output needs one.
        string run = _folder["run"], csv = _folder["actual.csv"];
        AssertEnds(0, output, error, "train", "--data", _train, "--model", "simple", "--epochs", "2", "--out", run);
        AssertEnds(0, output, errorTold: false, "data", "generate", "--count", "100", "--seed", "2", "--out", csv);
        AssertEnds(output ? 0 : 1, output, errorTold: error && !output, "info");
        AssertEnds(2, outputTold: false, error, "predict", "--weights", "");
        Assert.Equal(File.ReadAllBytes(_train), File.ReadAllBytes(csv));
        Assert.Equal(3, File.ReadAllLines(Path.Combine(run, "history.csv")).Length);
        Assert.True(File.Exists(Path.Combine(run, "metrics.json")));

        void AssertEnds(int code, bool outputTold, bool errorTold, params string[] arguments)
        {
            CliProgram.Result result = CliProgram.Finish(CliProgram.Shell($"exec \"$@\" {closed}", arguments));
            Assert.Equal((code, outputTold, errorTold), (result.ExitCode, result.Output.Length > 0, result.Error.Length > 0));
        }
    }

    [Fact]
    public void Progress_that_nobody_reads_stops_nothing()
    {
        string full = FileNodes.Memory(_folder["full"], 7);
        string[] train = ["train", "--data", _train, "--model", "simple", "--epochs", "4", "--out"];
        CliProgram.Result cut =
            CliProgram.Finish(CliProgram.Shell($"{{ \"$@\" 2>&1; echo $? > {_folder["code"]}; }} | head -1", [.. train, _folder["cut"]]));
        Assert.Equal((0, "0"), (cut.ExitCode, File.ReadAllText(_folder["code"]).Trim()));
        Assert.True(File.Exists(_folder["cut/metrics.json"]));
        Assert.Equal(0, CliProgram.Finish(CliProgram.Shell($"\"$@\" 2> {full}", [.. train, _folder["full-run"]])).ExitCode);
    }

    /// <summary>A terminal that is closed: the run is told, and cannot tell anybody; with its signal ignored, it goes on.</summary>
    [LongTheory]
    [InlineData("", 130)]
    [InlineData("signal.signal(signal.SIGHUP, signal.SIG_IGN)", 0)]
    public void A_terminal_that_goes_away_costs_nothing(string prepare, int code)
    {
        Assert.SkipUnless(FileNodes.Run("python3", "-c", "import pty"), "needs Python's pty");
        Signals.Require("HUP");
        ProcessStartInfo train =
            CliProgram.Info("train", "--data", _train, "--model", "simple", "--epochs", code == 0 ? "60" : "100000", "--batch-size", "16",
            "--out", _folder["run"]);
        string python = $"""
            import os, pty, select, signal, sys, time
            child, terminal = pty.fork()
            if child == 0:
                {(prepare.Length > 0 ? prepare : "pass")}
                os.execvp(sys.argv[1], sys.argv[1:])
            history, end = sys.argv[-1] + "/history.csv", time.time() + 60
            while time.time() < end and not (os.path.exists(history) and len(open(history).readlines()) > 3):
                if select.select([terminal], [], [], 0.01)[0]:
                    os.read(terminal, 65536)
            os.close(terminal)
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """;
        CliProgram.Result result =
            CliProgram.Finish(Process.Start(new ProcessStartInfo("python3", ["-c", python, train.FileName, .. train.ArgumentList])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!);
        Assert.True(result.ExitCode == code, $"{result.ExitCode}: {result.Error}");
        Assert.True(Checkpoint.LoadState(_folder["run/last.safetensors"], DigitNetworks.Simple).Epoch >= 3);
        Assert.Equal(code == 0, File.Exists(_folder["run/metrics.json"]));
    }
}
