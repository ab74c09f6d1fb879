using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.GpuCheck;

internal enum Status
{
    Passed,
    Failed,
    Skipped,

    /// <summary>For want of time: the same command goes on with it.</summary>
    Unfinished,
}

/// <summary>What a check found.</summary>
/// <param name="Name">Which check.</param>
/// <param name="Status">How it went.</param>
/// <param name="Summary">One line.</param>
/// <param name="Details">What it measured, as it stands in the report.</param>
internal sealed record CheckResult(string Name, Status Status, string Summary, JsonNode? Details = null)
{
    /// <summary>When it ended.</summary>
    public string Date { get; init; } = DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) + " UTC";
}

/// <summary>The checks: those that measure no time run beside each other, then the others alone, what tells most first.</summary>
internal static partial class Checks
{
    /// <summary>What the machine is; nothing runs beside it, so that kernels are compiled once and in the driver's cache.</summary>
    public const string First = "machine";

    /// <summary>Each waits for something else most of the time: a GPU and a dozen processors take them all at once.</summary>
    public static readonly string[] Untimed = ["ptx", "tests", "embedding", "train", "sanitizer", "compile"];

    public static readonly string[] Alone = ["memory", "soon", "benchmark", "kernels"];

    public static readonly string[] Names = [First, .. Untimed, .. Alone];

    private static readonly string[] Precisions = ["tf32", "bf16"];
    private static readonly string[] SameBits =
        ["default_stream", "other_stream", "float_pixels", "captured"]; // what pytorch_embed.py compares

    /// <summary>What a quick check trains instead.</summary>
    private static readonly string[] Once = ["--epochs", "1", "--batch-size", "20", "--seeds", "2"];

    /// <summary>Few passes in large batches: docs/performance.md says what led there.</summary>
    private static readonly string[] Soon = ["--epochs", "4", "--batch-size", "384", "--lr", "4e-3", "--dropout", "0.1"];

    /// <summary>Thirty epochs from ten seeds: docs/performance.md says what that reaches on the CPU.</summary>
    private static readonly string[] Long = ["--epochs", "30", "--weight-decay", "0.1", "--seeds", "10", "--precision", "bf16"];

    private const string MemoryTests = "alone=memory";

    private static readonly string[] Sanitizers = ["memcheck", "racecheck", "synccheck"];

    private static readonly string[] Targets = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"];

    public static CheckResult Run(string name, Workplace place)
    {
        if (place.Left < TimeSpan.FromSeconds(5))
        {
            return new CheckResult(name, Status.Unfinished, "no time left", name == "benchmark" ? place.Measured?.DeepClone() : null);
        }

        try
        {
            return name switch
            {
                "machine" => Machine(place),
                "ptx" => Ptx(place),
                "tests" => Tests(place),
                "embedding" => Embedding(place),
                "memory" => Memory(place),
                "train" => Train(place),
                "sanitizer" => Sanitizer(place),
                "compile" => Peers.Compile(place),
                "soon" => ToTarget(place),
                "benchmark" => Benchmark.Run(place),
                _ => Kernels.Run(place),
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
            ToolResult driver = place.Run("nvidia-smi", 30, smi,
                ["--query-gpu=name,driver_version,memory.total,uuid", "--format=csv,noheader"]);
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
            foreach (string target in place.Quick ? [oldest] : Targets.SkipWhile(target => target != oldest))
            {
                ToolResult result = place.Run($"ptxas-{Path.GetFileNameWithoutExtension(file)}-{target}", 60, ptxas,
                    ["-v", $"-arch={target}", file, "-o", "/dev/null"]);
                int spills = result.Error.Concat(result.Output).SelectMany(line => SpillCount().Matches(line.Text))
                    .Sum(match => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));
                details.Add(new JsonObject
                {
                    ["file"] = Path.GetFileName(file),
                    ["target"] = target,
                    ["assembles"] = result.ExitCode == 0,
                    ["spill_bytes"] = spills
                });
            }
        }

        if (Workplace.Find("nvcc") is { } nvcc)
        {
            foreach (string file in Directory.EnumerateFiles(Path.Combine(Workplace.Bundle, "ptx"), "*.ptx"))
            {
                string name = Path.GetFileNameWithoutExtension(file), source = Path.Combine(Workplace.Bundle, "kernels", $"{name}.cu");
                ToolResult result = place.Run($"nvcc-{name}", 90, nvcc,
                    ["-std=c++17", $"-arch={OwnTarget(file)}", "-cubin", source, "-o", Path.Combine(place.Output, $"{name}.cubin")]);
                details.Add(new JsonObject { ["file"] = $"{name}.cu", ["target"] = "nvcc", ["assembles"] = result.ExitCode == 0 });
            }
        }

        int failed = details.Count(entry => !(bool)entry!["assembles"]!);
        return new CheckResult("ptx", failed == 0 ? Status.Passed : Status.Failed,
            $"{details.Count - failed} of {details.Count} assemble", details);
    }

