using System.Globalization;
using System.Text.Json.Nodes;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;

namespace CudnnDigits.GpuCheck;

/// <summary>
/// Images per second beside the best of all peers at the same precision or better, on one machine; where a run has no time for all, the
/// next goes on.
/// </summary>
internal static class Benchmark
{
    /// <summary>What is left for the check after this one.</summary>
    private static readonly TimeSpan ForKernels = TimeSpan.FromSeconds(55);

    /// <summary>What is taken where nothing is said; and the same as an RTX 30 would run it, with its code and 99 KiB a block.</summary>
    private const string Auto = "auto", Older = "as_8.6";

    /// <summary>Our ways to run a step, as columns of the report.</summary>
    private static readonly (string Name, string[] Options)[] Ways =
    [
        (Auto, []), (Older, []), ("layered", ["--kernels", "layered"]), ("eager", ["--no-cuda-graph"]),
        ("deterministic", ["--kernels", "layered", "--deterministic"]),
    ];

    /// <summary>What tells most, measured before the peers; and the rest after them, as long as there is time.</summary>
    private static readonly (string Precision, string Way)[] Before =
            [("bf16", Auto), ("bf16", Older), ("tf32", Auto), ("fp32", Auto)],
        After = [("bf16", "layered"), ("tf32", "layered"), ("fp32", "layered"), ("bf16", "eager"), ("fp32", "deterministic")];

    /// <summary>The better first: the peer of each is the fastest in it or in one before it.</summary>
    private static readonly string[] Precisions = ["fp32", "tf32", "bf16"];

    /// <summary>About how many seconds one of ours takes, most of them to start.</summary>
    private const double SecondsEach = 2.5;

    /// <summary>Columns of the report after network, batch and precision, for training or inference.</summary>
    public static string[] Columns(string what) =>
        [what, .. Ways[1..].Select(way => $"{what}_{way.Name}"), .. Peers.Names.Select(peer => $"{what}_{peer}"), $"{what}_best_peer",
            $"{what}_ratio", $"{what}_{Older}_ratio"];

    /// <summary>About how many seconds what is not measured yet takes.</summary>
    public static double Estimate(Workplace place)
    {
        double all = (Plan(place, [.. Before, .. After]).Count() * SecondsEach)
            + (Models(place).Length * Batches(place).Length * Peers.Seconds);
        double done = Measured(place, "ours").Concat(Measured(place, "peers")).Sum(line => (double?)line["seconds"] ?? 0);
        return Math.Max(0, all - done);
    }

    public static CheckResult Run(Workplace place)
    {
        List<JsonObject> ours = [.. Measured(place, "ours").Where(line => line["error"] is null)], peers = Measured(place, "peers");
        double? toTarget = (double?)place.Measured?["pytorch_seconds_to_99_percent"];
        Ours(place, Before, ours);
        int left = Peers.Measure(place, ForKernels, peers);
        toTarget ??= PeerSecondsToTarget(place);
        Ours(place, After, ours);
        left += Plan(place, [.. Before, .. After]).Count() - ours.Count;

        JsonArray table =
        [
            .. from model in Models(place) from batch in Batches(place) from precision in Precisions
               select Row(model, batch, precision, ours, peers),
        ];
        double[] ratios = [.. table.Select(row => (double?)row!["training_ratio"]).OfType<double>()];
        string? failed = ours.Select(line => (string?)line["error"]).FirstOrDefault(error => error is not null);
        string summary = failed ?? (ratios.Length == 0 ? $"{ours.Count} configurations measured, none beside a peer"
            : string.Create(CultureInfo.InvariantCulture,
                $"training at {ratios.Min():F2} to {ratios.Max():F2} times the best peer of the same precision or better"));
        summary += left > 0 ? $"; no time for {left} configurations or more" : "";
        return new CheckResult(
            "benchmark", failed is not null ? Status.Failed : left > 0 ? Status.Unfinished : Status.Passed, summary,
            new JsonObject
            {
                ["table"] = table,
                ["ours"] = new JsonArray([.. ours]),
                ["peers"] = new JsonArray([.. peers]),
                ["pytorch_seconds_to_99_percent"] = toTarget
            });
    }

    /// <summary>Those with convolutions, the default first.</summary>
    public static string[] Models(Workplace place) => place.Quick ? [DigitNetworks.Default.Name]
        : [.. DigitNetworks.All.Where(network => network.Layers.Any(layer => layer is Conv2dLayer))
            .OrderByDescending(network => network == DigitNetworks.Default).Select(network => network.Name)];

    public static int[] Batches(Workplace place) => place.Quick ? [1] : [64, 1024, 4096];

