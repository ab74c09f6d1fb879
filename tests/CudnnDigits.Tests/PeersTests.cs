using CudnnDigits.Tests.Cli;

namespace CudnnDigits.Tests;

/// <summary>What gpu-check takes for granted of the peers, by Python without any package.</summary>
public class PeersTests
{
    private static readonly string Folder = Path.Combine(SharedFiles.RepositoryRoot, "benchmarks/peers");

    public PeersTests() => Assert.SkipUnless(FileNodes.Run("python3", "-c", ""), "there is no python3");

    [Fact]
    public void Their_networks_are_ours()
    {
        JsonElement theirs = Lines("-c", """
            import common, json
            print(json.dumps({name: [network.parameters, network.normed, network.blocks, network.hidden, common.shapes(network)]
                              for name, network in common.NETWORKS.items()}))
            """)[0];
        foreach (NetworkSpec network in DigitNetworks.All)
        {
            List<(List<int> Widths, double Rate)> blocks = [], hidden = [];
            List<int[]> convolutions = [], linears = [];
            List<int> widths = [];
            foreach (Layer layer in network.Layers)
            {
                switch (layer)
                {
                    case Conv2dLayer convolution:
                        widths.Add(convolution.OutChannels);
                        convolutions.Add([convolution.InChannels, convolution.OutChannels]);
                        break;
                    case MaxPool2dLayer:
                        blocks.Add((widths, 0));
                        widths = [];
                        break;
                    case LinearLayer linear:
                        hidden.Add(([linear.OutFeatures], 0));
                        linears.Add([linear.InFeatures, linear.OutFeatures]);
                        break;
                    case DropoutLayer dropout:
                        List<(List<int> Widths, double Rate)> dropped = hidden.Count > 0 ? hidden : blocks;
                        dropped[^1] = (dropped[^1].Widths, dropout.Rate);
                        break;
                    default:
                        break;
                }
            }

            bool normed = network.Layers.Any(layer => layer is BatchNorm2dLayer);
            Assert.All(network.Layers.OfType<Conv2dLayer>(), convolution =>
                Assert.Equal((3, normed ? 1 : 0, !normed), (convolution.Kernel, convolution.Padding, convolution.Bias)));
            string ours = JsonSerializer.Serialize(new object[]
            {
                network.Parameters.TrainedCount, normed, blocks.Select(block => new object[] { block.Widths, block.Rate }),
                hidden[..^1].Select(layer => new object[] { layer.Widths[0], layer.Rate }), new[] { convolutions, linears },
            });
            Assert.Equal(ours, JsonSerializer.Serialize(theirs.GetProperty(network.Name)));
        }
    }

    [Theory, InlineData("jax_train.py"), InlineData("onnx_infer.py"), InlineData("pytorch_train.py")]
    public void One_that_cannot_run_here_says_why_in_a_line(string script) =>
        Assert.StartsWith("No module named", Lines(Path.Combine(Folder, script))[0].GetProperty("skipped").GetString()!,
            StringComparison.Ordinal);

    [Fact]
    public void One_that_fails_costs_no_other_and_what_there_was_no_time_for_is_counted()
    {
        JsonElement[] lines = Lines("-c", """
            import common, time
            options = common.parser("", "a,b").parse_args(["--models", "simple", "--batch-sizes", "2", "--seconds", "0.2"])
            def measure(configuration):
                if configuration.precision == "tf32":
                    raise ValueError("not\nthis")
                time.sleep(0.3 if configuration.mode == "b" else 0)
                return {"rate": 1}
            plan = (("a", ("bf16", "tf32", "fp32")), ("b", ("bf16", "fp32", "tf32")))
            common.benchmark("peer", "1", options, common.configurations(options, plan), measure)
            """);
        Assert.Equal(
            ["a bf16 rate", "a tf32 ValueError: not this", "a fp32 rate", "b bf16 rate", "left 2"],
            lines.Where(line => !line.TryGetProperty("begins", out _)).Select(line => line.TryGetProperty("left", out JsonElement left)
                ? $"left {left}" : $"{line.GetProperty("mode")} {line.GetProperty("precision")} "
                    + (line.TryGetProperty("error", out JsonElement error) ? error.GetString() : "rate")));
        Assert.Equal(4, lines.Count(line => line.TryGetProperty("begins", out _)));
    }

    private static JsonElement[] Lines(params string[] arguments)
    {
        CliProgram.Result result = CliProgram.Finish(Process.Start(new ProcessStartInfo("python3", ["-B", "-S", .. arguments])
        {
            WorkingDirectory = Folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!);
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        return [.. result.Output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
    }
}
