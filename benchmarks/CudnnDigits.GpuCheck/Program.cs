using System.CommandLine;
using System.Globalization;
using CudnnDigits.GpuCheck;

Option<FileInfo?> data =
    new("--data") { Description = "Kaggle's train.csv (or .gz, .zip) to train on. Default: the built-in digits.", HelpName = "FILE" };
Option<string> output =
    new("--out")
    {
        Description =
    "Folder of the report; one that is there already, of the same GPU and commit, is gone on with. Default: gpu-report.",
        HelpName = "DIR",
        DefaultValueFactory = _ => "gpu-report"
    };
Option<string[]> only =
    new("--only")
    {
        Description = $"Only these checks, passed or not: {string.Join(", ", Checks.Names)}.",
        HelpName = "CHECK",
        AllowMultipleArgumentsPerToken = true
    };
Option<double> minutes =
    new("--minutes")
    {
        Description = "Time for this run; what does not fit is left to the next with the same --out. Default: 9.",
        DefaultValueFactory = _ => 9
    };
Option<bool> quick = new("--quick") { Description = "Smallest sizes, to try the check itself." };
only.AcceptOnlyFromAmong(Checks.Names);

RootCommand root = new(
    "Checks CudnnDigits on this machine's GPU and measures it beside JAX, PyTorch and ONNX Runtime; writes gpu-report.json, gpu-report.md "
        + "and logs.") { data, output, only, minutes, quick };
root.SetAction(result =>
{
    Workplace place = new(Path.GetFullPath(result.GetValue(output)!), result.GetValue(data)?.FullName,
        TimeSpan.FromMinutes(result.GetValue(minutes)), result.GetValue(quick));
    if (place.Data is not null && !File.Exists(place.Data))
    {
        Console.Error.WriteLine($"gpu-check: error: {place.Data}: no such file");
        return 2;
    }

    ThreadPool.SetMinThreads(64, 64); // they wait for other programs
    CheckResult machine = Checks.Run(Checks.First, place);
    Say($"{Checks.First}: {machine.Summary}");
    if (machine.Status != Status.Passed)
    {
        return 1; // nothing else could run, and what an earlier run has written stays
    }

    CheckResult[]? earlier = Report.Read(place, machine);
    List<CheckResult> results = [machine, .. earlier ?? []];
    if (earlier is null)
    {
        Say("a new report: there is none in the folder, or of another GPU, commit or data, or the commit is not known");
    }
    else
    {
        Say("going on with the report that is there: "
            + $"{string.Join(", ", earlier.Select(check => $"{check.Name} {check.Status.ToString().ToLowerInvariant()}"))}");
        place.Measured = results.Find(check => check is { Name: "benchmark", Status: not Status.Passed })?.Details;
    }

    string[] chosen = result.GetValue(only) is { Length: > 0 } names ? names
        : [.. Checks.Names.Except(results.Where(check => check.Status == Status.Passed).Select(check => check.Name))];
    // Seconds. All that run beside each other take as long as one.
    double Estimate() => (chosen.Intersect(Checks.Untimed).Any() ? 150 : 0) + chosen.Intersect(Checks.Alone)
        .Sum(name => name switch { "memory" => 20, "soon" => 15, "benchmark" => Benchmark.Estimate(place), _ => 55 });

    void Run(string name)
    {
        Say($"{name} …");
        CheckResult check = Checks.Run(name, place);
        Say($"{name}: {check.Status.ToString().ToLowerInvariant()}, {check.Summary}");
        lock (results)
        {
            results.RemoveAll(one => one.Name == name);
            results.Add(check);
            Report.Write(place, [
                .. results.OrderBy(one => Array.IndexOf(Checks.Names, one.Name))]); // whatever happens next, what was measured is kept
        }
    }

    void Say(string text)
    {
        lock (place)
        {
            Console.Error.WriteLine($"{place.Elapsed:mm\\:ss}  {text}");
        }
    }

    Say(string.Create(CultureInfo.InvariantCulture,
        $"{Estimate() / 60:F0} minutes or so for {string.Join(", ", chosen)}; this run has {place.Left.TotalMinutes:F1}"));
    Report.Write(place, results);
    Task.WaitAll([.. Checks.Untimed.Where(chosen.Contains).Select(name => Task.Run(() => Run(name)))]);
    foreach (string name in Checks.Alone.Where(chosen.Contains))
    {
        Run(name);
    }

    if (results.Exists(check => check.Status == Status.Unfinished))
    {
        Say("not finished: the same command goes on from here");
    }

    Console.Out.WriteLine(Path.Combine(place.Output, "gpu-report.md"));
    return results.Exists(check => check.Status is Status.Failed or Status.Unfinished) ? 1 : 0;
});
ParseResult parsed = root.Parse(args);
if (parsed.Errors is [{ Message: string error }, ..])
{
    Console.Error.WriteLine($"gpu-check: error: {string.Join(' ', error.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))}");
    return 2;
}

return parsed.Invoke();
