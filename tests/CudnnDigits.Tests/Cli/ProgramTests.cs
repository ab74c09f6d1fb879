using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cli;

/// <summary>The command-line contract, through the program itself.</summary>
public sealed class ProgramTests : TestsWithFolder
{
    private readonly string _train, _test;

    public ProgramTests()
    {
        DigitDataset digits = GeneratedDigits.Create(300, seed: 2);
        _train = _folder.Write("train.csv", DigitFiles.Csv(digits));
        _test = _folder.Write("test.csv", DigitFiles.Csv(DigitFiles.WithoutLabels(digits)));
    }

    [Fact]
    public void From_csv_to_run_folder_to_submission()
    {
        string run = _folder["run"], submission = _folder["submission.csv"];
        CliProgram.Result train = CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "3", "--out", run).Succeeded();
        Assert.Contains("weights   ", train.Output, StringComparison.Ordinal);
        string[] progress = train.Error.TrimEnd('\n').Split('\n');
        Assert.StartsWith("data  ", progress[0], StringComparison.Ordinal);
        Assert.Equal(3, progress.Count(line => line.StartsWith("epoch ", StringComparison.Ordinal)));
        Assert.DoesNotContain('\u001b', train.Error);
        Assert.Equal(
            ["history.csv", "last.safetensors", "metrics.json", "model.safetensors", "report.html", "run.json"],
            Directory.GetFiles(run).Select(Path.GetFileName).Order(StringComparer.Ordinal));

        string[] history = File.ReadAllLines(Path.Combine(run, "history.csv"));
        Assert.Equal("epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second",
            history[0]);
        Assert.Equal(4, history.Length);

        // evaluate on the run's own validation rows agrees with metrics.json.
        string weights = Path.Combine(run, "model.safetensors");
        CliProgram.Result evaluate = CliProgram.Run("evaluate", "--weights", weights, "--data", _train, "--subset", "validation", "--json")
            .Succeeded();
        Assert.Equal(RunFiles.Metrics(run), evaluate.Output.Trim());
        using JsonDocument metrics = JsonDocument.Parse(evaluate.Output);
        Assert.Equal(60, metrics.RootElement.GetProperty("samples").GetInt32());
        Assert.Equal(10, metrics.RootElement.GetProperty("confusion").GetArrayLength());
        Assert.Equal(6, metrics.RootElement.GetProperty("classes")[3].GetProperty("support").GetInt32());

