using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace CudnnDigits.GpuCheck;

/// <summary>The results as JSON for programs and as Markdown for people.</summary>
internal static class Report
{
    private static readonly JsonSerializerOptions Indented =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>
    /// What an earlier run in the same folder left of the checks but the machine's, where it is known to have been about the same: GPU,
    /// driver,
    /// libraries, commit, data and sizes. Null where there is nothing to go on with.
    /// </summary>
    public static CheckResult[]? Read(Workplace place, CheckResult machine)
    {
        string path = Path.Combine(place.Output, "gpu-report.json");
        string? commit = (string?)machine.Details?["commit"];
        if (!File.Exists(path) || commit is null || commit.EndsWith("-dirty", StringComparison.Ordinal))
        {
            return null;
        }

        JsonObject? json;
        try
        {
            json = JsonNode.Parse(File.ReadAllText(path)) as JsonObject;
        }
        catch (JsonException) // stopped while it was written
        {
            return null;
        }

        if (json is null || (string?)json["data"] != place.Data || (bool?)json["quick"] != place.Quick)
        {
            return null;
        }

        CheckResult[] earlier = [.. json["checks"]!.AsArray().Select(check => new CheckResult(
            (string)check!["name"]!, Enum.Parse<Status>((string)check["status"]!, ignoreCase: true), (string)check["summary"]!,
            check["details"]?.DeepClone()) { Date = (string)check["date"]! })];
        return JsonNode.DeepEquals(earlier[0].Details, machine.Details) ? earlier[1..] : null; // it is the first
    }

    public static void Write(Workplace place, IReadOnlyList<CheckResult> results)
    {
        Directory.CreateDirectory(place.Output);
        JsonObject json = new()
        {
            ["command"] = Environment.CommandLine,
            ["data"] = place.Data,
            ["quick"] = place.Quick,
            ["seconds"] = Math.Round(place.Elapsed.TotalSeconds, 1),
            ["checks"] = new JsonArray([.. results.Select(result => new JsonObject
            {
                ["name"] = result.Name,
                ["status"] = result.Status.ToString().ToLowerInvariant(),
                ["date"] = result.Date,
                ["summary"] = result.Summary,
                ["details"] = result.Details?.DeepClone(),
            })]),
        };
        File.WriteAllText(Path.Combine(place.Output, "gpu-report.json"), json.ToJsonString(Indented));

        StringBuilder text = new();
        text.AppendLine("# GPU report").AppendLine();
        text.AppendLine("| check | | | ended at |").AppendLine("|---|---|---|---|");
        foreach (CheckResult result in results)
        {
            text.AppendLine($"| {result.Name} | {result.Status.ToString().ToLowerInvariant()} | {result.Summary.Replace('|', '/')} | "
                + $"{result.Date} |");
        }

        foreach (CheckResult result in results)
        {
            switch (result)
            {
                case { Name: "machine", Details: { } machine }:
                    WriteMachine(text, machine);
                    break;
                case { Name: "train", Details: JsonArray { Count: > 0 } runs }:
                    text.AppendLine().AppendLine("## Training").AppendLine();
                    WriteTable(text, runs, ["name", "epochs", "accuracy", "deviation", "seeds"]);
                    break;
                case { Name: "soon", Details: { } soon }:
                    text.AppendLine().AppendLine("## To 99 %").AppendLine();
                    WriteTable(text, soon["runs"]!.AsArray(),
                        ["accuracy", "training_seconds_to_99", "process_seconds_to_99", "process_seconds"]);
                    text.AppendLine().AppendLine(
                        $"Seconds before the first step, of the median run; what overlaps is counted for each: {Phases(soon["median"]!)}.");
                    text.AppendLine().AppendLine($"The same by cuBLAS and cuDNN (layered): {Phases(soon["libraries"]!)}.");
                    break;
                case { Name: "benchmark", Details: { } benchmark }:
                    foreach (string what in new[] { "training", "inference" })
                    {
                        text.AppendLine().AppendLine($"## Images per second, {what}{(what == "training" ? " with augmentation" : "")}")
                            .AppendLine();
                        WriteTable(text, benchmark["table"]!.AsArray(),
                            ["model", "batch_size", "precision", .. Benchmark.Columns(what), "step_mebibytes"]);
                    }

                    JsonObject[] silent = [.. benchmark["peers"]!.AsArray().Select(line => line!.AsObject())
                        .Where(line => line["error"] is not null || line["skipped"] is not null)];
                    if (silent.Length > 0)
                    {
                        text.AppendLine().AppendLine("## Peers that gave no figure").AppendLine();
                        WriteTable(text, new JsonArray([.. silent.Select(line => line.DeepClone())]),
                            ["peer", "model", "batch_size", "precision", "mode", "skipped", "error"]);
                    }

                    if (benchmark["pytorch_seconds_to_99_percent"] is { } seconds)
                    {
                        text.AppendLine().AppendLine($"PyTorch reached 99 % of the validation digits {seconds} s after process start "
                            + "(improved, batch 128, tf32, captured step).");
                    }

                    break;
                case { Name: "kernels", Details: { } kernels }:
                    if (kernels["ceilings"] is { } ceilings)
                    {
                        IEnumerable<string> limits = ceilings.AsObject()
                            .Select(entry => $"{entry.Key.Replace('_', ' ')} {Format(entry.Value)}");
                        text.AppendLine().AppendLine($"Ceilings: {string.Join(", ", limits)}.");
                    }

                    foreach (JsonNode? step in kernels["steps"]!.AsArray())
                    {
                        text.AppendLine().AppendLine($"## Kernels of training and inference, each launch: {step!["name"]}").AppendLine();
                        WriteTable(text, step["kernels"]!.AsArray(),
                            ["kernel", "launches", "microseconds", "share", "megabytes", "floor_microseconds", "million_instructions",
                            "million_shared_passes", "busiest", "idle_microseconds", "occupancy", "stalls"]);
                    }

                    break;
                default:
                    break;
            }
        }

        File.WriteAllText(Path.Combine(place.Output, "gpu-report.md"), text.ToString());
    }

