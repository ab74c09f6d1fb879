using System.Text.Json.Nodes;
using CudnnDigits.Cli.Exchange;

namespace CudnnDigits.Tests.Cli;

/// <summary>Whatever a command takes as weights: the folder of a run, names with a prefix, ONNX under any name.</summary>
public sealed class WeightsTests : TestsWithFolder
{
    private static readonly NetworkWeights Weights = Initializer.Create(DigitNetworks.Simple, 5);

    private readonly string _data, _run, _model, _prefixed;

    public WeightsTests()
    {
        _data = _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(100, seed: 2)));
        _run = _folder.Make("run");
        _model = Path.Combine(_run, "model.safetensors");
        Checkpoint.SaveWeights(_model, Weights, 1);
        _prefixed = _folder.Write("ddp.safetensors",
            SafeTensorsFiles.Bytes(SafeTensorsFiles.Of(Weights)
            .Select(tensor => tensor with { Name = $"module._orig_mod.{tensor.Name}" })));
    }

    [Fact]
    public void A_prefix_is_said_once_and_changes_nothing()
    {
        CliProgram.Result plain = Evaluate(_model), prefixed = Evaluate(_prefixed);
        Assert.Equal((0, ""), (plain.ExitCode, plain.Error));
        Assert.Equal((0, plain.Output), (prefixed.ExitCode, prefixed.Output));
        Assert.Equal($"weights   {_prefixed}: every name begins with 'module._orig_mod.', which is taken off\n", prefixed.Error);
    }

    [Fact]
    public void The_folder_of_a_run_is_taken_wherever_weights_are()
    {
        Assert.Equal(Evaluate(_model).Output, Evaluate(_run).Output);
        Assert.Equal(0, CliProgram.Invoke("predict", "--weights", _run, "--data", _data, "--device", "cpu", "--out",
            _folder["submission.csv"]));
        Assert.Equal(0, CliProgram.Invoke("export", "--weights", _run, "--onnx", _folder["model.onnx"]));
        Assert.Equal(Weights.Trained, WeightsFile.Load(_folder["model.onnx"]).Weights.Trained);
        Assert.Contains("is a file that this command reads",
            CliProgram.Refusal("predict", "--weights", _run, "--data", _data, "--out", _model), StringComparison.Ordinal);
        Assert.Contains("is a file that this command reads", CliProgram.Refusal("export", "--weights", _run, "--onnx", _model),
            StringComparison.Ordinal);
        Assert.Contains($"is a folder of one run; give that: {_run}",
            CliProgram.Refusal("predict", "--weights", _folder.Path, "--data", _data), StringComparison.Ordinal);

        Assert.Equal(0, CliProgram.Invoke("train", "--data", _data, "--init-from", _run, "--epochs", "1", "--device", "cpu", "--quiet",
            "--out", _folder["tuned"]));
        RunRecord record = new RunFolder(_folder["tuned"]).ReadRecord();
        Assert.Equal((_model, RunFolder.Sha256(_model)), (record.InitFrom, record.InitFromSha256));
        foreach (string file in new[] { "run.json", "history.csv", "report.html" })
        {
            Assert.Contains($"{file}: is one of a run's files and holds no weights; give the run's folder, {_folder["tuned"]}",
                CliProgram.Refusal("evaluate", "--weights", _folder[$"tuned/{file}"], "--data", _data), StringComparison.Ordinal);
        }

        string state = _folder["tuned/last.safetensors"];
        Assert.StartsWith($"weights   {state}: a run's state, of which the last step's weights are read; the run's folder stands for the "
            + "weights that it keeps\n", Evaluate(state).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Why_it_is_not_on_a_GPU_is_one_line_of_a_command()
    {
        CliProgram.Result result =
            CliProgram.Run("predict", "--weights", _run, "--data", _data, "--out", _folder["submission.csv"]).Succeeded();
        Assert.Matches(@"^device    CPU \(.*; see info\)\n$", result.Error);
        Assert.DoesNotContain("NVIDIA", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Serve_takes_the_folder_of_a_run_and_is_quiet_where_it_is_told_to_be()
    {
        System.Diagnostics.Process process =
            CliProgram.Start("serve", "--weights", _run, "--port", "0", "--quiet",
            "--json"); // --device auto: without a GPU there is something to say
        using HttpClient client = new() { BaseAddress = new Uri(CliProgram.ReadAddress(process)) };
        JsonNode health = JsonNode.Parse(await client.GetStringAsync("health", TestContext.Current.CancellationToken))!;
        Assert.Equal(_model, health["weights"]!.GetValue<string>());
        process.Kill();
        Assert.Equal("", CliProgram.Finish(process).Error);
    }

    [Fact]
    public async Task ONNX_and_safetensors_are_told_apart_by_their_first_bytes()
    {
        byte[] onnx = OnnxWriter.Write(Weights, keepBatchNorm: true);
        foreach (string name in new[] { "model.bin", "model.safetensors", "model.onnx", "model" })
        {
            Assert.Equal(Weights.Trained, WeightsFile.Load(_folder.Write(name, onnx)).Weights.Trained);
            Assert.Equal(Weights.Trained, WeightsFile.Load(_folder.Write(name, File.ReadAllBytes(_model))).Weights.Trained);
        }

        string pipe = FileNodes.Fifo(_folder["stdin"]);
        Task write = Task.Run(() => File.WriteAllBytes(pipe, onnx), TestContext.Current.CancellationToken);
        Assert.Equal(Weights.Trained, WeightsFile.Load(pipe).Weights.Trained);
        await write;
        string start = _folder.Write("start", onnx);
        Assert.Contains($"{start}: is an ONNX model, which is not accepted here",
            CliProgram.Refusal("train", "--data", _data, "--init-from", start), StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_read_is_bad_input()
    {
        Assert.SkipUnless(File.Exists("/proc/self/mem"), "needs a file that opens and cannot be read");
        Assert.StartsWith("/proc/self/mem: cannot be read: ",
            CliProgram.Refusal("evaluate", "--weights", "/proc/self/mem", "--data", _data), StringComparison.Ordinal);
    }

    private CliProgram.Result Evaluate(string weights) =>
        CliProgram.Run("evaluate", "--weights", weights, "--data", _data, "--device", "cpu", "--json");
}
