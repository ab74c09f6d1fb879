using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Report;

/// <summary>An option or another fact of a run, as text; Whole is the complete value, if Value is shortened.</summary>
internal sealed record RunFact(string Name, string Value, string? Whole = null);

internal static class RunFacts
{
    private const int FingerprintShown = 12;

    /// <summary>The facts of a run; the same names in the same order for every run.</summary>
    public static IEnumerable<RunFact> Of(RunReport run)
    {
        (RunRecord record, TrainingOptions o) = (run.Record, run.Record.Options);
        foreach (string fact in TrainingField.All.Select(field => field.Fact).OfType<string>().Distinct())
        {
            yield return new(fact, TrainingField.Describe(fact, o));
        }

        string fingerprint = record.Data.Fingerprint;
        yield return new("began with", record.InitFrom ?? "fresh weights");
        yield return new("data", $"{record.Data.Path ?? "built-in generated digits"}, {Figures.Count(record.Data.Count, "digit")}");
        yield return new("data fingerprint", fingerprint[..Math.Min(FingerprintShown, fingerprint.Length)], fingerprint);
        string deterministic = record.Deterministic ? ", deterministic" : "";
        yield return new("device", $"{record.Device}, {Figures.Arithmetic(record.Precision, record.Cuda)}{deterministic}");
        yield return new("versions", $"CudnnDigits {record.Version}, {record.Runtime}");
    }

    /// <summary>For each fact, its values in all runs.</summary>
    public static IEnumerable<RunFact[]> Of(IReadOnlyList<RunReport> runs) =>
        Of(runs[0]).Select((_, i) => runs.Select(run => Of(run).ElementAt(i)).ToArray());

    /// <summary>For each fact in which the runs differ, its values in all runs.</summary>
    public static IEnumerable<RunFact[]> Differences(IReadOnlyList<RunReport> runs) =>
        Of(runs).Where(facts => facts.Distinct().Count() > 1);

    /// <summary>The facts of several runs of one training. Where they differ: the first and the last value.</summary>
    public static IEnumerable<RunFact> Common(IReadOnlyList<RunReport> runs) => Of(runs).Select(facts => facts.Distinct().ToArray() switch
    {
        [RunFact only] => only,
        [RunFact one, RunFact other] => one with { Value = $"{one.Value}, {other.Value}" },
        [RunFact first, .., RunFact last] => first with { Value = $"{first.Value} … {last.Value}" },
        _ => throw new ArgumentException("no runs"),
    });

    /// <summary>Why the figures of several runs cannot be compared directly. Null if they can.</summary>
    public static string? WhyNotComparable(IReadOnlyList<RunReport> runs) =>
        runs.Select(run => run.Record.Data.Fingerprint).Distinct().Count() > 1
            ? "Compare with care: these runs used different data (their data fingerprints differ), "
                + "so they were scored on different digits."
        : runs.Select(run => HeldOut(run.Record.Options.Split)).Distinct().Count() > 1
            ? "Compare with care: these runs were scored on different digits (their splits differ), "
                + "so part of the difference is due to the digits."
        : null;

    /// <summary>The part of a split that decides which digits are scored.</summary>
    private static SplitSpec HeldOut(SplitSpec split) => split.Folds > 0 ? split with { Validation = 0, Test = 0 }
        : split.HoldsOut ? split with { Fold = 0, Test = 0 }
        : default;
}
