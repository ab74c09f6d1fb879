using CudnnDigits.Cli;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Tests.Cli.Terminal;

/// <summary>What a terminal shows while something runs.</summary>
public class ScreenTests
{
    /// <summary>From a window to another one and on to a third, with lines and moving lines between.</summary>
    [Theory]
    [InlineData(true, 80, 80, 80)]
    [InlineData(false, 80, 80, 80)]
    [InlineData(true, 200, 40, 120)]
    [InlineData(false, 200, 40, 120)]
    [InlineData(true, 120, 80, 40)]
    [InlineData(false, 120, 80, 40)]
    [InlineData(true, 40, 200, 80)]
    [InlineData(false, 40, 200, 80)]
    [InlineData(true, 80, 60, 45)]
    public void A_resize_leaves_no_remains_and_loses_no_line(bool reflows, params int[] widths)
    {
        ArgumentNullException.ThrowIfNull(widths);
        foreach (bool printsBetween in new[] { true, false })
        {
            using FakeTerminal terminal = new(widths[0], reflows);
            Screen screen = new(terminal, () => terminal.Width, moves: true, colors: true);
            List<string> printed = [];
            foreach (int width in widths)
            {
                terminal.Resize(width);
                if (printsBetween)
                {
                    Print(width);
                }

                screen.Move(new string('#', screen.MovingWidth));
                screen.Move(new string('#', screen.MovingWidth));
                Assert.Equal(1, terminal.Lines.Count(line => line.Contains('#', StringComparison.Ordinal)));
                Assert.True(terminal.Lines[^1].Length < width);
            }

            Print(widths[^1]);
            Assert.DoesNotContain(terminal.Lines, line => line.Contains('#', StringComparison.Ordinal));
            Assert.Equal(printed.Select(line => reflows ? line : line[..Math.Min(line.Length, widths.Min())]),
                terminal.Lines.Select(line => reflows ? line : line[..Math.Min(line.Length, widths.Min())]));

            void Print(int width)
            {
                screen.Line($"line {printed.Count}");
                printed.Add($"line {printed.Count}");
            }
        }
    }

