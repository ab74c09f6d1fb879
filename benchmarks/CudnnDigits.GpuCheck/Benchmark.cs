using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using CudnnDigits.Model;

namespace CudnnDigits.GpuCheck;

/// <summary>
/// Images per second beside PyTorch's best mode at the same precision or better, on one machine; where a run has no time for all, the next
/// goes on.
/// </summary>
internal static class Benchmark
{
    /// <summary>What is left for the check after this one.</summary>
    private static readonly TimeSpan ForKernels = TimeSpan.FromSeconds(55);

    /// <summary>
    /// Our ways to run a step: captured, as it is taken where nothing is said; call by call; and two other values of --kernels, which are
    /// slower.
    /// </summary>
    private const string Graph = "graph", Eager = "eager", Deterministic = "deterministic", Hybrid = "hybrid", Fused = "fused";

    /// <summary>What tells most, measured before PyTorch; and the rest after it, as long as there is time.</summary>
    private static readonly (string Precision, string Mode)[] Before = [("bf16", Graph), ("tf32", Graph)],
        After = [("fp32", Graph), ("bf16", Eager), ("tf32", Eager), ("fp32", Eager), ("bf16", Fused), ("bf16", Hybrid),
            ("fp32", Deterministic)];

    /// <summary>The better first: PyTorch's peer of each is its fastest mode in it or in one before it.</summary>
    private static readonly string[] Precisions = ["fp32", "tf32", "bf16"];

    /// <summary>
    /// PyTorch's ways. Its own capture of a compiled step (mode="reduce-overhead") is left out: to compile once more takes minutes, for
    /// what "compiled+graph" does in one launch.
    /// </summary>
    private const string PeerModes = "graph,eager,compiled+graph";

    /// <summary>How many steps PyTorch has for a network and size of batch: three precisions, but two of them compiled.</summary>
    private const int PeerSteps = 8;

    private static readonly string[] Compiled = ["bf16", "tf32"];

    /// <summary>How many compile beside each other, and for how long one more begins.</summary>
    private const int Compilers = 6;

    private static readonly TimeSpan ForCompilers = TimeSpan.FromSeconds(120);

    /// <summary>
    /// Has PyTorch's compiler do its work, which takes most of a minute each time, before the benchmark: it finds it in the compiler's
    /// cache.
    /// </summary>
    public static CheckResult Compile(Workplace place)
    {
        if (place.Torch is not { } python)
        {
            return new CheckResult("compile", Status.Skipped, "there is no PyTorch with CUDA on this machine");
        }

        (string Model, string Precision, int Batch)[] wanted =
            [.. from model in Models(place) from precision in Compiled from batch in Batches(place)
                select (model, precision, batch)]; // what tells most first
        ToolResult?[] results = new ToolResult?[wanted.Length];
        Stopwatch clock = Stopwatch.StartNew();
        Parallel.For(0, Compilers, compiler =>
        {
            for (int i = compiler; i < wanted.Length && clock.Elapsed < ForCompilers; i += Compilers)
            {
                (string model, string precision, int batch) = wanted[i];
                results[i] = place.Run(
                    $"compile-{model}-{batch}-{precision}", 120, python,
                    [.. Peer, "--models", model, "--modes", "compiled+graph", "--precisions", precision, "--batch-sizes", $"{batch}",
                        "--images", "1"],
                    ("TORCHINDUCTOR_COMPILE_THREADS", "2"));
            }
        });
        return results.OfType<ToolResult>().FirstOrDefault(result => result.ExitCode != 0) is { } failed
            ? new CheckResult("compile", Status.Skipped,
                $"PyTorch does not compile here: {(failed.TimedOut ? "out of time" : failed.LastWord)}")
            : new CheckResult("compile", Status.Passed,
                $"{results.Count(result => result is not null)} of {wanted.Length} steps; what is left is compiled when it is measured");
    }

