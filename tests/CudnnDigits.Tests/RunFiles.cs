namespace CudnnDigits.Tests;

/// <summary>The JSON files of runs, without the SHA-256 in them.</summary>
internal static partial class RunFiles
{
    /// <summary>metrics.json as <c>evaluate --json</c> prints it: what two runs that differ only in time have in common.</summary>
    public static string Metrics(string run) => Sums().Replace(File.ReadAllText(Path.Combine(run, "metrics.json")), "").Trim();

    public static string WithoutSum(string json) => Sum().Replace(json, "");

    [GeneratedRegex(@",\s*""sha256"": ""\w+""")]
    private static partial Regex Sum();

    [GeneratedRegex(@",\s*""(model_)?sha256"": ""\w+""")]
    private static partial Regex Sums();
}
