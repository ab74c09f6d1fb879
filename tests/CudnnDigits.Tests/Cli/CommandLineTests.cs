using System.CommandLine;
using CudnnDigits.Cli;

namespace CudnnDigits.Tests.Cli;

/// <summary>Every option of every command, found in the commands themselves: a new one is covered without being listed here.</summary>
public sealed class CommandLineTests : TestsWithFolder
{
    /// <summary>How each command is called; {csv}, {weights}, {run} and {folder} stand for what is there.</summary>
    private static readonly Dictionary<string, string> Calls = new()
    {
        ["train"] = "--data {csv} --model simple --epochs 1 --quiet",
        ["evaluate"] = "--weights {weights} --data {csv}",
        ["predict"] = "--weights {weights} --data {csv} --out {folder}/new.csv",
        ["export"] = "--weights {weights} --onnx {folder}/new.onnx",
        ["report"] = "{run}",
        ["compare"] = "--data {csv} --epochs 1 --quiet",
        ["crossval"] = "--data {csv} --epochs 1 --quiet",
        ["repeat"] = "--data {csv} --epochs 1 --quiet",
        ["tune"] = "--data {csv} --epochs 1 --quiet",
        ["serve"] = "--port 0",
        ["data show"] = "--data {csv} --out {folder}/new.png",
        ["data generate"] = "--count 10 --out {folder}/new.csv",
        ["data download"] = "mnist",
        ["bench"] = "--model simple --steps 1",
        ["info"] = "",
    };

    [Fact]
    public void An_empty_value_is_refused_by_the_name_of_its_option()
    {
        RootCommand root = CommandLine.Create();
        int tried = 0;
        foreach ((string command, Option option) in Options(root).Where(pair => pair.Option.ValueType != typeof(bool)))
        {
            foreach (string empty in new[] { "", "   ", "\n" })
            {
                string? refusal = CommandLine.Refusal(root.Parse([.. Call(command, option.Name), option.Name, empty]));
                Assert.StartsWith($"{option.Name} is empty; give it a value, or leave it out", refusal, StringComparison.Ordinal);
                tried++;
            }
        }

        Assert.True(tried > 100, $"only {tried} tried");
        Assert.StartsWith("DIR is empty", CommandLine.Refusal(root.Parse(["report", ""])), StringComparison.Ordinal);
        CliProgram.AssertRefused("--weights is empty", "predict", "--weights", "", "--data", "x.csv");
    }