    [Fact]
    public void A_line_that_a_signal_echoes_into_is_cleared()
    {
        using FakeTerminal terminal = new(80, reflows: true);
        Screen screen = new(terminal, () => terminal.Width, moves: true, colors: false);
        foreach (string moving in new[] { "half of it", new string('#', 100) })
        {
            screen.Move(moving);
            terminal.Write("^C");
            Assert.EndsWith("^C", terminal.Lines[^1], StringComparison.Ordinal); // it is in the same row
            screen.Clear();
        }

        screen.Line("interrupted");
        Assert.Equal(["interrupted"], terminal.Lines);
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Colours_and_movement_are_left_out_where_there_are_none(bool moves, bool colors)
    {
        using FakeTerminal terminal = new(80, reflows: true);
        Screen screen = new(terminal, () => terminal.Width, moves, moves && colors);
        screen.Move("moving");
        screen.Line("label", "text");
        screen.Line(screen.Green("best"));
        Assert.Equal(["label     text", "best"], terminal.Lines);
        Assert.Equal(moves && colors ? ["[2m", "[0m", "[32m", "[0m"] : [], terminal.Sequences.Where(sequence => sequence.EndsWith('m')));
        Assert.Equal(moves, terminal.Sequences.Any(sequence => !sequence.EndsWith('m')));
        Assert.DoesNotContain("[90m", terminal.Sequences); // a grey of its own is not to be read on every background
    }

    [Theory]
    [InlineData(40)]
    [InlineData(60)]
    [InlineData(80)]
    [InlineData(120)]
    [InlineData(200)]
    public void Every_line_fits_and_columns_are_aligned(int width)
    {
        foreach (int epochs in new[] { 1, 12, 1000, 100_000 })
        {
            foreach (bool validates in new[] { true, false })
            {
                using FakeTerminal terminal = new(width, reflows: true);
                Screen screen = new(terminal, () => terminal.Width, moves: true, colors: true);
                EpochTable table = new(epochs, 0.003, validates);
                double?[] held = validates ? [0.04321, 0.98765] : [null, null];
                EpochRecord[] all =
                [
                    new(1, 2.3, 0.1, held[0], held[1], 0.00012, 1, 1234),
                    new(epochs, 0.00001, 1, held[0], held[1], 1.2e-8, 1, 2_400_000),
                    new(epochs, 123_456.7, 0, validates ? 1e30 : null, held[1], 0.003, 1, 10),
                ];
                Array.ForEach(all, epoch => table.Print(epoch, isBest: validates, screen));
                Assert.Equal(4, terminal.Lines.Length); // one header, and nothing is broken
                Assert.All(terminal.Lines, line => Assert.InRange(line.Length, 5, width - 1));
                Assert.Single(terminal.Lines.Select(ColumnEnds).Distinct());
                Assert.DoesNotContain(terminal.Lines, line => Regex.IsMatch(line, @"\dE[-+]\d"));
                Assert.Contains("acc", terminal.Lines[0], StringComparison.Ordinal); // however narrow
                Assert.True(terminal.Lines[0].Contains("images/s", StringComparison.Ordinal) || width < 80 || epochs == 100_000);
            }
        }
    }

    /// <summary>Where the columns of a line end: a column is apart from the next one by two spaces or more.</summary>
    private static string ColumnEnds(string line) =>
        string.Join(' ', Regex.Matches(line.Replace("  best", "", StringComparison.Ordinal), @"\S(?=  |$)").Select(end => end.Index));

    [Theory]
    [InlineData(39)]
    [InlineData(59)]
    [InlineData(79)]
    [InlineData(119)]
    public void Results_fit_and_no_word_is_broken(int width)
    {
        string text = $"""
            accuracy  98.55 % of 8,399 validation digits, loss 0.0512 (weights of epoch 12)
            classes      0: 60  1: 60  2: 60  3: 60  4: 60  5: 60  6: 60  7: 60  8: 60  9: 60
            1,000 digits read (0: 100, 1: 95, 2: 112, 3: 101, 4: 98, 5: 87, 6: 104, 7: 99, 8: 48, 9: 156), each 97.5 % sure
            next      {ThisProgram.Prefix} predict --weights runs/first --data test.csv --out submission.csv
            cudnn-digits: error: 'trian' is not understood; did you mean train? (see cudnn-digits --help)
            """, fitted = Screen.Fit(text, width);
        Assert.All(fitted.Split('\n'), line => Assert.InRange(line.Length, 1, width));
        Assert.Equal(Words(text), Words(fitted.Replace($" {Shell.OfUser.GoesOn}\n", "\n", StringComparison.Ordinal)));
        Assert.DoesNotMatch("[0-9]:\n|\n *%", fitted); // a number stays with its label, and with its sign
        Assert.True(width > 60 || Regex.IsMatch(fitted, "accuracy  .*\n {10}[^ ]"), fitted);
        Assert.Equal(text, Screen.Fit(text, int.MaxValue));

        foreach (int most in new[] { 9, 99, 999, 9999 })
        {
            int[][] confusion = [.. Enumerable.Range(0, 10).Select(label => Enumerable.Repeat(label * most / 9, 10).ToArray())];
            string table = MetricsTable.Format(Metrics.FromConfusion(confusion, loss: 1), width);
            Assert.All(Screen.Fit(table, width).Split('\n'), line => Assert.InRange(line.Length, 0, width));
            Assert.Equal(most < 100 || width > 39, table.Contains("a column per prediction", StringComparison.Ordinal));
        }

        LayerTime[] times = [new("conv1", "backward: weights and input", false, 1e9, 1e9, 1), new("loss", "softmax", false, 0, 0, 1)];
        string layers = LayerReport.Format(LayerReport.Rows(times, new Ceilings(1e10, 1e10), 1, 100), width);
        Assert.All(layers.ReplaceLineEndings("\n").Split('\n'), line => Assert.InRange(line.Length, 10, width));
        Assert.Contains("conv1", layers, StringComparison.Ordinal);

        static string[] Words(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
    }

    [Theory]
    [InlineData(20)]
    [InlineData(39)]
    [InlineData(79)]
    public void The_moving_line_fits(int width)
    {
        foreach (string label in new[] { "", "fold 2 of 5", "improved, augmented, seed 12", new string('x', 100) })
        {
            string line = ProgressLine.Format(0.455,
                [(0, label), (1, "epoch 3/12"), (3, "loss  0.0712"), (4, " 97.80 %"), (2, "0:00:12 left")], width);
            Assert.Contains("45 %", line, StringComparison.Ordinal);
            Assert.True(label.Length > 15 || line.Length <= width, line);
        }
    }

    [Theory]
    [InlineData(1e-9, 0.003, "<0.00001")]
    [InlineData(1.2e-8, 0.003, "<0.00001")]
    [InlineData(0.003, 0.003, "0.00300")]
    [InlineData(0.00012, 0.003, "0.00012")]
    [InlineData(0, 0.003, "0.00000")]
    [InlineData(3e-6, 3e-6, "0.00000300")]
    [InlineData(1e-12, 1e-12, "<0.00000001")]
    [InlineData(1000, 1000, "1000")]
    public void Learning_rates_have_no_exponent(double rate, double highest, string text) =>
        Assert.Equal(text, Figures.Rate(rate, highest));

    [Theory]
    [InlineData(0.0, "0.0000")]
    [InlineData(1.2e-8, "<0.0001")]
    [InlineData(0.04321, "0.0432")]
    [InlineData(12.3456, "12.35")]
    [InlineData(123456.7, "123457")]
    [InlineData(1e30, ">999999")]
    [InlineData(double.NaN, "NaN")]
    public void Losses_have_no_exponent(double loss, string text) => Assert.Equal(text, Figures.Loss(loss));

    [Theory]
    [InlineData(1, "1 digit")]
    [InlineData(12000, "12,000 digits")]
    public void One_is_singular(int count, string text) => Assert.Equal(text, Figures.Count(count, "digit"));

    [Theory]
    [InlineData(0.003, "0.003")]
    [InlineData(3e-5, "0.00003")]
    [InlineData(1e-12, "0.000000000001")]
    [InlineData(1.2345678901234e-7, "0.00000012345678901234")]
    public void What_is_typed_has_no_exponent_and_every_digit(double value, string text) =>
        Assert.Equal((text, value),
            (TrainingField.Exact(value)!, double.Parse(TrainingField.Exact(value)!, System.Globalization.CultureInfo.InvariantCulture)));

    /// <summary>
    /// The program in a terminal of its own: nothing is broken, the bar leaves nothing, and colours are left out where they are not
    /// wanted.
    /// </summary>
    [Theory]
    [InlineData(80, "")]
    [LongData(120, "NO_COLOR=1")]
    [InlineData(40, "TERM=dumb")]
    public void A_run_in_a_terminal_fits_it(int width, string setting)
    {
        ArgumentNullException.ThrowIfNull(setting);
        using TemporaryFolder folder = new();
        CliProgram.Result result = InTerminal(
            width, setting, opened: "", "train", "--data", folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(300, seed: 2))),
            "--model", "simple", "--epochs", "3", "--out", folder["run"]);
        Assert.True(result.ExitCode == 0, result.Error + result.Output);
        using FakeTerminal terminal = new(1000, reflows: true); // what is longer than the terminal is seen
        terminal.Write(Regex.Replace(result.Output, @"\u001b(\[\?[0-9]+[hl]|[=>])", "")); // .NET's, for the keypad
        string[] lines = [.. terminal.Lines.TakeWhile(line => !line.StartsWith("weights  ", StringComparison.Ordinal))];
        Assert.All(lines.Where(line => !line.Contains(folder.Path, StringComparison.Ordinal)),
            line => Assert.InRange(line.Length, 1, width - 1)); // a path stays in one piece
        Assert.Single(lines, line => line.TrimStart().StartsWith("epoch", StringComparison.Ordinal));
        Assert.Equal(3, lines.Count(line => Regex.IsMatch(line, "^ *[123]/3  ")));
        Assert.Single(lines, line => line.Contains("info", StringComparison.Ordinal)); // why it is not on a GPU
        Assert.DoesNotContain(lines, line => line.Contains("install", StringComparison.Ordinal)
            || line.Contains('━', StringComparison.Ordinal) || Regex.IsMatch(line, @"\dE-\d"));
        Assert.Equal(setting.Length == 0, terminal.Sequences.Contains("[32m") && terminal.Sequences.Contains("[2m"));
        Assert.Equal(setting != "TERM=dumb", result.Output.Contains('─', StringComparison.Ordinal));
        Assert.Contains($" serve --weights {folder["run"]} ", Regex.Replace(result.Output, @"( \\)?\s+", " "), StringComparison.Ordinal);
    }

