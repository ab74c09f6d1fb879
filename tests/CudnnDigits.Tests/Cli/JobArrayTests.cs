namespace CudnnDigits.Tests.Cli;

/// <summary>The scripts for Slurm's job arrays, by the stand-in that runs their tasks one after another.</summary>
public sealed class JobArrayTests : TestsWithFolder
{
    private static readonly string Scripts = Path.Combine(SharedFiles.RepositoryRoot, "scripts/slurm");

    public JobArrayTests()
    {
        _folder.Write("digits.csv", DigitFiles.Csv(GeneratedDigits.Create(300)));
    }

    [LongFact]
    public void Folds_are_collected()
    {
        Submit("crossval", "1-3");
        CliProgram.Result collected = CliProgram.Run("crossval", "--collect", _folder["out"], "--out", _folder["cv"], "--json").Succeeded();
        using JsonDocument json = JsonDocument.Parse(collected.Output);
        Assert.Equal(3, json.RootElement.GetProperty("folds").GetArrayLength());
        Assert.Equal(300, json.RootElement.GetProperty("pooled").GetProperty("samples").GetInt32());
        Assert.True(File.Exists(_folder["cv/report.html"]));
    }

    [LongFact]
    public void Seeds_are_averaged_and_a_task_that_is_queued_again_goes_on()
    {
        Submit("seeds", "1-2");
        byte[] first = File.ReadAllBytes(_folder["out/seed-1/model.safetensors"]);
        File.Delete(_folder["out/seed-1/metrics.json"]); // taken off its node before the end
        _folder.Make("out/seed-3"); // and another before its first epoch
        Submit("seeds", "1-3");
        Assert.Equal(first, File.ReadAllBytes(_folder["out/seed-1/model.safetensors"]));

        string[] runs = [_folder["out/seed-1"], _folder["out/seed-2"], _folder["out/seed-3"]];
        using JsonDocument json = JsonDocument.Parse(CliProgram.Run(["report", .. runs, "--out", _folder["seeds.html"], "--json"]).Output);
        JsonElement validation = json.RootElement.GetProperty("validation");
        double[] values = [.. validation.GetProperty("values").EnumerateArray().Select(value => value.GetDouble())];
        Assert.Equal(3, values.Length);
        Assert.Equal(values.Average(), validation.GetProperty("mean").GetDouble(), 1e-12);
        string text = CliProgram.Run(["report", .. runs, "--out", _folder["seeds.html"]]).Output;
        Assert.Contains("run     validation  seed\n", text, StringComparison.Ordinal);
        Assert.Contains("3 seeds: ", text, StringComparison.Ordinal);
    }

    [LongFact]
    public void A_sweep_is_a_table_of_what_differs_and_no_mean()
    {
        Submit("sweep", "0-3");
        string[] runs = [.. Directory.GetDirectories(_folder["out"]).Order(StringComparer.Ordinal)];
        Assert.Equal(["lr-1e-2-batch-64", "lr-1e-3-batch-128", "lr-1e-3-batch-64", "lr-3e-3-batch-64"], runs.Select(Path.GetFileName));
        string text = CliProgram.Run(["report", .. runs, "--out", _folder["sweep.html"]]).Output;
        Assert.Contains("run                validation  learning rate  batch size\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("seeds", text, StringComparison.Ordinal);
    }

    private string Submit(string script, string array)
    {
        ProcessStartInfo program = CliProgram.Info();
        ProcessStartInfo info =
            new("bash", [Path.Combine(Scripts, "locally"), $"--array={array}", Path.Combine(Scripts, $"{script}.sbatch")])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                Environment =
            {
                ["CUDNN_DIGITS"] = Environment.GetEnvironmentVariable("CUDNN_DIGITS_NATIVE")
                    ?? string.Join(' ', [program.FileName, .. program.ArgumentList]),
                ["DATA"] = _folder["digits.csv"],
                ["OUT"] = _folder["out"],
                ["OPTIONS"] = "--model simple --epochs 1 --device cpu",
            },
            };
        CliProgram.Result result = CliProgram.Finish(Process.Start(info)!).Succeeded();
        return result.Output;
    }
}