        CliProgram.Run("predict", "--weights", weights, "--data", _test, "--out", submission).Succeeded();
        string[] rows = File.ReadAllLines(submission);
        Assert.Equal("ImageId,Label", rows[0]);
        Assert.Equal(301, rows.Length);
        Assert.All(rows.Skip(1).Select((row, i) => (row, i)), r => Assert.Matches($"^{r.i + 1},[0-9]$", r.row));
    }

    /// <summary>
    /// PyTorch's losses and weights, on every instruction set that the machine has; the runtime is told to leave the wider ones out.
    /// </summary>
    [Theory]
    [InlineData("simple", "AVX-512", "")]
    [InlineData("simple", "AVX2", "DOTNET_EnableAVX512")]
    [InlineData("simple", "SSE", "DOTNET_EnableAVX2")]
    [LongData("simple", "128-bit vectors", "DOTNET_EnableHWIntrinsic")]
    [InlineData("improved", "AVX-512", "")]
    [LongData("improved", "AVX2", "DOTNET_EnableAVX512")]
    [LongData("improved", "SSE", "DOTNET_EnableAVX2")]
    public void Five_epochs_of_one_batch_follow_PyTorch(string model, string instructionSet, string leftOut)
    {
        Golden golden = Golden.Load(model);
        (string, string)[] environment = leftOut.Length == 0 ? [] : [(leftOut, "0")];
        string has = CliProgram.RunIn(_folder.Path, environment, "info").Output;
        Assert.SkipUnless(has.Contains(instructionSet, StringComparison.Ordinal)
            || CpuDevice.InstructionSet(CpuDevice.VectorBits) == "AVX-512", $"this machine has no {instructionSet}");
        Assert.Contains(instructionSet, has, StringComparison.Ordinal);
        CliProgram.RunIn(_folder.Path, environment, golden.TrainArguments(_folder, "run")).Succeeded();
        golden.AssertFollowedBy(_folder["run"]);
    }

    /// <summary>The same out of the program as machine code, which CUDNN_DIGITS_NATIVE names.</summary>
    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void A_native_build_follows_PyTorch(string model)
    {
        string? native = Environment.GetEnvironmentVariable("CUDNN_DIGITS_NATIVE");
        Assert.SkipWhen(native is null, "CUDNN_DIGITS_NATIVE names no native build of the program");
        Golden golden = Golden.Load(model);
        CliProgram.RunNative(native, golden.TrainArguments(_folder, "run")).Succeeded();
        golden.AssertFollowedBy(_folder["run"]);
        if (System.Runtime.Intrinsics.X86.Avx2.IsSupported)
        {
            Assert.Contains("AVX", CliProgram.RunNative(native, "info").Output, StringComparison.Ordinal);
        }
    }

    [LongFact]
    public void Fine_tuning_starts_from_given_weights()
    {
        string first = _folder["first"], second = _folder["second"];
        CliProgram.Run("train", "--data", _train, "--model", "simple", "--epochs", "6", "--out", first).Succeeded();
        CliProgram.Result result = CliProgram.Run(
            "train", "--data", _folder.Write("new.csv", DigitFiles.Csv(GeneratedDigits.Create(200, seed: 9))),
            "--init-from", Path.Combine(first, "model.safetensors"), "--epochs", "1", "--lr", "3e-4", "--schedule", "constant", "--out",
            second, "--json").Succeeded();
        using JsonDocument summary = JsonDocument.Parse(result.Output);
        Assert.Equal("simple", summary.RootElement.GetProperty("model").GetString()); // read from the weights
        double firstLoss = double.Parse(File.ReadLines(Path.Combine(second, "history.csv")).ElementAt(1).Split(',')[1],
            CultureInfo.InvariantCulture);
        Assert.True(firstLoss < 1.5, $"a fresh network would begin near ln 10, this one at {firstLoss}");
        Assert.DoesNotContain("warning", result.Error, StringComparison.Ordinal);

        string[] again = ["train", "--data", _train, "--init-from", first, "--epochs", "1", "--out"];
        Assert.DoesNotContain("warning", CliProgram.Run([.. again, _folder["same"]]).Error, StringComparison.Ordinal);
        Assert.Matches("warning   .*first.* was trained on [1-9][0-9]* of the digits that are held out here, .*: --seed and --validation "
            + "as there\n", CliProgram.Run([.. again, _folder["other"], "--seed", "1"]).Error);

        // Other holds out what first was trained on, and so does a run that begins with its weights.
        string[] third = ["train", "--data", _train, "--init-from", _folder["other"], "--seed", "1", "--epochs", "1", "--out"];
        Assert.Matches("warning   .*other.* was trained on [1-9][0-9]* of the digits that are held out here",
            CliProgram.Run([.. third, _folder["third"]]).Error);
        string[] score = ["evaluate", "--data", _train, "--device", "cpu", "--subset", "validation", "--weights"];
        Assert.Matches("^note      [1-9][0-9]* of these digits were trained on, so the accuracy is too optimistic, by weights that their "
            + "run began with\n$", CliProgram.Run([.. score, _folder["third"]]).Error);
        Assert.Equal("", CliProgram.Run([.. score, _folder["same"]]).Error);
        Directory.Delete(first, recursive: true); // what it was trained on is no longer known
        Assert.DoesNotContain("warning", CliProgram.Run([.. third, _folder["fourth"]]).Error, StringComparison.Ordinal);
    }

    /// <summary>What a run needs is not for other commands to write over.</summary>
    [Fact]
    public void The_files_of_a_run_are_no_place_for_something_else()
    {
        string run = _folder["run"];
        Assert.Equal(0, CliProgram.Invoke("train", "--data", _train, "--model", "simple", "--epochs", "1", "--device", "cpu", "--quiet",
            "--out", run));
        foreach (string file in new[] { "run.json", "last.safetensors", "history.csv", "metrics.json" })
        {
            string path = Path.Combine(run, file), says = $"{path}: is a file that the run {run} needs; choose another";
            byte[] before = File.ReadAllBytes(path);
            Assert.Equal($"{says} --out", CliProgram.Refusal("predict", "--weights", run, "--data", _train, "--out", path));
            Assert.Equal($"{says} --onnx", CliProgram.Refusal("export", "--weights", run, "--onnx", path));
            Assert.Equal(before, File.ReadAllBytes(path));
        }

        foreach (string name in new[] { "study.json", "tune.json", "trials.csv" })
        {
            string file = _folder.Write(name, [1]);
            Assert.Equal($"{file}: is a file that the study {_folder.Path} needs; choose another --out",
                CliProgram.Refusal("predict", "--weights", run, "--data", _train, "--out", file));
        }
    }

    [Fact]
    public void What_is_easily_given_in_place_of_something_else_is_told_of()
    {
        string run = _folder["run"];
        Assert.Equal(0, CliProgram.Invoke("train", "--data", _train, "--model", "simple", "--epochs", "1", "--device", "cpu", "--quiet",
            "--out", run));
        Assert.Contains($"{run}: is the folder of a run, not of digits; give ", CliProgram.Refusal("data", "show", "--data", run),
            StringComparison.Ordinal);
        Assert.Contains("minst: is no set that can be downloaded; expected mnist", CliProgram.Refusal("data", "download", "minst"),
            StringComparison.Ordinal);
        Assert.DoesNotContain("did you mean", CliProgram.Refusal("export", "--weights", run, _train), StringComparison.Ordinal);
        Assert.Contains($"{_train}: is a file, and holds no run; give the folder", CliProgram.Refusal("report", _train),
            StringComparison.Ordinal);
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs /dev/stdin");
        Assert.StartsWith("-: no such file; give /dev/stdin for standard input, or ", CliProgram.Refusal("train", "--data", "-"),
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_score_of_digits_that_were_trained_on_is_no_score()
    {
        string run = _folder["run"], all = _folder["all"];
        string[] train = ["train", "--data", _train, "--model", "simple", "--epochs", "1", "--device", "cpu", "--quiet", "--out"];
        Assert.Equal(0, CliProgram.Invoke([.. train, run]));
        Assert.Equal(0, CliProgram.Invoke([.. train, all, "--validation", "0"]));
        Assert.Matches("^note      [0-9]+ of these digits were trained on, so the accuracy is too optimistic; --subset validation scores "
            + "those that were held out\n$", Notes("--weights", run));
        Assert.Matches("^note      [0-9]+ of these digits were trained on, so the accuracy is too optimistic\n$", Notes("--weights", all));
        Assert.Equal("", Notes("--weights", run, "--subset", "validation"));

        string Notes(params string[] options) => CliProgram.Run(["evaluate", "--data", _train, "--device", "cpu", .. options]).Error;
    }

    [Fact]
    public void A_name_that_begins_with_an_at_sign_is_a_name()
    {
        File.Move(_train, _folder["@digits.csv"]);
        CliProgram.RunIn(_folder.Path, [], "train", "--data", "@digits.csv", "--model", "simple", "--epochs", "1", "--out", "@run")
            .Succeeded();
        Assert.True(File.Exists(_folder["@run/model.safetensors"]));
    }

    [Fact]
    public void Weights_to_start_from_may_come_through_a_pipe_which_is_read_once()
    {
        string start = _folder["start.safetensors"], run = _folder["run"], fifo = FileNodes.Fifo(_folder["fifo"]);
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 3);
        Checkpoint.SaveWeights(start, weights, 0);
        CliProgram.Finish(CliProgram.Shell(
            $"cat '{start}' > '{fifo}' & \"$@\"", "train", "--data", _train, "--init-from", fifo, "--epochs", "1", "--out", run, "--quiet"))
                .Succeeded();
        RunRecord record = new RunFolder(run).ReadRecord();
        Assert.Equal((fifo, null), (record.InitFrom, record.InitFromSha256));
    }

    [Fact]
    public void A_diverging_run_fails_with_exit_code_1_and_keeps_its_state()
    {
        string run = _folder["run"], huge = _folder["huge.safetensors"];
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 0);
        weights["conv1.weight"].Fill(1e30f);
        weights["conv2.weight"].Fill(1e30f);
        Checkpoint.SaveWeights(huge, weights, 0);
        CliProgram.Result result = CliProgram.Run("train", "--data", _train, "--init-from", huge, "--out", run, "--quiet");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("the loss or a weight became NaN or infinite", Assert.Single(result.Error.TrimEnd('\n').Split('\n')),
            StringComparison.Ordinal);
        Checkpoint.LoadState(Path.Combine(run, "last.safetensors"), DigitNetworks.Simple); // finite, or this throws
    }

    [Fact]
    public void A_full_disk_fails_with_exit_code_1_and_leaves_nothing_half_written()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "limits the size of files by the shell's ulimit");
        string run = _folder["run"];
        ProcessStartInfo info = CliProgram.Info("train", "--data", _train, "--model", "improved", "--epochs", "1", "--out", run);
        ProcessStartInfo limited =
            new("bash", ["-c", "ulimit -f 4000; trap '' XFSZ; exec \"$0\" \"$@\"", info.FileName, .. info.ArgumentList])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                Environment = { ["DOTNET_EnableWriteXorExecute"] = "0" }, // whose own file would be over the limit
            };
        CliProgram.Result result = CliProgram.Finish(Process.Start(limited)!);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("could not be written", Assert.Single(result.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        Assert.Equal(["run.json"], Directory.GetFiles(run).Select(Path.GetFileName));
    }

    /// <summary>Arguments, {train}, {test} and {folder} standing for paths, and what the one line must say.</summary>
    public static TheoryData<string, string> BadUsage => new()
    {
        { "train --epochs 0 --data {train}", "--epochs is 0, expected a whole number 1 to" },
        { "train --epochs x --data {train}", "--epochs is x, expected a whole number" },
        { "train --epochs 99999999999 --data {train}", "--epochs is 99999999999" },
        { "train --epochs --data {train}", "--epochs" },
        { "train --batch-size 0 --data {train}", "--batch-size is 0" },
        { "train --lr 1,5 --data {train}", "--lr is 1,5, expected a number" },
        { "train --lr nan --data {train}", "--lr" },
        { "train --lr -1 --data {train}", "--lr is -1" },
        { "train --validation 1 --data {train}", "--validation is 1" },
        { "train --dropout 1 --data {train}", "--dropout is 1" },
        { "train --rotate 181 --data {train}", "--rotate is 181" },
        { "train --threads 0 --data {train}", "--threads is 0" },
        { "train --model resnet --data {train}", $"--model is resnet, expected {InputException.OneOf(DigitNetworks.Names)}" },
        { "train --schedule sawtooth --data {train}", "sawtooth" },
        { "train --precision tf32 --data {train}", "tf32" },
        { "train --seed -1 --data {train}", "--seed is -1" },
        { "train --seed 1.5 --data {train}", "--seed is 1.5" },
        { "train --frobnicate", "--frobnicate" },
        { "train --data {folder}/absent.csv", "no such file" },
        { "train --data {test}", "no label column" },
        { "train --data {train} --out {train}", ": is a file; give --out the name of a folder" },
        { "train --data {train} --out {folder}", "is not empty" },
        { "train --data {train} --out /proc/no/run", "cannot be written" },
        { "train --data {train} --device tpu", "no such device" },
        { "train --data {train} --device cuda", "--device cuda" },
        { "train --data {train} --init-from {train}", "not a safetensors file" },
        { "train --data {train} --device cpu --kernels fused",
            "--kernels is for GPUs, and the device is cpu; leave --kernels out, or choose --device cuda" },
        { "bench --profile --device cpu", "--profile is for GPUs, and the device is cpu; leave --profile out" },
        { "bench --layers --no-cuda-graph",
            "--no-cuda-graph is for GPUs, and the device is cpu; leave --no-cuda-graph out, or choose --device cuda" },
        { "evaluate --data {train}", "--weights" },
        { "evaluate --weights {train} --data {train}", "not a safetensors file" },
        { "predict --weights {folder}/absent --data {test}", "no such file" },
        { "bench --steps 0", "--steps is 0" },
        { "train --early-stop 3 --validation 0 --data {train}",
            "--early-stop 3 needs held-out digits, but --validation 0 holds out none" },
        { "dance", "dance" },
        { "data --json", "--json" },
    };

    [Theory]
    [MemberData(nameof(BadUsage))]
    public void Bad_usage_is_one_line_and_exit_code_2(string arguments, string says)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        string[] list = [.. arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(argument => argument
            .Replace("{train}", _train, StringComparison.Ordinal).Replace("{test}", _test, StringComparison.Ordinal)
                .Replace("{folder}", _folder.Path, StringComparison.Ordinal))];
        CliProgram.AssertRefused(says, list);
        Assert.Equal(2, Directory.GetFileSystemEntries(_folder.Path).Length); // nothing written
    }

    [Fact]
    public void Options_that_have_no_effect_on_the_CPU_are_named()
    {
        // Of several trainings, the first one alone says where they run.
        string[] options = ["--data", _train, "--model", "simple", "--epochs", "1", "--seeds", "2", "--out", _folder["runs"]];
        CliProgram.Result result = CliProgram.Run(["repeat", .. options, "--kernels", "layered", "--no-cuda-graph"]).Succeeded();
        string device = Assert.Single(result.Error.Split('\n'), line => line.StartsWith("device ", StringComparison.Ordinal));
        Assert.EndsWith("; --kernels layered has no effect; --no-cuda-graph has no effect)", device, StringComparison.Ordinal);
        Assert.Equal(1, result.Error.Split("has no effect; ").Length - 1);
    }

    [Theory]
    [InlineData("", "train", "info")]
    [InlineData("data", "show", "download")]
    public void Without_a_command_help_is_shown(string arguments, string first, string last)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        CliProgram.Result result = CliProgram.Run(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Matches($@"(?s)Commands:.*\n  {first} .*\n  {last} .*Examples", result.Output);
        Assert.Contains($"Examples, where cudnn-digits stands for {CliProgram.Command}:\n", result.Output, StringComparison.Ordinal);
    }

    [LongFact]
    public void Bench_and_info_print_one_json_object()
    {
        using JsonDocument bench =
            JsonDocument.Parse(CliProgram.Run("bench", "--model", "simple", "--steps", "1", "--batch-size", "16", "--json").Output);
        Assert.Equal("simple", bench.RootElement.GetProperty("model").GetString());
        Assert.Equal(16, bench.RootElement.GetProperty("batch_size").GetInt32());
        Assert.True(bench.RootElement.GetProperty("threads").GetInt32() >= 1);
        Assert.StartsWith("CPU", bench.RootElement.GetProperty("device").GetString(), StringComparison.Ordinal);
        Assert.True(bench.RootElement.GetProperty("train_images_per_second").GetDouble() > 0);
        Assert.True(bench.RootElement.GetProperty("infer_images_per_second").GetDouble() > 0);

        using JsonDocument layers =
            JsonDocument.Parse(CliProgram.Run("bench", "--layers", "--model", "simple", "--steps", "1", "--json").Output);
        JsonElement forward = layers.RootElement.GetProperty("training").EnumerateArray()
            .First(row => row.GetProperty("layer").GetString() == "conv2");
        Assert.Equal("forward", forward.GetProperty("operation").GetString());
        Assert.Equal(4.4605, forward.GetProperty("mflop_per_image").GetDouble()); // 2 · 11² · 9 · 32 · 64
        Assert.Equal("all", layers.RootElement.GetProperty("inference").EnumerateArray().Last().GetProperty("layer").GetString());
        Assert.True(layers.RootElement.GetProperty("peak_gflops").GetDouble() > 1);

        using JsonDocument info = JsonDocument.Parse(CliProgram.Run("info", "--json").Output);
        Assert.Equal(870_826, info.RootElement.GetProperty("networks")[1].GetProperty("parameters").GetInt32());
    }
}