    private static string Phases(JsonNode run) =>
        string.Join(", ", run["start_up_seconds"]!.AsObject().Select(phase => $"{phase.Key} {Format(phase.Value)}"));

    private static void WriteMachine(StringBuilder text, JsonNode machine)
    {
        text.AppendLine().AppendLine("## Machine").AppendLine();
        foreach (JsonNode? gpu in machine["cuda"]!["gpus"]!.AsArray())
        {
            text.AppendLine($"- {gpu!["name"]}, {Format((double)gpu["memory_bytes"]! / (1 << 20))} MiB, compute capability "
                + $"{gpu["compute_capability"]}");
        }

        if (machine["nvidia_smi"] is { } smi)
        {
            text.AppendLine($"- nvidia-smi: {smi.ToString().ReplaceLineEndings("; ")}");
        }

        foreach (JsonNode? library in machine["cuda"]!["libraries"]!.AsArray())
        {
            text.AppendLine($"- {library!["name"]} {library["version"]}: {library["path"]}");
        }

        text.AppendLine($"- {machine["runtime"]}, {machine["system"]}, {machine["processors"]} processors");
        text.AppendLine($"- cudnn-digits {machine["version"]}, commit {machine["commit"]}");
    }

    private static void WriteTable(StringBuilder text, JsonArray rows, string[] columns)
    {
        text.AppendLine($"| {string.Join(" | ", columns.Select(column => column.Replace('_', ' ')))} |");
        text.AppendLine($"|{string.Concat(columns.Select(_ => "---|"))}");
        foreach (JsonNode? row in rows)
        {
            text.AppendLine($"| {string.Join(" | ", columns.Select(column => Format(row![column]).Replace('|', '/')))} |");
        }
    }

    private static string Format(JsonNode? value) => value switch
    {
        null => "",
        JsonValue number when number.GetValueKind() == JsonValueKind.Number =>
            Format(double.Parse(number.ToJsonString(), CultureInfo.InvariantCulture)),
        _ => value.ToString(),
    };

    private static string Format(double value) =>
        value.ToString(Math.Abs(value) >= 1000 || value == Math.Floor(value) ? "N0" : "0.####", CultureInfo.InvariantCulture);
}
