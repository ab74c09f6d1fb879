using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using CudnnDigits.Data;

namespace CudnnDigits.GpuCheck;

internal enum Status
{
    Passed,
    Failed,
    Skipped,
}

/// <summary>What a check found.</summary>
/// <param name="Name">Which check.</param>
/// <param name="Status">How it went.</param>
/// <param name="Summary">One line.</param>
/// <param name="Details">What it measured, as it stands in the report.</param>
internal sealed record CheckResult(string Name, Status Status, string Summary, JsonNode? Details = null);

/// <summary>The checks, in the order they run: what is cheap and tells most first.</summary>
internal static partial class Checks
{
    public static readonly string[] Names = ["machine", "ptx", "tests", "embedding", "train", "benchmark", "kernels", "sanitizer"];

    private static readonly string[] SameBits = ["default_stream", "other_stream", "float_pixels", "captured"]; // what pytorch_embed.py compares

    private const int Seeds = 5;

    /// <summary>What a quick check trains instead.</summary>
    private static readonly string[] Once = ["--epochs", "1", "--batch-size", "20"];

    /// <summary>Few passes in large batches: docs/performance.md says what led there.</summary>
    private static readonly string[] Soon = ["--epochs", "3", "--batch-size", "256", "--lr", "4e-3", "--dropout", "0.1"];

    /// <summary>Thirty epochs from ten seeds: docs/performance.md says what that reaches on the CPU.</summary>
    private static readonly string[] Long = ["--epochs", "30", "--weight-decay", "0.1"];

    private static readonly string[] Targets = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"];

    public static CheckResult Run(string name, Workplace place)
    {
        if (place.Left < TimeSpan.FromSeconds(5))
        {
            return new CheckResult(name, Status.Skipped, "no time left; run it alone with --only");
        }

        try
        {
            return name switch
            {
                "machine" => Machine(place),
                "ptx" => Ptx(place),
                "tests" => Tests(place),
                "embedding" => Embedding(place),
                "train" => Train(place),
                "benchmark" => Benchmark.Run(place),
                "kernels" => Kernels.Run(place),
                _ => Sanitizer(place),
            };
        }
        catch (Exception e) when (e is JsonException or IOException or InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return new CheckResult(name, Status.Failed, $"the check itself failed: {e.Message}");
        }
    }

    /// <summary>Driver, GPU and libraries, as the program finds them.</summary>
    private static CheckResult Machine(Workplace place)
    {
        ToolResult info = place.Run("info", 30, Workplace.Digits, ["info", "--json"]);
        JsonNode details = JsonNode.Parse(info.Text)!;
        string commit = Path.Combine(Workplace.Bundle, "commit.txt");
        details["commit"] = File.Exists(commit) ? File.ReadAllText(commit).Trim() : null;
        if (Workplace.Find("nvidia-smi") is { } smi)
        {
            ToolResult driver = place.Run("nvidia-smi", 30, smi, ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]);
            details["nvidia_smi"] = driver.Text.Trim();
        }