    /// <summary>The oldest GPU that a PTX is for.</summary>
    private static string OwnTarget(string file) =>
        File.ReadLines(file).First(line => line.StartsWith(".target ", StringComparison.Ordinal))[".target ".Length..].Trim();

    /// <summary>The CUDA tests, a GPU required; those that watch the device's memory are a check of their own.</summary>
    private static CheckResult Tests(Workplace place) =>
        RunTests(place, "tests", place.Quick ? ["-class", "CudnnDigits.Cuda.Tests.OperationTests"] : ["-trait-", MemoryTests]);

    /// <summary>Tests that everything is given back: they look at the whole device's memory, so nothing else may run.</summary>
    private static CheckResult Memory(Workplace place) =>
        RunTests(place, "memory",
        ["-trait", MemoryTests, .. place.Quick ? ["-class", "CudnnDigits.Cuda.Tests.ClassifierTests"] : Array.Empty<string>()]);

    private static CheckResult RunTests(Workplace place, string name, string[] arguments)
    {
        string references = Path.Combine(Workplace.Bundle, "references");
        (string, string)[] environment = [("CUDNN_DIGITS_REQUIRE_GPU", "1"), ("CUDNN_DIGITS_SHARED", references)];
        ToolResult result = place.Run(name, 300, Path.Combine(Workplace.App, "CudnnDigits.Cuda.Tests"), arguments, environment);
        Match summary = TestSummary().Match(result.Text);
        string[] lines = [.. result.Output.Select(line => Escapes().Replace(line.Text, "").Trim())];
        string[] failures = [.. lines.Zip(lines.Skip(1)).Where(pair => pair.First.Contains("[FAIL]", StringComparison.Ordinal))
            .Select(pair => $"{pair.First} {pair.Second}")]; // and why
        JsonObject details = new()
        {
            ["summary"] = summary.Value,
            ["failures"] = new JsonArray([.. failures.Select(line => JsonValue.Create(line))])
        };
        return result.ExitCode == 0
            ? new CheckResult(name, Status.Passed, summary.Value, details)
            : new CheckResult(name, Status.Failed, result.TimedOut ? "out of time"
                : $"{summary.Value}: {string.Join("; ", failures.Take(3))}", details);
    }

    /// <summary>The C interface inside a PyTorch program: its tensors, its streams, its graph, its logits.</summary>
    private static CheckResult Embedding(Workplace place)
    {
        string script = Path.Combine(Workplace.Bundle, "peers", "pytorch_embed.py"), run = Path.Combine(place.Output, "run-embedding");
        if (place.Torch is not { } python)
        {
            return new CheckResult("embedding", Status.Skipped, "there is no PyTorch with CUDA on this machine");
        }

        ToolResult train = place.Run("train-embedding", 120, Workplace.Digits,
            ["train", "--device", "cuda", "--data", SmallData(place, "embedding.csv", 180), "--model", "simple", "--epochs", "1", "--out",
            run, "--quiet"]);
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
            ? new CheckResult("embedding", Status.Passed,
                string.Create(CultureInfo.InvariantCulture, $"the same bits from tensors; logits {difference:e1} from PyTorch's"), details)
            : new CheckResult("embedding", Status.Failed,
                string.Create(CultureInfo.InvariantCulture,
                $"other bits: {string.Join(", ", wrong)}; logits {difference:e1} from PyTorch's"), details);
    }

