namespace CudnnDigits.Cli.Terminal;

/// <summary>A progress bar, a percentage, and further parts, of which those with the highest rank are left out first.</summary>
internal static class ProgressLine
{
    private const int LongestBar = 30, ShortestBar = 8;
    private const string Gap = "  ";

    public static string Format(double done, IReadOnlyList<(int Rank, string Text)> parts, int width)
    {
        done = Math.Clamp(done, 0, 1);
        List<(int Rank, string Text)> kept = [.. parts.Where(part => part.Text.Length > 0)];
        string text = Text();
        for (; kept.Count > 1 && text.Length > width; text = Text())
        {
            int last = kept.Max(part => part.Rank);
            kept.RemoveAll(part => part.Rank == last);
        }

        int room = Math.Min(LongestBar, width - text.Length - Gap.Length), filled = (int)(done * room);
        return room < ShortestBar ? text : $"{new string('━', filled)}{new string('─', room - filled)}{Gap}{text}";

        string Text() => string.Join(Gap, kept.Select(part => part.Text).Prepend($"{(int)(100 * done),3} %"));
    }
}
