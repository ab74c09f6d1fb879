using System.Globalization;
using System.Text.Json.Nodes;
using CudnnDigits.Model;

namespace CudnnDigits.GpuCheck;

/// <summary>
/// Every kernel of a step as Nsight Compute sees it: its time, the bytes it moved through device memory, and the least time
/// that so many bytes take at the rate of copying; the instructions of its warps and their passes through shared memory; and the
/// machine's ceilings.
/// </summary>
internal static class Kernels
{
    private const string Time = "gpu__time_duration.sum", Bytes = "dram__bytes.sum",
    Busiest = "sm__throughput.avg.pct_of_peak_sustained_elapsed";

    // What the software device counts, too: docs/profiling.md, "Counts without a GPU".
    private const string Instructions = "smsp__inst_executed.sum", SharedPasses = "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum";
    private const int Batch = 1024;

    // How long the average multiprocessor had a block, of the whole time: the rest is launching, and waiting for the last block.
    private const string Active = "sm__cycles_active.avg", Elapsed = "gpc__cycles_elapsed.max",
    Occupancy = "sm__warps_active.avg.pct_of_peak_sustained_active";

    /// <summary>What warps wait for, in cycles for each instruction that they issue.</summary>
    private static readonly string[] Stalls =
        ["long_scoreboard", "short_scoreboard", "barrier", "wait", "math_pipe_throttle", "mio_throttle", "lg_throttle", "membar",
        "no_instruction"];

    public static CheckResult Run(Workplace place)
    {
        JsonNode? ceilings = Ceilings(place);
        if (Workplace.Find("ncu") is not { } ncu)
        {
            return new CheckResult("kernels", Status.Skipped, "ncu is not on this machine",
                new JsonObject { ["ceilings"] = ceilings, ["steps"] = new JsonArray() });
        }

        double? bandwidth = (double?)ceilings?["copy_gigabytes_per_second"];
        int batch = place.Quick ? 16 : Batch;
        JsonArray steps = [];
        foreach ((string model, string precision) in DigitNetworks.Names.SelectMany(model => new[] { (model, "bf16"), (model, "tf32") }))
        {
            string csv = Path.Combine(place.Output, "logs", $"ncu-{model}-{precision}.csv");
            ToolResult result = place.Run(
                $"ncu-{model}-{precision}", 120, ncu,
                [
                    "--clock-control", "none", "--target-processes", "all", "--profile-from-start", "off", "--csv", "--page", "raw",
                    "--print-units", "base", "--log-file", csv,
                    "--metrics", string.Join(',',
                        [Time, Bytes, Busiest, Instructions, SharedPasses, Active, Elapsed, Occupancy, .. Stalls.Select(Stall)]),
                    Workplace.Digits, "bench", "--device", "cuda", "--model", model, "--batch-size", $"{batch}", "--precision", precision,
                    "--augment", "standard",
                    "--steps", "1", "--no-cuda-graph", "--profile",
                ]);
            if (!File.Exists(csv))
            {
                return new CheckResult("kernels", Status.Failed, result.LastWord);
            }

            steps.Add(new JsonObject { ["name"] = $"{model}, batch {batch}, {precision}", ["kernels"] = Table(Read(csv), bandwidth) });
        }

        int seen = steps.Sum(step => step!["kernels"]!.AsArray().Count);
        return new CheckResult(
            "kernels", seen > 0 ? Status.Passed : Status.Failed, $"{seen} kernels measured",
            new JsonObject { ["ceilings"] = ceilings, ["steps"] = steps });
    }

    /// <summary>Rows of ncu's raw page by column names; what precedes the header, and the row of units, are left out.</summary>
    public static IEnumerable<Dictionary<string, string>> Read(string csv)
    {
        string[]? header = null;
        bool units = false;
        foreach (string line in File.ReadLines(csv).Where(line => line.StartsWith('"')))
        {
            string[] fields = Split(line);
            if (header is null)
            {
                header = fields.Contains("Kernel Name") ? fields : null;
            }
            else if (!units)
            {
                units = true;
            }
            else if (fields.Length == header.Length)
            {
                yield return header.Zip(fields).DistinctBy(pair => pair.First).ToDictionary(pair => pair.First, pair => pair.Second);
            }
        }
    }