    public static CheckResult Run(Workplace place)
    {
        int[] batches = Batches(place);
        List<JsonObject> ours = [.. Measured(place, "ours").Where(entry => entry["error"] is null)], peers = Measured(place, "pytorch");
        double? toTarget = (double?)place.Measured?["pytorch_seconds_to_99_percent"];
        foreach (string model in Models(place))
        {
            Ours(place, model, batches, Before, ours);
            Peers(place, model, batches, peers);
            Ours(place, model, batches, After, ours);
            toTarget ??= PeerSecondsToTarget(place);
        }

        JsonArray table = [];
        foreach (string model in Models(place))
        {
            foreach (int batch in batches)
            {
                foreach (string precision in Precisions)
                {
                    table.Add(Row(model, batch, precision, ours, peers));
                }
            }
        }

        int left = Models(place)
            .Sum(model => batches.Length * (Modes(place, model, [.. Before, .. After]).Count()
            + (place.Torch is null ? 0 : PeerSteps))) - ours.Count - peers.Count;
        double[] ratios = [.. table.Select(row => (double?)row!["training_ratio"]).OfType<double>()];
        string summary = ours.Exists(entry => entry["error"] is not null)
            ? (string)ours.First(entry => entry["error"] is not null)["error"]!
            : ratios.Length == 0 ? $"{ours.Count} configurations measured, none beside PyTorch"
            : string.Create(CultureInfo.InvariantCulture,
                $"training at {ratios.Min():F2} to {ratios.Max():F2} times PyTorch's best mode of the same precision or better");
        summary += left > 0 ? $"; no time for {left} of {ours.Count + peers.Count + left} configurations" : "";
        return new CheckResult(
            "benchmark", ours.Exists(entry => entry["error"] is not null) ? Status.Failed : left > 0 ? Status.Unfinished : Status.Passed,
            summary,
            new JsonObject
            {
                ["table"] = table,
                ["ours"] = new JsonArray([.. ours]),
                ["pytorch"] = new JsonArray([.. peers]),
                ["pytorch_seconds_to_99_percent"] = toTarget
            });
    }

    private static string[] Models(Workplace place) => place.Quick ? [DigitNetworks.Default.Name] : DigitNetworks.Names;

    private static int[] Batches(Workplace place) => place.Quick ? [1] : [64, 256, 1024, 4096];

    /// <summary>What python3 is given to measure PyTorch.</summary>
    public static string[] Peer => ["-u", Path.Combine(Workplace.Bundle, "peers", "pytorch_train.py")];

    /// <summary>PyTorch's seconds from process start to 99 % of the validation digits; null where it cannot be measured.</summary>
    private static double? PeerSecondsToTarget(Workplace place)
    {
        if (place.Data is null || place.Torch is not { } python || place.Left < TimeSpan.FromSeconds(60))
        {
            return null;
        }

        ToolResult result = place.Run("pytorch-until", 60, python, [.. Peer, "--data", place.Data, "--until", "0.99"]);
        return Entries(result).Where(epoch => (double)epoch["accuracy"]! >= 0.99)
            .Select(epoch => (double?)epoch["seconds_since_process_start"]!.GetValue<double>()).FirstOrDefault();
    }

    private static JsonObject Row(string model, int batch, string precision, List<JsonObject> ours, List<JsonObject> peers)
    {
        JsonObject row = new() { ["model"] = model, ["batch_size"] = batch, ["precision"] = precision };
        string[] orBetter = Precisions[..(Array.IndexOf(Precisions, precision) + 1)];
        foreach (string what in new[] { "training", "inference" })
        {
            string field = what == "training" ? "train_images_per_second" : "infer_images_per_second";
            double? graph = Of(ours, field, Graph);
            JsonObject? fastest = peers.Where(entry => OfSize(entry) && orBetter.Contains((string?)entry["precision"]))
                .MaxBy(entry => (double?)entry[field] ?? 0);
            double? peer = (double?)fastest?[field];
            row[what] = graph;
            foreach (string other in new[] { Eager, Deterministic, Fused, Hybrid })
            {
                row[$"{what}_{other}"] = Of(ours, field, other);
            }

            foreach (string mode in PeerModes.Split(','))
            {
                row[$"{what}_pytorch_{mode}"] = Of(peers, field, mode);
            }

            row[$"{what}_pytorch_best_mode"] = peer is null ? null : $"{fastest!["precision"]} {fastest["mode"]}";
            row[$"{what}_ratio"] = graph / peer;
        }

        row["step_mebibytes"] = Of(ours, "device_memory_bytes", Graph) is { } bytes ? Math.Round(bytes / (1 << 20)) : null;

        return row;

        bool OfSize(JsonObject entry) => (string?)entry["model"] == model && (int?)entry["batch_size"] == batch;

        double? Of(List<JsonObject> entries, string field, string mode) =>
            (double?)entries.Find(entry => Is(entry, model, batch, precision, mode))?[field];
    }

