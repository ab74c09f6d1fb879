using System.Net;
using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// The program where a call of CUDA fails: one line, nothing lost, nothing half-written, nothing of the device kept;
/// <see cref="Mutations.Factor"/> multiplies how many calls fail.
/// </summary>
public sealed class FailingProgramTests : TestsWithFolder
{
    private readonly string _data, _weights;

    public FailingProgramTests()
    {
        Gpu.RequireSoftware(); // it can be told to fail
        _data = _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(40)));
        _weights = _folder["weights.safetensors"];
        Checkpoint.SaveWeights(_weights, Initializer.Create(DigitNetworks.Simple, 0), steps: 0);
    }

    [Theory]
    [InlineData("evaluate", "cuGraphInstantiateWithFlags:1:700")]
    [InlineData("evaluate", "gather_images:2:719")]
    [InlineData("predict", "cudnnGetConvolutionForwardWorkspaceSize:2:5000")]
    [InlineData("predict", "cuMemcpyDtoHAsync_v2:1:2")]
    [InlineData("bench", "cudnnGetBatchNormalizationTrainingExReserveSpaceSize:1:2000")]
    [InlineData("bench", "cuGraphLaunch:5:700")]
    [InlineData("serve", "cuMemHostAlloc:1:2")]
    [InlineData("crossval", "cuEventRecord:3:700")]
    public void A_command_says_what_failed_and_leaves_nothing_behind(string command, string failure)
    {
        string[] arguments = command switch
        {
            "evaluate" => ["evaluate", "--weights", _weights, "--data", _data],
            "predict" => ["predict", "--weights", _weights, "--data", _data, "--out", _folder["submission.csv"], "--kernels", "layered"],
            "bench" => ["bench", "--model", "improved", "--kernels", "layered", "--precision", "fp32", "--steps", "1", "--batch-size", "2"],
            "serve" => ["serve", "--weights", _weights, "--port", "0"],
            _ => ["crossval", "--data", _data, "--model", "simple", "--folds", "2", "--epochs", "1", "--out", _folder["study"], "--quiet"],
        };
        CliProgram.Result result = Run(failure, [.. arguments, "--device", "cuda"]);
        Assert.Equal(1, result.ExitCode);
        Assert.Empty(result.Output);
        string line = Assert.Single(result.Error.TrimEnd('\n').Split('\n'), line => !line.StartsWith("device ", StringComparison.Ordinal));
        Assert.StartsWith("cudnn-digits: error: ", line, StringComparison.Ordinal);
        Assert.Contains("the GPU failed", line, StringComparison.Ordinal);
        Assert.Contains("failed: CU", line, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["submission.csv"]));
    }

    [Theory]
    [InlineData("cuModuleLoadDataEx:3:222", "update the NVIDIA driver")] // a fused kernel, compiled when first launched
    [InlineData("cuMemAlloc_v2:1:2", "try --batch-size 8, or close other programs on the GPU")]
    public void A_training_that_the_machine_refuses_says_what_to_do(string failure, string says)
    {
        CliProgram.Result result = Run(failure, Train("refused"));
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(says, Assert.Single(result.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
    }

    /// <summary>Predictions have no batch that could be chosen smaller.</summary>
    [Theory]
    [InlineData("evaluate")]
    [InlineData("predict")]
    public void A_prediction_without_memory_says_what_to_do(string command)
    {
        string[] arguments = [command, "--weights", _weights, "--data", _data, "--device", "cuda"];
        CliProgram.Result result = Run(
            "cuMemAlloc_v2:1:2", command == "predict" ? [.. arguments, "--out", _folder["submission.csv"]] : arguments);
        Assert.Equal(2, result.ExitCode);
        Assert.EndsWith(
            "; close other programs on the GPU, or use another device",
            Assert.Single(result.Error.TrimEnd('\n').Split('\n'), line => line.StartsWith("cudnn-digits: ", StringComparison.Ordinal)),
            StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["submission.csv"]));
    }

    [Fact]
    public async Task A_server_whose_GPU_fails_ends()
    {
        ProcessStartInfo info = CliProgram.Info("serve", "--weights", _weights, "--device", "cuda", "--port", "0", "--json", "--quiet");
        info.Environment["SOFTCUDA_FAIL"] = "cuGraphLaunch:1:719";
        Process process = Process.Start(info)!;
        using HttpClient client = new() { BaseAddress = new Uri(CliProgram.ReadAddress(process)) };
        using StringContent body = new("{\"strokes\":[[[140,30],[138,250]]]}", Encoding.UTF8, "application/json");
        using HttpResponseMessage answer = await client.PostAsync(
            new Uri("predict", UriKind.Relative), body, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.InternalServerError, answer.StatusCode);
        CliProgram.Result result = CliProgram.Finish(process);
        Assert.Equal(1, result.ExitCode);
        string line = Assert.Single(result.Error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("cudnn-digits: error: the GPU failed: ", line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_training_that_fails_anywhere_goes_on_to_the_same_weights()
    {
        Assert.Equal(0, Run("", Train("whole")).ExitCode);
        byte[] whole = File.ReadAllBytes(_folder["whole/model.safetensors"]);
        Random random = new(27);
        for (int i = 0; i < 3 * Mutations.Factor; i++)
        {
            // Any of the five hundred calls that there are; from the hundredth on there is a folder.
            string run = $"run{i}", failure = $"*:{random.Next(1, 500)}:{(i % 3) switch { 0 => 700, 1 => 999, _ => 719 }}";
            CliProgram.Result failed = Run(failure, Train(run));
            string[] lines = [.. failed.Error.Split('\n')
                .Where(line => line.StartsWith("cudnn-digits:", StringComparison.Ordinal)
                || line.StartsWith("softcuda: leak", StringComparison.Ordinal))];
            Assert.True(failed.ExitCode is 0 or 1 or 2 && lines.Length == (failed.ExitCode == 0 ? 0 : 1),
                $"{failure}: {failed.ExitCode}: {failed.Error}");
            Assert.DoesNotContain("in the program itself", failed.Error, StringComparison.Ordinal);
            string[] goOn = Directory.Exists(_folder[run]) ? ["train", "--resume", _folder[run], "--device", "cuda"] : Train(run);
            CliProgram.Result resumed = Run("", goOn);
            Assert.True(resumed.ExitCode == 0, $"{failure}: {failed.Error}{resumed.Error}");
            Assert.True(whole.AsSpan().SequenceEqual(File.ReadAllBytes(_folder[$"{run}/model.safetensors"])), $"{failure}: other weights");
        }
    }

    [Theory]
    [InlineData("cudnnGetConvolutionForwardWorkspaceSize:1:5000", "conv1, forward: workspace failed: CUDNN_STATUS_EXECUTION_FAILED")]
    [InlineData("cuMemHostAlloc:1:2",
        "CUDA_ERROR_OUT_OF_MEMORY (out of memory); close other programs on the GPU, or use another device")]
    [InlineData("cuDevicePrimaryCtxRetain:1:0", "a call succeeded that was to give a context, and gave none")]
    public void Where_auto_is_still_choosing_it_takes_the_CPU_and_says_why(string failure, string says)
    {
        CliProgram.Result result = Run(failure, "evaluate", "--weights", _weights, "--data", _data, "--kernels", "layered").Succeeded();
        Assert.Contains(says, Assert.Single(result.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("train")]
    [InlineData("crossval")]
    public void What_is_refused_while_the_GPU_is_being_opened_leaves_nothing_behind(string command)
    {
        CliProgram.Result result = Run("", command, "--model", "simple", "--device", "cuda", "--out", _folder.Path); // which is not empty
        Assert.Equal(2, result.ExitCode);
        Assert.Contains("choose another --out", Assert.Single(result.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public void Info_describes_a_machine_that_fails_anywhere()
    {
        for (int n = 1; n <= 20; n += Mutations.Factor > 1 ? 1 : 5)
        {
            CliProgram.Result result = Run($"*:{n}:999", "info");
            Assert.True(result.ExitCode == 0 && result.Error.Length == 0, result.Error);
        }
    }

    private string[] Train(string run) =>
        ["train", "--data", _data, "--device", "cuda", "--deterministic", "--precision", "fp32", "--model", "simple", "--epochs", "2",
            "--batch-size", "16", "--out", _folder[run], "--quiet"];

    private CliProgram.Result Run(string failure, params string[] arguments) =>
        CliProgram.RunIn(_folder.Path, "SOFTCUDA_FAIL", failure, arguments);
}
