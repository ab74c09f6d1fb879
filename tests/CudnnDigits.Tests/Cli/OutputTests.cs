using System.Security.Cryptography;

namespace CudnnDigits.Tests.Cli;

/// <summary>Where commands write one file: links, devices, FIFOs, standard output, and names of what they read.</summary>
public sealed class OutputTests : TestsWithFolder
{
    private readonly string _weights, _test;

    public OutputTests()
    {
        DigitDataset digits = GeneratedDigits.Create(100, seed: 2);
        _test = _folder.Write("test.csv", DigitFiles.Csv(DigitFiles.WithoutLabels(digits)));
        _weights = _folder["model.safetensors"];
        Checkpoint.SaveWeights(_weights, Initializer.Create(DigitNetworks.Simple, 0), 0);
    }

    /// <summary>Every command that writes one file.</summary>
    public static TheoryData<string> Commands =>
        ["predict --weights {weights} --data {test} --out", "export --weights {weights} --onnx", "data show --data {test} --out",
        "data generate --count 50 --out", "report {run} --out"];

    [Theory]
    [MemberData(nameof(Commands))]
    public void Standard_output_a_link_and_a_fifo_get_the_bytes_of_the_file(string command)
    {
        ArgumentNullException.ThrowIfNull(command);
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs a shell");
        string[] arguments = Arguments(command);
        _folder.Write("target", "old");
        File.CreateSymbolicLink(_folder["link.csv"], "target");
        Ended(0, Shell("\"$@\"", [.. arguments, _folder["link.csv"]]));
        byte[] expected = File.ReadAllBytes(_folder["target"]);
        Assert.Equal("target", new FileInfo(_folder["link.csv"]).LinkTarget);
        Assert.True(expected.Length > 100);

        string fifo = FileNodes.Fifo(_folder["fifo"]);
        Ended(0, Shell($"cat {fifo} > {_folder["from-fifo"]} & \"$@\"; code=$?; wait; exit $code", [.. arguments, fifo]));
        Assert.Equal(expected, File.ReadAllBytes(_folder["from-fifo"]));
        Assert.Equal(FileKind.Special, FileNodes.Kind(fifo));

        // In the middle of what others write to the same place; the summary goes to standard error.
        CliProgram.Result dash = Ended(0, Shell($"{{ echo head; \"$@\"; echo tail; }} > {_folder["shared"]}", [.. arguments, "-"]));
        Assert.Equal([.. "head\n"u8, .. expected, .. "tail\n"u8], File.ReadAllBytes(_folder["shared"]));
        Assert.Contains("standard output", dash.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));
    }

    [Fact]
    public void Other_names_of_standard_output_are_standard_output()
    {
        Assert.SkipUnless(File.Exists("/dev/stdout"), "there is no /dev/stdout");
        string[] generate = ["data", "generate", "--count", "5", "--out"];
        Ended(0, Shell($"{{ echo head; \"$@\"; echo tail; }} > {_folder["shared"]}", [.. generate, "/dev/stdout"]));
        string[] lines = File.ReadAllLines(_folder["shared"]);
        Assert.Equal(("head", "tail", 8), (lines[0], lines[^1], lines.Length));
        foreach (string name in new[] { "-", "/dev/stdout", "/dev/fd/1" })
        {
            Assert.Contains("--json both take standard output; choose one", CliProgram.Refusal([.. generate, name, "--json"]),
                StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_device_stays_a_device_and_a_full_one_is_a_failed_run()
    {
        string nowhere = FileNodes.Memory(_folder["null"], 3), full = FileNodes.Memory(_folder["full"], 7);
        string[] predict = ["predict", "--weights", _weights, "--data", _test, "--out"];
        Ended(0, CliProgram.Run([.. predict, nowhere]));
        Assert.Contains("No space left", OneLine(Ended(1, CliProgram.Run([.. predict, full]))), StringComparison.Ordinal);
        Assert.Contains("No space left", OneLine(Ended(1, Shell($"\"$@\" > {full}", [.. predict, "-"]))), StringComparison.Ordinal);
        Assert.Equal([FileKind.Special, FileKind.Special], new[] { nowhere, full }.Select(FileNodes.Kind));
    }

    [Fact]
    public void A_reader_that_has_had_enough_is_no_failure()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs a shell");
        string fifo = FileNodes.Fifo(_folder["fifo"]);
        string[] much = ["data", "generate", "--count", "2000", "--out"];
        foreach ((string script, string target) in new[]
        {
            ($"{{ \"$@\"; echo $? > {_folder["code"]}; }} | head -c 100 > /dev/null", "-"),
            ($"head -c 100 {fifo} > /dev/null & \"$@\"; echo $? > {_folder["code"]}; wait", fifo),
        })
        {
            CliProgram.Result result = Ended(0, Shell(script, [.. much, target]));
            Assert.Equal("0", File.ReadAllText(_folder["code"]).Trim());
            Assert.DoesNotContain("error", result.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Nothing_is_written_over_what_is_read()
    {
        File.CreateSymbolicLink(_folder["soft"], "test.csv");
        _folder.Make("idx");
        _folder.Write("idx/train-images-idx3-ubyte", DigitFiles.IdxImages(GeneratedDigits.Create(20, seed: 1)));
        string run = Arguments("{run}")[0], back = "../" + Path.GetFileName(_folder.Path);
        string[][] overwriting =
        [
            .. new[] { "test.csv", $"{back}/test.csv", "soft", "model.safetensors", FileNodes.Run("ln", _test, _folder["hard"]) ? "hard"
                : "soft" }
                .Select(name => new[] { "predict", "--weights", _weights, "--data", _test, "--out", _folder[name] }),
            ["export", "--weights", _weights, "--onnx", _folder[$"{back}/model.safetensors"]],
            ["data", "show", "--data", _test, "--out", _folder["soft"]],
            ["data", "show", "--data", _folder["idx"], "--out", _folder["idx/train-images-idx3-ubyte"]],
            .. new[] { "run/run.json", "run/model.safetensors", "run/history.csv",
                "train.csv" }.Select(name => new[] { "report", run, "--out", _folder[name] }),
        ];
        (string, string)[] before = Contents();
        Assert.All(overwriting,
            arguments => Assert.Contains("that this command reads; choose another", CliProgram.Refusal(arguments),
            StringComparison.Ordinal));
        Assert.Equal(before, Contents());
        CliProgram.AssertRefused("that this command reads; choose another --onnx", "export", "--weights", _weights, "--onnx", _weights);

        (string, string)[] Contents() =>
            [.. Directory.GetFiles(_folder.Path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
                .Select(file => (file, Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file)))))];
    }

    /// <summary>A container's mounted file, say: nothing can be renamed over it, and the folder may take no file.</summary>
    [Fact]
    public void What_cannot_be_replaced_but_can_be_written_is_written_in_place()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && FileNodes.Run("unshare", "-m", "true"), "needs root, and mount namespaces");
        string mounted = _folder["mounted"], source = _folder["source"];
        File.WriteAllText(mounted, "below the mount");
        File.WriteAllText(source, new string('x', 100_000)); // longer than what comes
        CliProgram.Result result = Shell(
            $"exec unshare -m sh -c 'mount --bind {source} {mounted} && exec \"$@\"' - \"$@\"",
            ["predict", "--weights", _weights, "--data", _test, "--out", mounted]);
        Ended(0, result);
        Assert.Equal(101, File.ReadAllLines(source).Length);
        Assert.Equal("below the mount", File.ReadAllText(mounted));
        Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));
    }

    private string[] Arguments(string command)
    {
        if (command.Contains("{run}", StringComparison.Ordinal) && !Directory.Exists(_folder["run"]))
        {
            string train = _folder.Write("train.csv", DigitFiles.Csv(GeneratedDigits.Create(60, seed: 2)));
            Assert.Equal(0, CliProgram.Invoke("train", "--data", train, "--model", "simple", "--epochs", "1", "--device", "cpu", "--quiet",
                "--out", _folder["run"]));
        }

        return [.. command.Split(' ').Select(word => word
            .Replace("{weights}", _weights, StringComparison.Ordinal).Replace("{test}", _test, StringComparison.Ordinal)
                .Replace("{run}", _folder["run"], StringComparison.Ordinal))];
    }

    private static CliProgram.Result Shell(string script, string[] arguments) => CliProgram.Finish(CliProgram.Shell(script, arguments));

    private static CliProgram.Result Ended(int code, CliProgram.Result result)
    {
        Assert.True(result.ExitCode == code, $"ended with {result.ExitCode}: {result.Error}");
        return result;
    }

    private static string OneLine(CliProgram.Result result) =>
        Assert.Single(result.Error.TrimEnd('\n').Split('\n'), line => line.StartsWith("cudnn-digits: error: ", StringComparison.Ordinal));
}
