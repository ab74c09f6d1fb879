using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Report;

/// <summary>An option or a circumstance of a run, in words.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Value">As it is shown.</param>
/// <param name="Whole">The whole of it, where <paramref name="Value"/> is only its beginning.</param>
internal sealed record RunFact(string Name, string Value, string? Whole = null);

/// <summary>How runs were made, and in what they differ.</summary>
internal static class RunFacts
{
    private const int FingerprintShown = 12;

    /// <summary>A run's options and circumstances; the same names in the same order for every run.</summary>
    public static IEnumerable<RunFact> Of(RunReport run)
    {
        (RunRecord record, TrainingOptions o) = (run.Record, run.Record.Options);
        foreach (string fact in TrainingField.All.Select(field => field.Fact).OfType<string>().Distinct())
        {
            yield return new(fact, TrainingField.Describe(fact, o));
        }

        yield return new("began with", record.InitFrom ?? "fresh weights");
        yield return new("data", $"{record.Data.Path ?? "built-in generated digits"}, {record.Data.Count:N0} digits");
        yield return new("data fingerprint", record.Data.Fingerprint[..Math.Min(FingerprintShown, record.Data.Fingerprint.Length)], record.Data.Fingerprint);
        yield return new("device", $"{record.Device}, {record.Precision.ToString().ToLowerInvariant()}{(record.Deterministic ? ", deterministic" : "")}");
        yield return new("versions", $"CudnnDigits {record.Version}, {record.Runtime}");
    }

    /// <summary>Fact by fact, what each run has.</summary>
    public static IEnumerable<RunFact[]> Of(IReadOnlyList<RunReport> runs) => Of(runs[0]).Select((_, i) => runs.Select(run => Of(run).ElementAt(i)).ToArray());

    /// <summary>Fact by fact, what each run has, where they differ.</summary>
    public static IEnumerable<RunFact[]> Differences(IReadOnlyList<RunReport> runs) => Of(runs).Where(facts => facts.Distinct().Count() > 1);

    /// <summary>What runs of one training have; where they differ, from the first to the last.</summary>
    public static IEnumerable<RunFact> Common(IReadOnlyList<RunReport> runs) => Of(runs).Select(facts => facts.Distinct().ToArray() switch
    {
        [RunFact only] => only,
        [RunFact one, RunFact other] => one with { Value = $"{one.Value}, {other.Value}" },
        [RunFact first, .., RunFact last] => first with { Value = $"{first.Value} … {last.Value}" },
        _ => throw new ArgumentException("no runs"),
    });

    /// <summary>Why the figures of runs side by side are not of the same digits; null where they are.</summary>
    public static string? WhyNotComparable(IReadOnlyList<RunReport> runs) =>
        runs.Select(run => run.Record.Data.Fingerprint).Distinct().Count() > 1
            ? "Compare with care: these runs had other data than each other (their data fingerprints differ), so their figures are not of the same digits."
            : runs.Select(run => HeldOut(run.Record.Options.Split)).Distinct().Count() > 1
                ? "Compare with care: these runs were scored on other digits than each other (their splits differ), so part of the difference is that of the digits."
                : null;

    /// <summary>The same for splits that score the same digits of the same data.</summary>
    private static SplitSpec HeldOut(SplitSpec split) => split.Folds > 0 ? split with { Validation = 0, Test = 0 } : split.HoldsOut ? split with { Fold = 0, Test = 0 } : default;
}