    /// <summary>
    /// Every network on the given digits from several seeds, each of these in one command: accuracy after the last epoch.
    /// </summary>
    private static CheckResult Train(Workplace place)
    {
        string[] data = Data(place, "train.csv");
        (string Name, string[] Options)[] studies =
        [
            .. DigitNetworks.Names.SelectMany(model => Precisions.Select(precision =>
                ($"{model}, {precision}", new[] { "--model", model, "--precision", precision }))),
            ($"{DigitNetworks.Default.Name}, bf16, for long", Long),
        ];
        JsonObject?[] found = new JsonObject?[studies.Length];
        string?[] failed = new string?[studies.Length];
        Parallel.For(0, studies.Length, i =>
        {
            string folder = Path.Combine(place.Output, $"repeat-{i}");
            string[] options = place.Quick
                ? [.. studies[i].Options.Chunk(2).Where(option => !Once.Contains(option[0])).SelectMany(option => option), .. Once]
                : studies[i].Options;
            ToolResult result = place.Run(
                $"repeat-{i}", 200, Workplace.Digits,
                ["repeat", "--device", "cuda", "--out", folder, "--json", "--quiet", .. data, .. options]);
            if (result.ExitCode != 0)
            {
                failed[i] = $"{studies[i].Name}: {(result.TimedOut ? "out of time" : result.LastWord)}";
                return;
            }

            JsonNode repeated = JsonNode.Parse(result.Text)!;
            found[i] = new JsonObject
            {
                ["name"] = studies[i].Name,
                ["epochs"] = (int)repeated["epochs"]!,
                ["accuracy"] = Math.Round((double)repeated["accuracy"]!["mean"]!, 5),
                ["deviation"] = Math.Round((double)repeated["accuracy"]!["deviation"]!, 5),
                ["seeds"] = repeated["seeds"]!.AsArray().Count,
            };
            Directory.Delete(folder, recursive: true);
        });

        JsonArray details = [.. found.OfType<JsonObject>()];
        string? trouble = failed.FirstOrDefault(text => text is not null);
        string line = string.Join("; ",
            details.Select(run =>
            string.Create(CultureInfo.InvariantCulture, $"{(string?)run!["name"]} {100 * (double)run["accuracy"]!:F2} %")));
        return new CheckResult("train", trouble is null ? Status.Passed : Status.Failed, trouble ?? line, details);
    }

    /// <summary>
    /// The shortest way to 99 % of the validation digits: seconds of training alone and from process start, and what these went into; the
    /// median of several seeds.
    /// </summary>
    private static CheckResult ToTarget(Workplace place)
    {
        string[] data = Data(place, "soon.csv"), options = place.Quick ? ["--epochs", "1", "--batch-size", "20"] : Soon;
        List<JsonObject> runs = [];
        int seeds = place.Quick ? 1 : 5;
        for (int i = 0; i <= seeds; i++)
        {
            (int seed, string kernels) = i < seeds ? (i, "auto") : (0, "layered"); // the last for what the libraries take
            string run = Path.Combine(place.Output, "run-soon");
            ToolResult result = place.Run($"soon-{i}", 60, Workplace.Digits,
                ["train", "--device", "cuda", "--out", run, "--json", "--precision", "bf16", "--kernels", kernels, "--seed", $"{seed}",
                    .. data, .. options]);
            if (result.ExitCode != 0)
            {
                return new CheckResult("soon", Status.Failed, result.LastWord);
            }

            runs.Add(Summary(result, Path.Combine(run, "history.csv")));
            Directory.Delete(run, recursive: true);
        }

        JsonObject libraries = runs[^1];
        runs.Remove(libraries);
        JsonObject median = runs.OrderBy(run => (double?)run["process_seconds_to_99"] ?? double.MaxValue).ElementAt(runs.Count / 2);
        string summary = $"{runs.Count(run => run["process_seconds_to_99"] is not null)} of {runs.Count} seeds reached 99 %"
            + (median["process_seconds_to_99"] is { } seconds
                ? $", the median after {median["training_seconds_to_99"]} s of training, {seconds} s from process start" : "");
        return new CheckResult("soon", Status.Passed, summary,
            new JsonObject { ["median"] = median.DeepClone(), ["libraries"] = libraries, ["runs"] = new JsonArray([.. runs]) });
    }

    /// <summary>What to train on: the digits that were given, else the built-in ones; a few of these for a quick check.</summary>
    private static string[] Data(Workplace place, string name) => (place.Quick ? SmallData(place, name, 40) : place.Data) is { } path
        ? ["--data", path] : [];

