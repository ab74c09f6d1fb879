using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace CudnnDigits.GpuCheck;

/// <summary>The same networks in other frameworks: programs in benchmarks/peers, whose command line and lines common.py has.</summary>
internal static class Peers
{
    /// <summary>A peer.</summary>
    /// <param name="Name">As it calls itself.</param>
    /// <param name="Script">What python3 runs.</param>
    /// <param name="Modes">Its ways to run a step that are measured.</param>
    /// <param name="Seconds">About how many it takes for a network and size of batch; guessed, where it may not be there.</param>
    /// <param name="Prepare">What it needs first, as more arguments.</param>
    private sealed record Peer(
        string Name, string Script, string Modes, double Seconds, Func<Workplace, string[], string[]>? Prepare = null);

    /// <summary>
    /// The one that most machines lack first: what it leaves of its time is for the others. PyTorch's own capture of a compiled step
    /// (mode="reduce-overhead") is left out: to compile once more takes minutes, for what "compiled+graph" does in one launch; so is its
    /// eager step, whose kernels "graph" launches without their gaps.
    /// </summary>
    private static readonly Peer[] All =
    [
        new("onnx", "onnx_infer.py", "tensorrt,cuda", 1, Export),
        new("jax", "jax_train.py", "scan,scan+graph", 32),
        new("pytorch", "pytorch_train.py", "graph,compiled+graph", 25),
    ];

    private static readonly TimeSpan ForCompilers = TimeSpan.FromSeconds(120);

    /// <summary>What PyTorch compiles takes most of a minute each time: how many beside each other, and in which precisions.</summary>
    private const int Compilers = 6;

    private static readonly string[] Compiled = ["bf16", "tf32"];

    /// <summary>For a peer that died: the one that it dies of is known then.</summary>
    private static readonly string[] OneByOne = ["--compilers", "1"];

    public static IEnumerable<string> Names => All.Select(peer => peer.Name);

    /// <summary>About how many seconds they take for a network and size of batch.</summary>
    public static double Seconds => All.Sum(peer => peer.Seconds);

    /// <summary>What python3 is given to run PyTorch.</summary>
    public static string[] PyTorch => Script(All[^1]);

    /// <summary>Has PyTorch's compiler do its work before the benchmark, which finds it in the compiler's cache.</summary>
    public static CheckResult Compile(Workplace place)
    {
        if (place.Torch is not { } python)
        {
            return new CheckResult("compile", Status.Skipped, "there is no PyTorch with CUDA on this machine");
        }

        (string Model, string Precision, int Batch)[] wanted =
            [.. from model in Benchmark.Models(place) from precision in Compiled from batch in Benchmark.Batches(place)
                select (model, precision, batch)]; // what tells most first
        ToolResult?[] results = new ToolResult?[wanted.Length];
        TimeSpan end = place.Elapsed + ForCompilers;
        Parallel.For(0, Compilers, compiler =>
        {
            for (int i = compiler; i < wanted.Length && place.Elapsed < end; i += Compilers)
            {
                (string model, string precision, int batch) = wanted[i];
                results[i] = place.Run(
                    $"compile-{model}-{batch}-{precision}", 120, python,
                    [.. PyTorch, "--models", model, "--modes", "compiled+graph", "--precisions", precision, "--batch-sizes", $"{batch}",
                        "--images", "1"],
                    ("TORCHINDUCTOR_COMPILE_THREADS", "2"));
            }
        });
        string? failed = results.OfType<ToolResult>().Select(WhyNot).FirstOrDefault(why => why is not null);
        return failed is null
            ? new CheckResult("compile", Status.Passed,
                $"{results.Count(result => result is not null)} of {wanted.Length} steps; what is left is compiled when it is measured")
            : new CheckResult("compile", Status.Skipped, $"PyTorch does not compile here: {failed}");

        string? WhyNot(ToolResult result) => result.TimedOut ? "out of time" : result.ExitCode != 0 ? result.LastWord
            : Lines(result).Select(line => (string?)line["error"]).FirstOrDefault(error => error is not null);
    }