    /// <summary>PyTorch's seconds from process start to 99 % of the validation digits; null where it cannot be measured.</summary>
    private static double? PeerSecondsToTarget(Workplace place)
    {
        if (place.Data is null || place.Torch is not { } python || place.Left < TimeSpan.FromSeconds(60))
        {
            return null;
        }

        ToolResult result = place.Run("pytorch-until", 60, python, [.. Peers.PyTorch, "--data", place.Data, "--until", "0.99"]);
        return Peers.Lines(result).Where(epoch => (double)epoch["accuracy"]! >= 0.99)
            .Select(epoch => (double?)epoch["seconds_since_process_start"]!.GetValue<double>()).FirstOrDefault();
    }

    private static JsonObject Row(string model, int batch, string precision, List<JsonObject> ours, List<JsonObject> peers)
    {
        JsonObject row = new() { ["model"] = model, ["batch_size"] = batch, ["precision"] = precision };
        string[] orBetter = Precisions[..(Array.IndexOf(Precisions, precision) + 1)];
        JsonObject[] comparable = [.. peers.Where(line => OfSize(line) && orBetter.Contains((string?)line["precision"]))];
        foreach (string what in new[] { "training", "inference" })
        {
            string field = what == "training" ? "train_images_per_second" : "infer_images_per_second";
            foreach ((string name, _) in Ways)
            {
                row[name == Auto ? what : $"{what}_{name}"] = Of(name, field);
            }

            foreach (string peer in Peers.Names)
            {
                row[$"{what}_{peer}"] = comparable.Where(line => (string?)line["peer"] == peer).Max(line => (double?)line[field]);
            }

            JsonObject? best = comparable.Where(line => line[field] is not null).MaxBy(line => (double)line[field]!);
            row[$"{what}_best_peer"] = best is null ? null : $"{best["peer"]} {best["precision"]} {best["mode"]}";
            row[$"{what}_ratio"] = Of(Auto, field) / (double?)best?[field];
            row[$"{what}_{Older}_ratio"] = Of(Older, field) / (double?)best?[field];
        }

        row["step_mebibytes"] = Of(Auto, "device_memory_bytes") is { } bytes ? Math.Round(bytes / (1 << 20)) : null;
        return row;

        bool OfSize(JsonObject line) => (string?)line["model"] == model && (int?)line["batch_size"] == batch;

        double? Of(string way, string field) => (double?)ours.Find(line => Is(line, model, batch, precision, way))?[field];
    }

    /// <summary>Without what is taken anyway.</summary>
    private static IEnumerable<(string Precision, string Way, string Model, int Batch)> Plan(
        Workplace place, (string Precision, string Way)[] plan) =>
        from entry in plan
        from model in Models(place)
        from batch in Batches(place)
        select (entry.Precision, entry.Way, model, batch);

    private static void Ours(Workplace place, (string Precision, string Way)[] plan, List<JsonObject> measured)
    {
        foreach ((string precision, string way, string model, int batch) in Plan(place, plan))
        {
            if (place.Left < ForKernels || measured.Exists(line => Is(line, model, batch, precision, way)))
            {
                continue;
            }

            int images = precision == "fp32" || way == "eager" ? 16384 : 65536;
            ToolResult result = place.Run(
                $"bench-{model}-{batch}-{precision}-{way}", 60, Workplace.Digits,
                [
                    "bench", "--device", "cuda", "--model", model, "--batch-size", $"{batch}", "--precision", precision,
                    "--steps", $"{(place.Quick ? 1 : Math.Max(8, images / batch))}", "--augment", "standard", "--json",
                    .. Ways.First(one => one.Name == way).Options,
                ],
                (CudaGpu.CapabilityVariable, way == Older ? "8.6" : ""));
            JsonObject line = result.ExitCode == 0 ? JsonNode.Parse(result.Text)!.AsObject()
                : new JsonObject { ["error"] = $"{model}, batch {batch}, {precision}, {way}: {result.LastWord}" };
            (line["mode"], line["model"], line["batch_size"], line["precision"]) = (way, model, batch, precision);
            line["seconds"] = Math.Round(result.Seconds, 1);
            measured.Add(line);
        }
    }

    private static List<JsonObject> Measured(Workplace place, string who) =>
        [.. place.Measured?[who]?.AsArray().Select(line => line!.DeepClone().AsObject()) ?? []];

    private static bool Is(JsonObject line, string model, int batch, string precision, string way) =>
        (string?)line["model"] == model && (int?)line["batch_size"] == batch && (string?)line["precision"] == precision
            && (string?)line["mode"] == way;
}