        string? why = (string?)details["cuda"]!["why_not"];
        string gpus = string.Join(", ", details["cuda"]!["gpus"]!.AsArray().Select(gpu => (string?)gpu!["name"]));
        return new CheckResult("machine", why is null ? Status.Passed : Status.Failed, why ?? gpus, details);
    }

    /// <summary>Every PTX through NVIDIA's assembler, for every generation of GPU; and the sources through NVIDIA's compiler.</summary>
    private static CheckResult Ptx(Workplace place)
    {
        if (Workplace.Find("ptxas", [.. PythonFolders("triton/backends/nvidia/bin")]) is not { } ptxas)
        {
            return new CheckResult("ptx", Status.Skipped, "ptxas is not on this machine");
        }

        JsonArray details = [];
        foreach (string file in Directory.EnumerateFiles(Path.Combine(Workplace.Bundle, "ptx"), "*.ptx"))
        {
            string oldest = OwnTarget(file);
            foreach (string target in Targets.SkipWhile(target => target != oldest))
            {
                ToolResult result = place.Run($"ptxas-{Path.GetFileNameWithoutExtension(file)}-{target}", 60, ptxas, ["-v", $"-arch={target}", file, "-o", "/dev/null"]);
                int spills = result.Error.Concat(result.Output).SelectMany(line => SpillCount().Matches(line.Text)).Sum(match => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));
                details.Add(new JsonObject { ["file"] = Path.GetFileName(file), ["target"] = target, ["assembles"] = result.ExitCode == 0, ["spill_bytes"] = spills });
            }
        }

        if (Workplace.Find("nvcc") is { } nvcc)
        {
            foreach (string file in Directory.EnumerateFiles(Path.Combine(Workplace.Bundle, "ptx"), "*.ptx"))
            {
                string name = Path.GetFileNameWithoutExtension(file), source = Path.Combine(Workplace.Bundle, "kernels", $"{name}.cu");
                ToolResult result = place.Run($"nvcc-{name}", 90, nvcc, ["-std=c++17", $"-arch={OwnTarget(file)}", "-cubin", source, "-o", Path.Combine(place.Output, $"{name}.cubin")]);
                details.Add(new JsonObject { ["file"] = $"{name}.cu", ["target"] = "nvcc", ["assembles"] = result.ExitCode == 0 });
            }
        }

        int failed = details.Count(entry => !(bool)entry!["assembles"]!);
        return new CheckResult("ptx", failed == 0 ? Status.Passed : Status.Failed, $"{details.Count - failed} of {details.Count} assemble", details);
    }

    /// <summary>The oldest GPU that a PTX is for.</summary>
    private static string OwnTarget(string file) => File.ReadLines(file).First(line => line.StartsWith(".target ", StringComparison.Ordinal))[".target ".Length..].Trim();

    /// <summary>The CUDA tests, a GPU required.</summary>
    private static CheckResult Tests(Workplace place)
    {
        string references = Path.Combine(Workplace.Bundle, "references");
        (string, string)[] environment = [("CUDNN_DIGITS_REQUIRE_GPU", "1"), ("CUDNN_DIGITS_SHARED", references)];
        string[] arguments = place.Quick ? ["-class", "CudnnDigits.Cuda.Tests.OperationTests"] : [];
        ToolResult result = place.Run("tests", 300, Path.Combine(Workplace.App, "CudnnDigits.Cuda.Tests"), arguments, environment);
        Match summary = TestSummary().Match(result.Text);
        string[] failures = [.. result.Output.Where(line => line.Text.Contains("[FAIL]", StringComparison.Ordinal)).Select(line => Escapes().Replace(line.Text, "").Trim())];
        JsonObject details = new() { ["summary"] = summary.Value, ["failures"] = new JsonArray([.. failures.Select(line => JsonValue.Create(line))]) };
        return result.ExitCode == 0
            ? new CheckResult("tests", Status.Passed, summary.Value, details)
            : new CheckResult("tests", Status.Failed, result.TimedOut ? "out of time" : $"{summary.Value}: {string.Join("; ", failures.Take(3))}", details);
    }

    /// <summary>The C interface inside a PyTorch program: its tensors, its streams, its graph, its logits.</summary>
    private static CheckResult Embedding(Workplace place)
    {
        string script = Path.Combine(Workplace.Bundle, "peers", "pytorch_embed.py"), run = Path.Combine(place.Output, "run-embedding");
        if (Benchmark.Python() is not { } python || place.Run("torch", 60, python, ["-c", "import torch; assert torch.cuda.is_available()"]).ExitCode != 0)
        {
            return new CheckResult("embedding", Status.Skipped, "there is no PyTorch with CUDA on this machine");
        }

        ToolResult train = place.Run("train-embedding", 120, Workplace.Digits, ["train", "--device", "cuda", "--data", SmallData(place), "--model", "simple", "--epochs", "1", "--out", run, "--quiet"]);
        if (train.ExitCode != 0)
        {
            return new CheckResult("embedding", Status.Failed, train.LastWord);
        }

        string library = Path.Combine(Workplace.Bundle, "native", "libcudnndigits.so");
        ToolResult result = place.Run("embedding", 120, python, [script, library, Path.Combine(run, "model.safetensors")]);
        Directory.Delete(run, recursive: true);
        if (result.ExitCode != 0)
        {
            return new CheckResult("embedding", Status.Failed, result.LastWord);
        }

        JsonNode details = JsonNode.Parse(result.Text)!;
        string[] wrong = [.. SameBits.Where(name => !(bool)details[name]!)];
        double difference = (double)details["relative_difference_to_pytorch"]!;
        return wrong.Length == 0 && difference < 1e-5
            ? new CheckResult("embedding", Status.Passed, string.Create(CultureInfo.InvariantCulture, $"the same bits from tensors; logits {difference:e1} from PyTorch's"), details)
            : new CheckResult("embedding", Status.Failed, string.Create(CultureInfo.InvariantCulture, $"other bits: {string.Join(", ", wrong)}; logits {difference:e1} from PyTorch's"), details);
    }

    /// <summary>Both networks on the given digits from several seeds: accuracy after the last epoch, and the shortest way to 99 %.</summary>
    private static CheckResult Train(Workplace place)
    {
        JsonArray details = [];
        foreach ((string name, string convolutions, string[] options) in new (string, string, string[])[]
        {
            ("simple", "cudnn", ["--model", "simple"]),
            ("improved", "cudnn", []),
            ("improved, bf16, fused", "fused", ["--precision", "bf16"]),
            ("improved, to 99 % soon", "fused", ["--precision", "bf16", .. Soon]),
        })
        {
            List<JsonNode> runs = [];
            for (int seed = 0; seed < (place.Quick ? 1 : Seeds); seed++)
            {
                string run = Path.Combine(place.Output, "run-train");
                string[] data = (place.Quick ? SmallData(place, 40) : place.Data) is { } path ? ["--data", path] : [];
                ToolResult result = place.Run(
                    $"train-{details.Count}-{seed}", 120, Workplace.Digits,
                    ["train", "--device", "cuda", "--seed", $"{seed}", "--out", run, "--json", .. data, .. Chosen(place, options)],
                    (Benchmark.Convolutions, convolutions));
                if (result.ExitCode != 0)
                {
                    return new CheckResult("train", Status.Failed, $"{name}: {result.LastWord}", details);
                }

                runs.Add(Summary(result, Path.Combine(run, "history.csv")));
                Directory.Delete(run, recursive: true);
            }

            double[] accuracies = [.. runs.Select(run => (double)run["accuracy"]!)];
            double mean = accuracies.Average();
            details.Add(new JsonObject
            {
                ["name"] = name,
                ["accuracy"] = Math.Round(mean, 5),
                ["deviation"] = accuracies.Length < 2 ? null : Math.Round(Math.Sqrt(accuracies.Sum(accuracy => (accuracy - mean) * (accuracy - mean)) / (accuracies.Length - 1)), 5),
                ["seeds"] = accuracies.Length,
                ["training_seconds"] = Median(runs, "training_seconds"),
                ["training_seconds_to_99"] = Median(runs, "training_seconds_to_99"),
                ["process_seconds_to_99"] = Median(runs, "process_seconds_to_99"),
                ["process_seconds"] = Median(runs, "process_seconds"),
                ["runs"] = new JsonArray([.. runs]),
            });
        }

        string study = Path.Combine(place.Output, "repeat");
        string[] digits = (place.Quick ? SmallData(place, 40) : place.Data) is { } file ? ["--data", file] : [];
        ToolResult repeat = place.Run(
            "repeat", 120, Workplace.Digits,
            ["repeat", "--device", "cuda", "--precision", "bf16", "--out", study, "--json", "--quiet", .. digits, .. Chosen(place, Long), "--seeds", place.Quick ? "2" : "10"],
            (Benchmark.Convolutions, "fused"));
        if (repeat.ExitCode != 0)
        {
            return new CheckResult("train", Status.Failed, $"repeat: {repeat.LastWord}", details);
        }

        JsonNode repeated = JsonNode.Parse(repeat.Text)!;
        details.Add(new JsonObject
        {
            ["name"] = $"improved, bf16, fused, {(place.Quick ? "one epoch" : "thirty epochs")}, all seeds in one command",
            ["accuracy"] = Math.Round((double)repeated["accuracy"]!["mean"]!, 5),
            ["deviation"] = Math.Round((double)repeated["accuracy"]!["deviation"]!, 5),
            ["seeds"] = repeated["seeds"]!.AsArray().Count,
            ["process_seconds"] = Math.Round(repeat.Seconds, 3),
        });
        Directory.Delete(study, recursive: true);

        string line = string.Join("; ", details.Select(run => string.Create(CultureInfo.InvariantCulture, $"{(string?)run!["name"]} {100 * (double)run["accuracy"]!:F2} %")));
        return new CheckResult("train", Status.Passed, line, details);
    }

    private static string[] Chosen(Workplace place, string[] options) =>
        place.Quick ? [.. options.Chunk(2).Where(option => !Once.Contains(option[0])).SelectMany(option => option), .. Once] : options;

    /// <summary>One run: accuracy after its last epoch, and seconds; those to 99 % are null where it was not reached.</summary>
    private static JsonObject Summary(ToolResult result, string history)
    {
        double[][] epochs = [.. File.ReadLines(history).Skip(1).Select(row => row.Split(',').Select(field => double.Parse(field, CultureInfo.InvariantCulture)).ToArray())];
        const int Accuracy = 4, Seconds = 6; // columns of history.csv
        int reached = Array.FindIndex(epochs, epoch => epoch[Accuracy] >= 0.99);
        TimedLine shown = result.Error.FirstOrDefault(line => ValidationAccuracy().Match(line.Text) is { Success: true } match
            && double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) >= 99);
        return new JsonObject
        {
            ["accuracy"] = epochs[^1][Accuracy],
            ["training_seconds"] = Math.Round(epochs.Sum(epoch => epoch[Seconds]), 3),
            ["training_seconds_to_99"] = reached < 0 ? null : Math.Round(epochs.Take(reached + 1).Sum(epoch => epoch[Seconds]), 3),
            ["process_seconds_to_99"] = shown.Text is null ? null : Math.Round(shown.Seconds, 3),
            ["process_seconds"] = Math.Round(result.Seconds, 3),
            ["start_up_seconds"] = JsonNode.Parse(result.Text)!["start_up_seconds"]!.DeepClone(),
        };
    }

    private static double? Median(List<JsonNode> runs, string field)
    {
        double[] values = [.. runs.Select(run => (double?)run[field]).OfType<double>().Order()];
        return values.Length == 0 ? null : values[values.Length / 2];
    }

    /// <summary>A short training under NVIDIA's checkers of memory accesses and races.</summary>
    private static CheckResult Sanitizer(Workplace place)
    {
        if (Workplace.Find("compute-sanitizer") is not { } sanitizer)
        {
            return new CheckResult("sanitizer", Status.Skipped, "compute-sanitizer is not on this machine");
        }

        JsonArray details = [];
        foreach (string tool in new[] { "memcheck", "racecheck" })
        {
            foreach ((string model, string precision, string convolutions) in new[] { ("improved", "bf16", "fused"), ("simple", "tf32", "cudnn"), ("improved", "tf32", "cudnn") })
            {
                string run = Path.Combine(place.Output, $"run-{tool}-{model}");
                string[] train =
                [
                    "train", "--device", "cuda", "--data", SmallData(place), "--model", model, "--precision", precision, "--epochs", "1", "--batch-size", "48",
                    "--augment", "standard", "--out", run,
                ];
                ToolResult result = place.Run(
                    $"{tool}-{model}-{convolutions}", 90, sanitizer, ["--tool", tool, "--target-processes", "all", "--error-exitcode", "9", Workplace.Digits, .. train],
                    (Benchmark.Convolutions, convolutions));
                details.Add(new JsonObject
                {
                    ["tool"] = tool,
                    ["model"] = model,
                    ["convolutions"] = convolutions,
                    ["clean"] = result.ExitCode == 0,
                    ["says"] = result.TimedOut ? "out of time" : result.LastWord,
                });
                if (Directory.Exists(run))
                {
                    Directory.Delete(run, recursive: true);
                }
            }
        }

        int bad = details.Count(entry => !(bool)entry!["clean"]!);
        return new CheckResult("sanitizer", bad == 0 ? Status.Passed : Status.Failed, $"{details.Count - bad} of {details.Count} clean", details);
    }

    private static string SmallData(Workplace place, int count = 180)
    {
        string path = Path.Combine(place.Output, "small.csv");
        using StreamWriter writer = new(path);
        KaggleCsv.Write(writer, GeneratedDigits.Create(count));
        return path;
    }

    private static IEnumerable<string> PythonFolders(string below)
    {
        string lib = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Benchmark.Python()) ?? "/", "..", "lib"));
        return Directory.Exists(lib) ? Directory.GetDirectories(lib, "python3*").Select(python => Path.Combine(python, "site-packages", below)) : [];
    }

    [GeneratedRegex(@"(\d+) bytes spill stores")]
    private static partial Regex SpillCount();

    [GeneratedRegex(@"Total: .*Time: [\d.]+s")]
    private static partial Regex TestSummary();

    [GeneratedRegex(@"validation [\d.]+ ([\d.]+) %")]
    private static partial Regex ValidationAccuracy();

    [GeneratedRegex(@"\x1b\[[\d;]*m")]
    private static partial Regex Escapes();
}