    /// <summary>Launches of the same kernel together, those that take longest first.</summary>
    public static JsonArray Table(IEnumerable<Dictionary<string, string>> launches, double? gigabytesPerSecond)
    {
        var kernels = launches.GroupBy(row => ShortName(row["Kernel Name"])).Select(group => (
            Name: group.Key, Count: group.Count(), Nanoseconds: group.Sum(row => Number(row, Time)),
            Bytes: group.Sum(row => Number(row, Bytes)), Busiest: group.Average(row => Number(row, Busiest)),
            Instructions: group.Average(row => Number(row, Instructions)), SharedPasses: group.Average(row => Number(row, SharedPasses)),
            Idle: group.Average(row => Number(row, Time) / 1e3 * (1 - Number(row, Active) / Math.Max(1, Number(row, Elapsed)))),
            Occupancy: group.Average(row => Number(row, Occupancy)),
            Stalls: string.Join(", ",
                Stalls.Select(stall => (Name: stall, Cycles: group.Average(row => Number(row, Stall(stall)))))
                .OrderByDescending(stall => stall.Cycles).Take(3)
                .Select(stall => string.Create(CultureInfo.InvariantCulture, $"{stall.Name.Replace('_', ' ')} {stall.Cycles:F1}")))))
                    .ToArray();
        double all = kernels.Sum(kernel => kernel.Nanoseconds);
        return
        [
            .. kernels.OrderByDescending(kernel => kernel.Nanoseconds).Select(kernel => (JsonNode)new JsonObject
            {
                ["kernel"] = kernel.Name,
                ["launches"] = kernel.Count,
                ["microseconds"] = Math.Round(kernel.Nanoseconds / 1e3 / kernel.Count, 1),
                ["share"] = $"{100 * kernel.Nanoseconds / all:F0} %",
                ["megabytes"] = Math.Round(kernel.Bytes / 1e6 / kernel.Count, 1),
                ["floor_microseconds"] = gigabytesPerSecond is { } rate ? Math.Round(kernel.Bytes / rate / 1e3 / kernel.Count, 1) : null,
                ["million_instructions"] = Math.Round(kernel.Instructions / 1e6, 2),
                ["million_shared_passes"] = Math.Round(kernel.SharedPasses / 1e6, 2),
                ["busiest"] = string.Create(CultureInfo.InvariantCulture, $"{kernel.Busiest:F0} %"),
                ["idle_microseconds"] = Math.Round(kernel.Idle, 1),
                ["occupancy"] = string.Create(CultureInfo.InvariantCulture, $"{kernel.Occupancy:F0} %"),
                ["stalls"] = kernel.Stalls,
            }),
        ];
    }

    private static string Stall(string what) => $"smsp__average_warps_issue_stalled_{what}_per_issue_active.ratio";

    /// <summary>Copy bandwidth and matrix rates, by PyTorch; null where it is not there.</summary>
    private static JsonNode? Ceilings(Workplace place)
    {
        if (place.Torch is not { } python)
        {
            return null;
        }

        ToolResult result = place.Run("ceilings", 60, python, [.. Peers.PyTorch, "--ceilings"]);
        return result.Output.LastOrDefault(line => line.Text.StartsWith('{')).Text is { } json ? JsonNode.Parse(json) : null;
    }

    /// <summary>Template arguments and parameters make cuDNN's names unreadable.</summary>
    private static string ShortName(string name)
    {
        string first = name.Split('<', '(')[0].Trim();
        first = first.StartsWith("void ", StringComparison.Ordinal) ? first["void ".Length..] : first;
        return first.Length > 60 ? first[..60] : first;
    }

    private static double Number(Dictionary<string, string> row, string column) =>
        double.TryParse(row.GetValueOrDefault(column, "").Replace(",", "", StringComparison.Ordinal), NumberStyles.Float,
            CultureInfo.InvariantCulture, out double value) ? value : 0;

    private static string[] Split(string line)
    {
        List<string> fields = [];
        for (int at = 0; at < line.Length;)
        {
            int end = line[at] == '"' ? line.IndexOf('"', at + 1) : line.IndexOf(',', at);
            end = end < 0 ? line.Length : end;
            fields.Add(line[at] == '"' ? line[(at + 1)..end] : line[at..end]);
            at = line[at] == '"' ? end + 2 : end + 1;
        }

        return [.. fields];
    }
}
