using System.Text.RegularExpressions;
using Spectre.Console;

namespace CudnnDigits.Cli.Terminal;

/// <summary>Standard error as a terminal: lines that fit its width, and below them one progress line, which is overwritten.</summary>
internal sealed partial class Screen(TextWriter writer, Func<int> width, bool moves, bool colors)
{
    /// <summary>The longest progress line. Half of it is narrower than any usual window, and after it there is room for "^C".</summary>
    private const int LongestMoving = 77;

    /// <summary>Columns of a label.</summary>
    public const int LabelWidth = 10;

    private const string Escape = "\u001b[";

    private bool _isBelowBlank, _isBroken;
    private int _length; // of the progress line; 0 if there is none

    /// <summary>Usable columns. The last one stays free, because some terminals start a new line when it is filled.</summary>
    public int Width => Math.Max(width(), 2) - 1;

    /// <summary>Columns for <see cref="Move"/>.</summary>
    public int MovingWidth => Math.Min(Width - 2, LongestMoving);

    /// <summary>Standard error, or null if it is not a terminal.</summary>
    public static Screen? OfStandardError()
    {
        if (Console.IsErrorRedirected)
        {
            return null;
        }

        // Finds out what the terminal supports, and turns that on in Windows.
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        bool ansi = console.Profile.Capabilities.Ansi && Environment.GetEnvironmentVariable("TERM") != "dumb";
        bool colors = ansi && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        return new Screen(Console.Error, () => Columns(2), ansi, colors);
    }

    /// <summary>Usable columns of standard output and standard error; unlimited if it is not a terminal.</summary>
    public static int OutputWidth => Console.IsOutputRedirected ? int.MaxValue : Columns(1) - 1;

    public static int ErrorWidth => Console.IsErrorRedirected ? int.MaxValue : Columns(2) - 1;

    /// <summary>A text whose lines are at most so wide: those that are longer are wrapped, each under the text after its label.</summary>
    public static string Fit(string text, int width) => string.Join('\n', text.Split('\n').Select(line =>
    {
        if (line.Length <= width)
        {
            return line;
        }

        int label = Label().Match(line).Length;
        string rest = line[label..];
        bool isCommand = new[] { ThisProgram.Prefix, ThisProgram.Name, "curl" }
            .Any(program => rest.StartsWith(program + " ", StringComparison.Ordinal));
        int indent = isCommand ? label + 2 : label;
        string[] lines = isCommand ? Shell.OfUser.Wrap(rest, width - indent) : Wrap(rest, width - indent);
        return line[..label] + string.Join($"\n{new string(' ', indent)}", lines);
    }));

    /// <summary>Columns of the terminal behind a descriptor; 80 if unknown.</summary>
    private static int Columns(int descriptor)
    {
        if (OperatingSystem.IsLinux() && Posix.TerminalColumns(descriptor) is > 0 and int columns)
        {
            return columns;
        }

        try
        {
            return Console.WindowWidth is > 0 and int window ? window : 80;
        }
        catch (IOException)
        {
            return 80;
        }
    }

    /// <summary>Dim text, which is readable on a light and on a dark background; a fixed grey is not.</summary>
    public string Dim(string text) => Styled(2, text);

    public string Green(string text) => Styled(32, text);

    /// <summary>Prints a line that stays.</summary>
    public void Line(string text)
    {
        Clear();
        writer.WriteLine(text);
        _isBroken = false;
    }

    /// <summary>Prints a wrapped text after a label.</summary>
    public void Line(string label, string text)
    {
        foreach ((int i, string line) in Wrap(text, Width - LabelWidth).Index())
        {
            Line(Dim((i == 0 ? label : "").PadRight(LabelWidth)) + line);
        }
    }

    /// <summary>Shows a progress line of at most <see cref="MovingWidth"/> characters in place of the last one.</summary>
    public void Move(string text)
    {
        if (!moves)
        {
            return;
        }

        text = Cut(text, MovingWidth);
        string back = Back(forAnother: true), blank = _isBelowBlank || _isBroken ? "" : Environment.NewLine;
        writer.Write($"{back}{blank}{text}{Escape}K");
        _isBelowBlank |= !_isBroken;
        _length = text.Length;
    }

    /// <summary>Clears the progress line.</summary>
    public void Clear() => writer.Write(Back(forAnother: false));

    /// <summary>Wraps a text between words or, where it has wider gaps, there; not in "8: 48" nor in "97.5 %".</summary>
    public static string[] Wrap(string text, int width) =>
        text.Contains("  ", StringComparison.Ordinal) ? Wrap(text.Split("  "), "  ", width) : Wrap(Gap().Split(text), " ", width);

    /// <summary>Puts words into lines. A word that is too long is not broken, so that it can be copied.</summary>
    public static string[] Wrap(IEnumerable<string> words, string gap, int width)
    {
        List<string> lines = [];
        foreach (string word in words)
        {
            if (lines.Count > 0 && lines[^1].Length + gap.Length + word.Length <= width)
            {
                lines[^1] += gap + word;
            }
            else
            {
                lines.Add(word);
            }
        }

        return [.. lines];
    }

    /// <summary>A text, shortened to a width.</summary>
    public static string Cut(string text, int width) => text.Length <= width ? text : width < 2 ? "" : text[..(width - 1)] + "…";

    /// <summary>What the further lines are indented by: "accuracy  ", "  kernels     ", or blanks.</summary>
    [GeneratedRegex("^ *(?:[^ ].{0,13}?  +)?")]
    private static partial Regex Label();

    [GeneratedRegex(@"(?<!\d:) (?!%)")]
    private static partial Regex Gap();

    private string Styled(int style, string text) => colors && text.Length > 0 ? $"{Escape}{style}m{text}{Escape}0m" : text;

    /// <summary>The codes that return to the start of the progress line for another one, or clear it and the blank line above it.</summary>
    private string Back(bool forAnother)
    {
        if (_length == 0 && !_isBelowBlank)
        {
            return "";
        }

        // If the terminal has become narrower than the line, it has either broken the line into several rows, or cut it off; then the
        // rows are the blank line and the progress line.
        int rows = Math.Max(1, (_length + width() - 1) / Math.Max(width(), 1)), up = rows - 1;
        if (rows > 1)
        {
            (_isBelowBlank, _isBroken) = (false, true);
        }
        else if (forAnother)
        {
            return "\r";
        }
        else if (_isBelowBlank)
        {
            (_isBelowBlank, up) = (false, 1);
        }

        _length = 0;
        return $"\r{Escape}K{string.Concat(Enumerable.Repeat($"{Escape}A{Escape}K", up))}";
    }
}