    /// <summary>One run: accuracy after its last epoch, and seconds; those to 99 % are null where it was not reached.</summary>
    private static JsonObject Summary(ToolResult result, string history)
    {
        double[][] epochs = [.. File.ReadLines(history).Skip(1)
            .Select(row => row.Split(',').Select(field => double.Parse(field, CultureInfo.InvariantCulture)).ToArray())];
        const int Accuracy = 4, Seconds = 6; // columns of history.csv
        int reached = Array.FindIndex(epochs, epoch => epoch[Accuracy] >= 0.99);
        TimedLine shown = result.Error.FirstOrDefault(line =>
            line.Text.StartsWith($"epoch {reached + 1}/", StringComparison.Ordinal)); // none is the 0th
        return new JsonObject
        {
            ["accuracy"] = epochs[^1][Accuracy],
            ["training_seconds_to_99"] = reached < 0 ? null : Math.Round(epochs.Take(reached + 1).Sum(epoch => epoch[Seconds]), 3),
            ["process_seconds_to_99"] = shown.Text is null ? null : Math.Round(shown.Seconds, 3),
            ["process_seconds"] = Math.Round(result.Seconds, 3),
            ["start_up_seconds"] = JsonNode.Parse(result.Text)!["start_up_seconds"]!.DeepClone(),
        };
    }

    /// <summary>A short training under NVIDIA's checkers of memory accesses and races.</summary>
    private static CheckResult Sanitizer(Workplace place)
    {
        if (Workplace.Find("compute-sanitizer") is not { } sanitizer)
        {
            return new CheckResult("sanitizer", Status.Skipped, "compute-sanitizer is not on this machine");
        }

        string[] data = ["--data", SmallData(place, "sanitizer.csv", 100)];
        (string Tool, string Model, string Precision, string Kernels)[] runs =
        [
            .. from tool in Sanitizers from model in DigitNetworks.Names from precision in Precisions
               select (tool, model, precision, "fused"),
            .. Sanitizers.Select(tool => (tool, DigitNetworks.Default.Name, "fp32", "fused")),
            .. Sanitizers.Select(tool => (tool, DigitNetworks.Default.Name, "tf32", "layered")),
        ];
        JsonObject[] found = new JsonObject[runs.Length];
        Parallel.For(0, runs.Length, i =>
        {
            (string tool, string model, string precision, string kernels) = runs[i];
            string run = Path.Combine(place.Output, $"run-{tool}-{model}-{precision}-{kernels}");
            string[] train = ["train", "--device", "cuda", .. data, "--model", model, "--precision", precision, "--epochs", "1",
                "--batch-size", "24", "--augment", "standard", "--kernels", kernels, "--out", run];
            ToolResult result = place.Run(
                $"{tool}-{model}-{precision}-{kernels}", 150, sanitizer,
                ["--tool", tool, "--target-processes", "all", "--error-exitcode", "9", Workplace.Digits, .. train]);
            found[i] = new JsonObject
            {
                ["tool"] = tool,
                ["step"] = $"{model}, {precision}, {kernels}",
                ["clean"] = result.ExitCode == 0,
                ["says"] = result.TimedOut ? "out of time" : result.LastWord,
            };
            if (Directory.Exists(run))
            {
                Directory.Delete(run, recursive: true);
            }
        });

        JsonArray details = [.. found];
        int bad = details.Count(entry => !(bool)entry!["clean"]!);
        return new CheckResult("sanitizer", bad == 0 ? Status.Passed : Status.Failed, $"{details.Count - bad} of {details.Count} clean",
            details);
    }

    /// <summary>A file of built-in digits; a name for each check, because they run beside each other.</summary>
    public static string SmallData(Workplace place, string name, int count)
    {
        Directory.CreateDirectory(place.Output);
        string path = Path.Combine(place.Output, name);
        using StreamWriter writer = new(path);
        DigitCsv.Write(writer, GeneratedDigits.Create(count));
        return path;
    }

    private static IEnumerable<string> PythonFolders(string below)
    {
        string lib = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Workplace.Find("python3")) ?? "/", "..", "lib"));
        return Directory.Exists(lib)
            ? Directory.GetDirectories(lib, "python3*").Select(python => Path.Combine(python, "site-packages", below)) : [];
    }

    [GeneratedRegex(@"(\d+) bytes spill stores")]
    private static partial Regex SpillCount();

    [GeneratedRegex(@"Total: .*Time: [\d.]+s")]
    private static partial Regex TestSummary();

    [GeneratedRegex(@"\x1b\[[\d;]*m")]
    private static partial Regex Escapes();
}