    /// <summary>Those that there are for the network and the GPU, and are not what is taken anyway.</summary>
    private static IEnumerable<(string Precision, string Mode)> Modes(Workplace place, string model,
        (string Precision, string Mode)[] plan) =>
        plan.Where(entry => entry.Mode switch
        {
            Fused => model == DigitNetworks.Default.Name && place.HasWarpgroups,
            Hybrid => model == DigitNetworks.Default.Name,
            _ => true
        });

    private static void Ours(Workplace place, string model, int[] batches, (string Precision, string Mode)[] plan,
        List<JsonObject> measured)
    {
        foreach ((string precision, string mode) in Modes(place, model, plan))
        {
            foreach (int batch in batches.Where(batch => !measured.Exists(entry => Is(entry, model, batch, precision, mode)))
                .TakeWhile(_ => place.Left > ForKernels))
            {
                int images = precision == "fp32" || mode == Eager ? 16384 : 131072;
                string[] options = mode switch
                {
                    Eager => ["--no-cuda-graph"],
                    Deterministic => ["--deterministic"],
                    Fused or Hybrid => ["--kernels", mode],
                    _ => []
                };
                string[] arguments =
                [
                    "bench", "--device", "cuda", "--model", model, "--batch-size", $"{batch}", "--precision", precision,
                    "--steps", $"{(place.Quick ? 1 : Math.Max(8, images / batch))}", "--augment", "standard", "--json", .. options,
                ];
                ToolResult result = place.Run($"bench-{model}-{batch}-{precision}-{mode}", 60, Workplace.Digits, arguments);
                JsonObject entry = result.ExitCode == 0 ? JsonNode.Parse(result.Text)!.AsObject()
                    : new JsonObject { ["error"] = $"{model}, batch {batch}, {precision}: {result.LastWord}" };
                entry["mode"] = mode;
                entry["model"] = model;
                entry["batch_size"] = batch;
                entry["precision"] = precision;
                measured.Add(entry);
            }
        }
    }

    /// <summary>What PyTorch has not been measured at yet, as long as there is time: one JSON line per batch, precision and mode.</summary>
    private static void Peers(Workplace place, string model, int[] batches, List<JsonObject> measured)
    {
        double seconds = 0.7 * (place.Left - ForKernels).TotalSeconds - 10; // a configuration that has begun is finished
        if (place.Torch is not { } python || seconds < 10
            || measured.Count(entry => (string?)entry["model"] == model) == batches.Length * PeerSteps)
        {
            return;
        }

        string done = Path.Combine(place.Output, "logs", "pytorch-done.jsonl");
        File.WriteAllLines(done, measured.Select(entry => entry.ToJsonString()));
        ToolResult result = place.Run(
            $"pytorch-{model}", seconds + 10, python,
            [
                .. Peer, "--models", model, "--modes", PeerModes, "--batch-sizes", string.Join(',', batches), "--images", "32768",
                "--seconds", seconds.ToString("F0", CultureInfo.InvariantCulture), "--done", done,
            ]);
        measured.AddRange(Entries(result));
    }

    private static List<JsonObject> Measured(Workplace place, string who) =>
        [.. place.Measured?[who]?.AsArray().Select(entry => entry!.DeepClone().AsObject()) ?? []];

    private static bool Is(JsonObject entry, string model, int batch, string precision, string mode) =>
        (string?)entry["model"] == model && (int?)entry["batch_size"] == batch && (string?)entry["precision"] == precision
            && (string?)entry["mode"] == mode;

    /// <summary>Lines of JSON; one that was cut off when time ran out is left out.</summary>
    private static IEnumerable<JsonObject> Entries(ToolResult result)
    {
        foreach (TimedLine line in result.Output.Where(line => line.Text.StartsWith('{')))
        {
            JsonObject? entry = null;
            try
            {
                entry = JsonNode.Parse(line.Text)!.AsObject();
            }
            catch (JsonException)
            {
            }

            if (entry is not null)
            {
                yield return entry;
            }
        }
    }
}
