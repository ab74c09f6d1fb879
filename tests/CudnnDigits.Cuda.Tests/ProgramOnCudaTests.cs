using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Cuda.Tests;

/// <summary>The program with <c>--device cuda</c>, as a user would run it.</summary>
public sealed class ProgramOnCudaTests : TestsWithFolder
{
    private readonly string _data;

    public ProgramOnCudaTests()
    {
        Gpu.Require();
        _data = _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(50)));
    }

    [Theory]
    [InlineData("simple", "")]
    [InlineData("simple", "--no-cuda-graph")]
    public void Golden_losses_and_final_weights_come_out_of_the_program(string model, string option)
    {
        Golden golden = Golden.Load(model);
        Succeeds([.. golden.TrainArguments(_folder, "run"), "--device", "cuda", "--deterministic",
            .. option.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        golden.AssertFollowedBy(_folder["run"]);
    }

    [Fact]
    public void A_run_records_its_device_and_two_deterministic_ones_write_the_same_bytes()
    {
        foreach (string run in new[] { "first", "second" })
        {
            Succeeds("train", "--data", _data, "--device", "cuda", "--deterministic", "--model", "simple", "--epochs", "2", "--kernels",
                "layered", "--out", _folder[run]);
        }

        Assert.Equal(File.ReadAllBytes(_folder["first/model.safetensors"]), File.ReadAllBytes(_folder["second/model.safetensors"]));
        using JsonDocument run1 = JsonDocument.Parse(File.ReadAllText(_folder["first/run.json"]));
        Assert.Equal("bf16", run1.RootElement.GetProperty("precision").GetString());
        Assert.True(run1.RootElement.GetProperty("deterministic").GetBoolean());
        JsonElement cuda = run1.RootElement.GetProperty("cuda");
        Assert.Equal("layered", cuda.GetProperty("kernels").GetString());
        Assert.StartsWith("9.", cuda.GetProperty("cudnn").GetString(), StringComparison.Ordinal);
        Assert.Contains("forward ", cuda.GetProperty("algorithms").GetProperty("conv2").GetString(), StringComparison.Ordinal);

        // The weights travel: read by the other device, they say the same.
        string[] evaluate = ["evaluate", "--data", _data, "--weights", _folder["first/model.safetensors"], "--json", "--device"];
        using JsonDocument onCuda = JsonDocument.Parse(Succeeds([.. evaluate, "cuda", "--precision", "fp32"]).Output),
        onCpu = JsonDocument.Parse(Succeeds([.. evaluate, "cpu"]).Output);
        Assert.Equal(onCpu.RootElement.GetProperty("accuracy").GetDouble(), onCuda.RootElement.GetProperty("accuracy").GetDouble());
        Assert.Equal(onCpu.RootElement.GetProperty("loss").GetDouble(), onCuda.RootElement.GetProperty("loss").GetDouble(), 1e-5);
    }

    [Fact]
    public void A_run_moves_from_one_device_to_the_other_in_its_own_precision()
    {
        Succeeds("train", "--data", _data, "--device", "cpu", "--model", "simple", "--batch-size", "16", "--epochs", "2", "--out",
            _folder["run"]);
        Succeeds("train", "--resume", _folder["run"], "--device", "cuda", "--epochs", "3");
        using (JsonDocument run = JsonDocument.Parse(File.ReadAllText(_folder["run/run.json"])))
        {
            Assert.Equal("fp32", run.RootElement.GetProperty("precision").GetString());
        }

        Succeeds("train", "--resume", _folder["run"], "--device", "cpu", "--epochs", "4");
        Assert.Equal(5, File.ReadAllLines(_folder["run/history.csv"]).Length);
    }

    [Fact]
    public void Info_and_bench_name_the_device()
    {
        string info = Succeeds("info").Output;
        Assert.Contains("cuda:0", info, StringComparison.Ordinal);
        Assert.Contains("cudnn", info, StringComparison.Ordinal);
        using JsonDocument json = JsonDocument.Parse(Succeeds("info", "--json").Output);
        Assert.Equal(JsonValueKind.Null, json.RootElement.GetProperty("cuda").GetProperty("why_not").ValueKind);
        Assert.Equal(3, json.RootElement.GetProperty("cuda").GetProperty("libraries").EnumerateArray()
            .Count(library => library.GetProperty("name").GetString() != "nvtx"));

        using JsonDocument bench = JsonDocument.Parse(
            Succeeds("bench", "--device", "cuda", "--model", "simple", "--steps", "1", "--batch-size", "16", "--precision", "bf16",
                "--kernels", "layered", "--profile", "--json").Output);
        Assert.Equal("layered", bench.RootElement.GetProperty("kernels").GetString());
        Assert.Contains(", batch 16, fp32, layered kernels, augmentation none", Succeeds("bench", "--device", "cuda", "--model", "simple",
            "--steps", "1", "--batch-size", "16", "--precision", "fp32", "--kernels", "layered").Output, StringComparison.Ordinal);
        CliProgram.AssertRefused("--layers measures the CPU", "bench", "--layers", "--device", "cuda");
        Assert.Equal("bf16", bench.RootElement.GetProperty("precision").GetString());
        Assert.True(bench.RootElement.GetProperty("train_images_per_second").GetDouble() > 0);
        Assert.True(bench.RootElement.GetProperty("device_memory_bytes").GetInt64() > 0);
        Assert.Contains("backward weights ", bench.RootElement.GetProperty("algorithms").GetProperty("conv2").GetString(),
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_profiler_sees_named_ranges()
    {
        Gpu.RequireSoftware(); // it writes the ranges to a file
        string log = _folder["ranges"];
        CliProgram.RunIn(_folder.Path, "SOFTCUDA_NVTX", log, Train("run", epochs: 1)).Succeeded();
        string[] ranges = File.ReadAllLines(log);
        string[] expected =
        [
            "build", "load", "upload digits", "capture training step, batch 16", "capture training step, batch 8", "epoch",
            "wait for the epoch",
            "evaluation", " capture prediction step, batch 16", // within the evaluation
        ];
        Assert.All(expected, range => Assert.Contains(range, ranges));
        Assert.DoesNotContain(ranges, range => range.StartsWith("  ", StringComparison.Ordinal)); // every range was closed
    }

    [Fact]
    public void Two_processes_share_a_GPU()
    {
        Process[] processes = [.. Enumerable.Range(0, 2).Select(i => CliProgram.Start(Train($"run{i}", epochs: 2)))];
        Assert.All(processes.Select(CliProgram.Finish), result => Assert.Equal(0, result.ExitCode));
        Assert.Equal(File.ReadAllBytes(_folder["run0/model.safetensors"]), File.ReadAllBytes(_folder["run1/model.safetensors"]));
    }

    [Fact]
    public void Interrupted_while_it_builds_and_captures_it_saves_and_ends()
    {
        Signals.Require("INT");
        using Process process = CliProgram.Start(Train("run", epochs: 1000));
        string? line;
        while ((line = process.StandardError.ReadLine()) is not null && !line.StartsWith("run ", StringComparison.Ordinal))
        {
            // The next thing it does is to load, upload, warm up and capture.
        }

        Signals.Send(process, "INT");

        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(130, process.ExitCode);
        Assert.Contains("saved: go on with", error, StringComparison.Ordinal);
        Assert.DoesNotContain("softcuda:", error, StringComparison.Ordinal);
        Assert.True(File.Exists(_folder["run/last.safetensors"]));
    }

    private string[] Train(string run, int epochs) =>
        ["train", "--data", _data, "--device", "cuda", "--deterministic", "--model", "simple", "--batch-size", "16",
            "--epochs", $"{epochs}", "--out", _folder[run]];

    private static CliProgram.Result Succeeds(params string[] arguments)
    {
        CliProgram.Result result = CliProgram.Run(arguments).Succeeded();
        Assert.DoesNotContain("softcuda:", result.Error, StringComparison.Ordinal); // nothing refused, nothing left behind
        return result;
    }
}
