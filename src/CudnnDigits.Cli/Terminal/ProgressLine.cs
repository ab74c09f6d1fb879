namespace CudnnDigits.Cli.Terminal;

/// <summary>A progress bar, a percentage, and further parts if there is room for them.</summary>
internal static class ProgressLine
{
    private const int LongestBar = 30, ShortestBar = 8;
    private const string Gap = "  ";

    /// <summary>Formats the line.</summary>
    /// <param name="parts">The parts after the percentage, in this order. Those with the highest rank are left out first.</param>
    public static string Format(double done, IReadOnlyList<(int Rank, string Text)> parts, int width)
    {
        done = Math.Clamp(done, 0, 1);
        (int Rank, string Text)[] kept = [.. parts.Where(part => part.Text.Length > 0)];
        string percent = string.Create(CultureInfo.InvariantCulture, $"{(int)(100 * done),3} %");
        while (kept.Length > 1 && Text().Length > width)
        {
            int last = kept.Max(part => part.Rank);
            kept = [.. kept.Where(part => part.Rank != last)];
        }

        int room = Math.Min(LongestBar, width - Text().Length - Gap.Length), filled = (int)(done * room);
        return room < ShortestBar ? Text() : $"{new string('━', filled)}{new string('─', room - filled)}{Gap}{Text()}";

        string Text() => string.Join(Gap, kept.Select(part => part.Text).Prepend(percent));
    }
}