    /// <summary>
    /// Measures what has not been measured yet, as long as there is time: a line for each model, batch, precision and mode. One that fails
    /// is a line that says why, and so is a peer that cannot run here, without a model.
    /// </summary>
    /// <returns>How many there was no time for, as far as is known.</returns>
    public static int Measure(Workplace place, TimeSpan after, List<JsonObject> measured)
    {
        measured.RemoveAll(line => line["model"] is null); // it may run now
        return All.Select((peer, i) =>
            Measure(place, peer, place.Elapsed + ((place.Left - after) / (All.Length - i + 0.5)), measured)).Sum();
    }

    private static int Measure(Workplace place, Peer peer, TimeSpan end, List<JsonObject> measured)
    {
        if (Workplace.Find("python3") is not { } python)
        {
            measured.Add(new JsonObject { ["peer"] = peer.Name, ["skipped"] = "python3 is not on this machine" });
            return 0;
        }

        string done = Path.Combine(place.Output, "logs", "peers-done.jsonl");
        string[] models = Benchmark.Models(place), more = peer.Prepare?.Invoke(place, models) ?? [];
        for (bool again = false; ; again = true)
        {
            double seconds = (end - place.Elapsed).TotalSeconds;
            if (seconds < 10)
            {
                return 1;
            }

            File.WriteAllLines(done,
                measured.Where(line => (string?)line["peer"] == peer.Name).Select(line => line.ToJsonString()));
            ToolResult result = place.Run(
                $"peer-{peer.Name}{(again ? "-again" : "")}", seconds + 10, python, // a configuration that has begun is finished
                [
                    .. Script(peer), "--models", string.Join(',', models), "--modes", peer.Modes, "--batch-sizes",
                    string.Join(',', Benchmark.Batches(place)), "--images", place.Quick ? "1" : "32768",
                    "--seconds", seconds.ToString("F0", CultureInfo.InvariantCulture), "--done", done, .. more,
                    .. again ? OneByOne : [],
                ]);
            JsonObject[] lines = [.. Lines(result)];
            measured.AddRange(lines.Where(line => line["begins"] is null && line["left"] is null));
            foreach (JsonObject skipped in lines.Where(line => line["skipped"] is not null))
            {
                skipped["peer"] = peer.Name;
            }

            if (result.ExitCode == 0 || result.TimedOut)
            {
                return result.TimedOut ? 1 : lines.Sum(line => (int?)line["left"] ?? 0);
            }

            JsonObject died = lines.LastOrDefault() is { } last && last["begins"] is not null ? last
                : new JsonObject { ["peer"] = peer.Name };
            string word = result.Error.LastOrDefault(line => line.Text.Length > 0).Text ?? "no word";
            died["error"] = $"ended with {result.ExitCode}: {word}";
            if (died.Remove("begins") || again)
            {
                measured.Add(died);
            }

            if (died["model"] is null && again)
            {
                return 0;
            }
        }
    }

    /// <summary>Lines of JSON; one that was cut off when time ran out is left out.</summary>
    public static IEnumerable<JsonObject> Lines(ToolResult result)
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

    private static string[] Script(Peer peer) => ["-u", Path.Combine(Workplace.Bundle, "peers", peer.Script)];

    /// <summary>Writes each network as ONNX: any weights do.</summary>
    private static string[] Export(Workplace place, string[] models)
    {
        string folder = Path.Combine(place.Output, "onnx"), run = Path.Combine(place.Output, "run-onnx");
        Directory.CreateDirectory(folder);
        foreach (string model in models)
        {
            string file = Path.Combine(folder, $"{model}.onnx"), data = Checks.SmallData(place, "onnx.csv", 100);
            if (!File.Exists(file))
            {
                place.Run($"train-{model}-onnx", 60, Workplace.Digits,
                    ["train", "--device", "cpu", "--data", data, "--model", model, "--epochs", "1", "--out", run, "--quiet"]);
                place.Run($"export-{model}", 30, Workplace.Digits, ["export", "--weights", run, "--onnx", file]);
                Directory.Delete(run, recursive: true);
            }
        }

        return ["--folder", folder];
    }
}