    [Fact]
    public void A_name_that_is_not_UTF_8_is_refused_and_no_other_file_is_written()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs a shell that passes bytes on");
        using TemporaryFolder folder = new();
        foreach (string arguments in new[] { "data generate --count 10 --out", "evaluate --weights x --data", "report" })
        {
            using Process process = CliProgram.Shell($"cd {folder.Path} && exec \"$@\" {arguments} \"$(printf 'w\\377.csv')\"");
            CliProgram.Result result = CliProgram.Finish(process);
            Assert.Equal(2, result.ExitCode);
            Assert.Contains("w\uFFFD.csv: is not UTF-8; give the file a name that is", result.Error, StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    /// <summary>
    /// A file for a folder, a folder for a file, what is longer than any path, and what is below a file, with a line break in it.
    /// </summary>
    [Fact]
    public void A_path_that_cannot_be_is_refused_wherever_one_is_given()
    {
        string csv = _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(60, seed: 2))), run = _folder["run"],
        empty = _folder.Make("empty");
        RootCommand root = CommandLine.Create();
        Assert.Equal(0, CliProgram.Invoke(["train", "--data", csv, "--model", "simple", "--epochs", "1", "--quiet", "--out", run]));
        string file = _folder.Write("file", [1, 2, 3]);
        string[] before = Everything();
        int tried = 0;
        foreach ((string command, Option option) in Options(root).Where(pair => pair.Option.HelpName is "FILE" or "DIR" or "PATH"))
        {
            foreach (string path in new[] { option.HelpName == "FILE" ? empty : file, $"{_folder.Path}/{new string('x', 5000)}",
                $"{_folder.Path}/{new string('y', 300)}/z", $"{file}/a\nb" })
            {
                string[] arguments = [.. Call(command, option.Name), option.Name, path];
                Assert.Contains(path, CliProgram.Refusal(arguments), StringComparison.Ordinal);
                tried++;
            }
        }

        Assert.Contains(file, CliProgram.Refusal("report", file), StringComparison.Ordinal);
        Assert.Contains("xxx", CliProgram.Refusal("report", new string('x', 5000)), StringComparison.Ordinal);
        Assert.True(tried > 60, $"only {tried} tried");
        Assert.Equal(before, Everything());

        string[] Everything() =>
            [.. Directory.EnumerateFileSystemEntries(_folder.Path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public void Standard_output_is_refused_where_a_folder_is_written()
    {
        RootCommand root = CommandLine.Create();
        string[] commands = [.. Options(root).Where(pair => pair.Option is { Name: "--out", HelpName: "DIR" })
            .Select(pair => pair.Command)];
        Assert.Equal(["train", "compare", "crossval", "repeat", "tune", "data download"], commands);
        Assert.All(commands, command => Assert.StartsWith(
            "--out - is standard output, which cannot hold a folder",
            CommandLine.Refusal(root.Parse([.. Call(command, "--out"), "--out", "-"])), StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("trian", "'trian' is not understood; did you mean train? (see cudnn-digits --help)")]
    [InlineData("TRAIN", "did you mean train?")]
    [InlineData("tran --data x", "did you mean train?")]
    [InlineData("eval", "did you mean evaluate?")]
    [InlineData("com", "did you mean compare?")]
    [InlineData("help", "did you mean --help?")]
    [InlineData("dance", "'dance' is not understood (see")]
    [InlineData("x", "'x' is not understood (see")]
    [InlineData("data shwo", "'shwo' is not understood; did you mean show? (see cudnn-digits data --help)")]
    [InlineData("train --epoch 3", "'--epoch' is not understood; did you mean --epochs? (see cudnn-digits train --help)")]
    [InlineData("train --epoch=3", "did you mean --epochs?")]
    [InlineData("train --batchsize 3", "did you mean --batch-size?")]
    [InlineData("train --batch_size 3", "did you mean --batch-size?")]
    [InlineData("train -epochs 3", "did you mean --epochs?")]
    [InlineData("train --val 0", "did you mean --validation?")]
    [InlineData("train --weight 0", "did you mean --weight-decay?")]
    [InlineData("predict --weight x --data y", "did you mean --weights?")]
    [InlineData("evaluate --wieghts x --data y", "did you mean --weights?")]
    [InlineData("train --learning-rate 3", "did you mean --lr?")]
    [InlineData("train --bs 3", "did you mean --batch-size?")]
    [InlineData("train --out-dir x", "did you mean --out?")]
    [InlineData("predict --output x", "'--output' is not understood; did you mean --out?")]
    [InlineData("export --output x", "'--output' is not understood; did you mean --onnx?")]
    [InlineData("export --out x", "'--out' is not understood; did you mean --onnx?")]
    [InlineData("export -o x", "did you mean --onnx?")]
    [InlineData("compare --model simple", "'--model' is not understood; did you mean --models?")]
    [InlineData("info --out x", "'--out' is not understood; it is an option of train, predict")]
    [InlineData("train --dataset x", "did you mean --data?")]
    [InlineData("train -e 3", "did you mean --epochs, --epsilon, --ema")]
    [InlineData("-- train", "'train' is not understood; leave out the -- before it (see")]
    [InlineData("--data x", "'--data' is not understood; name a command first: train --data (see")]
    [InlineData("predict --epochs 3", "'--epochs' is not understood; it is an option of train, compare, crossval, repeat, tune (see")]
    public void A_command_or_option_that_is_mistyped_gets_the_nearest(string arguments, string says)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        Assert.Contains(says, CommandLine.Refusal(CommandLine.Create().Parse(arguments.Split(' '))), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("evaluate", "--weights FILE and --data PATH are missing, as in: evaluate --weights runs/first --data train.csv --subset "
        + "validation (see cudnn-digits evaluate --help)")]
    [InlineData("predict --data x --out y", "--weights FILE is missing, as in: predict --weights")]
    [InlineData("export --weights x", "--onnx FILE is missing, as in: export")]
    [InlineData("report", "DIR is missing, as in: report runs/first")]
    [InlineData("data download", "SET is missing, as in: data download mnist")]
    [InlineData("data generate", "--out PATH is missing, as in: data generate")]
    [InlineData("train --lr", "--lr has no value; give it one: --lr X")]
    [InlineData("train --data a --data b", "--data is given 2 times (a, b); give it once")]
    public void What_is_missing_or_too_much_is_named(string arguments, string says)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        Assert.StartsWith(says, CommandLine.Refusal(CommandLine.Create().Parse(arguments.Split(' '))), StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_or_folder_without_an_option_gets_the_one_that_takes_it()
    {
        string digits = _folder.Write("digits.csv", ""), run = _folder.Make("run");
        _folder.Write("run/run.json", "{}");
        Assert.Contains($"did you mean --data {digits}?", Says("train", digits), StringComparison.Ordinal);
        Assert.Contains($"did you mean --weights {run}?", Says("evaluate", run), StringComparison.Ordinal);
        Assert.Contains($"name a command first: train --data {digits} (see", Says(digits), StringComparison.Ordinal);
        Assert.Contains($"name a command first: report {run} (see", Says(run), StringComparison.Ordinal);
        Assert.Contains("did you mean --data missing.csv?", Says("train", "missing.csv"), StringComparison.Ordinal);
        Assert.Equal("'--otu' is not understood; did you mean --out? (see cudnn-digits report --help)", Says("report", "runs/x", "--otu"));

        static string? Says(params string[] arguments) => CommandLine.Refusal(CommandLine.Create().Parse(arguments));
    }

    [Fact]
    public void The_help_of_every_command_has_examples() => Assert.All(CommandLine.Create().Subcommands, command =>
    {
        using StringWriter help = new();
        CommandLine.Create().Parse([command.Name, "--help"]).Invoke(new InvocationConfiguration { Output = help });
        Assert.Matches($"Examples.*:\n  cudnn-digits {command.Name}", help.ToString().ReplaceLineEndings("\n"));
    });

    [Fact]
    public void The_help_of_an_option_is_short_and_explains_its_words()
    {
        (string Command, Option Option)[] all = [.. Options(CommandLine.Create())];
        Assert.All(all, one => Assert.InRange(one.Option.Description!.Length, 10, one is ("data show", { Name: "--data" }) ? 400 : 250));
        string kernels = all.First(one => one.Option.Name == "--kernels").Option.Description!;
        Assert.All(Enum.GetNames<CudaKernels>(), name => Assert.Contains(name, kernels, StringComparison.OrdinalIgnoreCase));
    }

    private static IEnumerable<(string Command, Option Option)> Options(Command root) =>
        root.Subcommands.SelectMany(command => command.Subcommands.Count > 0
        ? command.Subcommands.SelectMany(sub => sub.Options.Select(option => ($"{command.Name} {sub.Name}", option)))
        : command.Options.Select(option => (command.Name, option)));

    /// <summary>How a command is called, without one of its options; --resume and --collect take none beside them.</summary>
    private string[] Call(string command, string without)
    {
        Assert.True(Calls.ContainsKey(command), $"say in {nameof(Calls)} how {command} is called");
        List<string> words = without is "--resume" or "--collect" ? []
            : [.. Calls[command].Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        if (words.IndexOf(without) is >= 0 and int at)
        {
            words.RemoveRange(at, 2);
        }

        return [.. command.Split(' '), .. words.Select(word => word
            .Replace("{csv}", _folder["digits.csv"], StringComparison.Ordinal)
                .Replace("{weights}", _folder["run/model.safetensors"], StringComparison.Ordinal)
            .Replace("{run}", _folder["run"], StringComparison.Ordinal).Replace("{folder}", _folder.Path, StringComparison.Ordinal))];
    }
}
