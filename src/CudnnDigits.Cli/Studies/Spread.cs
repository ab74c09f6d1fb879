namespace CudnnDigits.Cli.Studies;

/// <summary>Several measurements of one thing; the deviation is a sample's (n − 1 in the denominator), and 0 for a single one.</summary>
internal sealed record Spread(double Mean, double Deviation, IReadOnlyList<double> Values)
{
    internal double Low => Mean - Deviation;

    internal double High => Mean + Deviation;

    public static Spread Of(IEnumerable<double> values)
    {
        double[] all = [.. values];
        double mean = all.Average();
        return new Spread(mean, all.Length < 2 ? 0 : Math.Sqrt(all.Sum(value => (value - mean) * (value - mean)) / (all.Length - 1)), all);
    }

    /// <summary>Shares as "98.57 ± 0.12 %".</summary>
    public string ToPercent() => Values.Count < 2
        ? $"{Mean:P2}"
        : string.Create(CultureInfo.InvariantCulture, $"{100 * Mean:F2} ± {100 * Deviation:F2} %");
}
