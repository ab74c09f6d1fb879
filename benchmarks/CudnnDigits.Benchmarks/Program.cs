using System.CommandLine;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using CudnnDigits.Benchmarks;
using CudnnDigits.Model;
using Microsoft.ML.OnnxRuntime;

Option<string?> model = new("--model") { Description = "The network. Default: each in turn." };
Option<int> batch = new("--batch") { Description = "Digits in a call.", DefaultValueFactory = _ => 64 };
Option<int> threads =
    new("--threads") { Description = "Threads. Default: all cores.", DefaultValueFactory = _ => Environment.ProcessorCount };
Option<int> steps = new("--steps") { Description = "Calls in a repetition.", DefaultValueFactory = _ => 20 };
Option<int> repetitions = new("--reps") { Description = "Repetitions; the best counts.", DefaultValueFactory = _ => 7 };
model.AcceptOnlyFromAmong(DigitNetworks.Names);

Command onnx = new("onnx", "Images per second of ONNX Runtime on our weights, one line of JSON for each network.") { model, batch, threads,
    steps, repetitions };
onnx.SetAction(result =>
{
    string version = OrtEnv.Instance().GetVersionString();
    foreach (NetworkSpec network in DigitNetworks.All.Where(network => (result.GetValue(model) ?? network.Name) == network.Name))
    {
        double rate = OnnxPeer.Measure(network, result.GetValue(batch), result.GetValue(threads), result.GetValue(steps),
            result.GetValue(repetitions));
        Console.Out.WriteLine(
            $"{{\"peer\":\"ONNX Runtime {version}\",\"threads\":{result.GetValue(threads)},\"model\":\"{network.Name}\","
            + $"\"batch\":{result.GetValue(batch)},\"infer_img_s\":{rate:F0}}}");
    }
});

Argument<string[]> options = new("options") { Description = "Options of BenchmarkDotNet, after --.", Arity = ArgumentArity.ZeroOrMore };
Command layers = new("layers", "Single operations under BenchmarkDotNet, such as: layers -- --filter *Winograd* --job short") { options };
layers.SetAction(result =>
{
    IEnumerable<Summary> summaries = BenchmarkSwitcher.FromAssembly(typeof(ConvBenchmarks).Assembly).Run(result.GetValue(options));
    return summaries.Any(summary => summary.HasCriticalValidationErrors || summary.Reports.Any(report => !report.Success)) ? 1 : 0;
});

return new RootCommand("Peers and layers of CudnnDigits, measured.") { onnx, layers }.Parse(args).Invoke();
