namespace CudnnDigits.Cli.Terminal;

/// <summary>Numbers for people: decimals without exponents, in columns of one width.</summary>
internal static class Figures
{
    private const int MostDecimals = 8;

    /// <summary>A loss in at most 7 characters: 0.0123, 12.35, 12345, &lt;0.0001, &gt;999999.</summary>
    public static string Loss(double loss) => loss switch
    {
        _ when !double.IsFinite(loss) => loss.ToString(CultureInfo.InvariantCulture),
        > 0 and < 0.00005 => "<0.0001",
        > 999_999 => ">999999",
        >= 1000 => loss.ToString("F0", CultureInfo.InvariantCulture),
        >= 10 => loss.ToString("F2", CultureInfo.InvariantCulture),
        _ => loss.ToString("F4", CultureInfo.InvariantCulture),
    };

    /// <summary>
    /// A learning rate, in as many decimals as show three figures of the highest of its run: 0.00300, 0.00012, &lt;0.00001.
    /// </summary>
    public static string Rate(double rate, double highest)
    {
        int decimals = Math.Clamp(highest > 0 ? 2 - (int)Math.Floor(Math.Log10(highest)) : 0, 0, MostDecimals);
        string text = rate.ToString($"F{decimals}", CultureInfo.InvariantCulture);
        return rate > 0 && text.All(c => c is '0' or '.') ? "<" + Math.Pow(10, -decimals).ToString($"F{decimals}", CultureInfo.InvariantCulture) : text;
    }

    /// <summary>A number as it would be typed: its shortest digits, without an exponent as far as 28 decimals go.</summary>
    public static string Exact(double value)
    {
        string text = value.ToString("R", CultureInfo.InvariantCulture);
        return text.Contains('E', StringComparison.Ordinal) && decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal exact) && (double)exact == value
            ? exact.ToString(CultureInfo.InvariantCulture)
            : text;
    }

    /// <summary>Time to go: 0:01:23; from a day on, 2 d 03:04.</summary>
    public static string Left(TimeSpan left) => left.TotalDays < 1
        ? left.ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture)
        : left.ToString(@"d\ \d\ hh\:mm", CultureInfo.InvariantCulture);
}
