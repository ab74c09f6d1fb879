namespace CudnnDigits.Cli.Terminal;

/// <summary>Numbers for people: decimals without exponents, for columns of equal width.</summary>
internal static class Figures
{
    private const int MostDecimals = 8;

    /// <summary>A loss in at most 7 characters: 0.0123, 12.35, 12345, &lt;0.0001, &gt;999999.</summary>
    public static string Loss(double loss) => loss switch
    {
        _ when !double.IsFinite(loss) => $"{loss}",
        > 0 and < 0.00005 => "<0.0001",
        > 999_999 => ">999999",
        >= 1000 => $"{loss:F0}",
        >= 10 => $"{loss:F2}",
        _ => $"{loss:F4}",
    };

    /// <summary>A learning rate, with three digits if it is the highest of its run: 0.00300, 0.00012, &lt;0.00001.</summary>
    public static string Rate(double rate, double highest)
    {
        int decimals = Math.Clamp(highest > 0 ? 2 - (int)Math.Floor(Math.Log10(highest)) : 0, 0, MostDecimals);
        string text = Decimal(rate);
        return rate > 0 && text.All(c => c is '0' or '.') ? "<" + Decimal(Math.Pow(10, -decimals)) : text;

        string Decimal(double number) => number.ToString($"F{decimals}", CultureInfo.InvariantCulture);
    }

    /// <summary>"1 digit", "12,000 digits".</summary>
    public static string Count(long count, string what) => $"{count:N0} {what}{(count == 1 ? "" : "s")}";

    /// <summary>What computes, beside the device: "fp32"; on a GPU "bf16, fused kernels".</summary>
    public static string Arithmetic(Precision precision, CudaDetails? cuda) =>
        precision.ToString().ToLowerInvariant() + (cuda?.Kernels is { } kernels ? $", {kernels} kernels" : "");

    /// <summary>Remaining time: 0:01:23; from a day on, 2 d 03:04.</summary>
    public static string Left(TimeSpan left) =>
        left.ToString(left.TotalDays < 1 ? @"h\:mm\:ss" : @"d\ \d\ hh\:mm", CultureInfo.InvariantCulture);
}