    [Fact]
    public void Ctrl_C_while_data_are_read_ends_its_line()
    {
        Signals.Require("INT");
        using TemporaryFolder folder = new();
        Assert.SkipUnless(FileNodes.Run("mkfifo", folder["data"]), "needs mkfifo");
        CliProgram.Result result = InTerminal(80, "", folder["data"], "train", "--data", folder["data"], "--out", folder["run"]);
        Assert.Equal((130, "^C\r\n"), (result.ExitCode, Regex.Replace(result.Output, @"\u001b(\[\?[0-9]+[hl]|[=>])", "")));
    }

    /// <summary>Runs the program in a terminal; if it is to open a FIFO, Ctrl-C is pressed then.</summary>
    private static CliProgram.Result InTerminal(int width, string setting, string opened, params string[] arguments)
    {
        Assert.SkipUnless(!OperatingSystem.IsWindows() && FileNodes.Run("python3", "-c", "import pty"), "needs Python's pty");
        ProcessStartInfo program = CliProgram.Info(arguments);
        string python = $"""
            import fcntl, os, pty, struct, sys, termios
            child, terminal = pty.fork()
            if child == 0:
                fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, {width}, 0, 0))
                os.environ["TERM"] = "xterm-256color"
                os.environ.update(dict([s.split("=")] if (s := "{setting}") else []))
                os.execvp(sys.argv[1], sys.argv[1:])
            if fifo := "{opened}":
                held = open(fifo, "wb")
                os.write(terminal, b"\x03")
            try:
                while data := os.read(terminal, 65536):
                    sys.stdout.buffer.write(data)
            except OSError:
                pass
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """;
        ProcessStartInfo info =
            new("python3", ["-c", python, program.FileName, .. program.ArgumentList])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true
            };
        info.Environment.Remove("NO_COLOR");
        return CliProgram.Finish(Process.Start(info)!);
    }
}
