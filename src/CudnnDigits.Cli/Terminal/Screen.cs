using CudnnDigits.Model;
using Spectre.Console;

namespace CudnnDigits.Cli.Terminal;

/// <summary>
/// Standard error as a terminal: lines that fit its width as it is now, and below them one line that moves. That one is cleared
/// before anything else is printed. Terminals differ in what they do when they become narrower: most break what has become too
/// long, some cut it off. A blank line above the one that moves takes the difference.
/// </summary>
/// <param name="writer">The terminal.</param>
/// <param name="width">Its columns; asked for each time, because windows change.</param>
/// <param name="moves">Whether the cursor can be moved; else nothing moves.</param>
/// <param name="colors">Whether there may be colours and faint letters.</param>
internal sealed class Screen(TextWriter writer, Func<int> width, bool moves, bool colors)
{
    /// <summary>The line that moves is no longer than this, so that half of it is narrower than any window that is in use.</summary>
    private const int LongestMoving = 79;

    private const string Escape = "\u001b[";

    private bool _isBelowBlank, _isBroken;
    private int _length; // of the line that moves; 0 while there is none

    /// <summary>Columns to use: the last one stays free, because some terminals go to the next line once it is filled.</summary>
    public int Width => Math.Max(width(), 2) - 1;

    /// <summary>Columns for <see cref="Move"/>.</summary>
    public int MovingWidth => Math.Min(Width, LongestMoving);

    /// <summary>Whether anything can move.</summary>
    public bool Moves => moves;

    /// <summary>Standard error, or null where it is no terminal.</summary>
    public static Screen? OfStandardError()
    {
        if (Console.IsErrorRedirected)
        {
            return null;
        }

        // It finds out what the terminal can do, and has Windows do it.
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        bool ansi = console.Profile.Capabilities.Ansi && Environment.GetEnvironmentVariable("TERM") != "dumb";
        return new Screen(Console.Error, () => Columns(2), ansi, ansi && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")));
    }

    /// <summary>A result's prose: broken between words where standard output is a terminal, in one line where it is not.</summary>
    /// <param name="text">The text.</param>
    /// <param name="indent">Columns by which its later lines are indented.</param>
    public static string Prose(string text, int indent = 0) => string.Join($"\n{new string(' ', indent)}", Wrap(text, OutputWidth - indent));

    /// <summary>Columns to use of standard output; no end of them where it is no terminal.</summary>
    public static int OutputWidth => Console.IsOutputRedirected ? int.MaxValue : Columns(1) - 1;

    /// <summary>Columns of the terminal that a descriptor leads to; 80 where they cannot be found out.</summary>
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

    /// <summary>Half as bright as the rest, and so to be read on light and dark alike; a fixed grey is not.</summary>
    public string Dim(string text) => Styled(2, text);

    public string Green(string text) => Styled(32, text);

    /// <summary>Prints a line for good.</summary>
    public void Line(string text)
    {
        Clear();
        writer.WriteLine(text);
        _isBroken = false;
    }

    /// <summary>Prints a line that begins with a label, broken between words.</summary>
    public void Line(string label, string text)
    {
        string[] lines = Wrap(text, Width - LabelWidth);
        for (int i = 0; i < lines.Length; i++)
        {
            Line(Dim((i == 0 ? label : "").PadRight(LabelWidth)) + lines[i]);
        }
    }

    /// <summary>Columns of a label.</summary>
    public const int LabelWidth = 10;

    /// <summary>Shows a line of at most <see cref="MovingWidth"/> characters in place of the last such one.</summary>
    public void Move(string text)
    {
        if (!moves)
        {
            return;
        }

        StringBuilder line = new();
        line.Append(Back(forAnother: true));
        if (!_isBelowBlank && !_isBroken)
        {
            line.AppendLine();
            _isBelowBlank = true;
        }

        text = Cut(text, MovingWidth);
        writer.Write(line.Append(text).Append(Escape).Append('K'));
        _length = text.Length;
    }

    /// <summary>Takes the line that moves away.</summary>
    public void Clear() => writer.Write(Back(forAnother: false));

    /// <summary>Breaks a text between words; a word that is too long stays in one piece, so that it can be copied.</summary>
    public static string[] Wrap(string text, int width)
    {
        List<string> lines = [];
        StringBuilder line = new();
        foreach (string word in text.Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                lines.Add(line.ToString());
                line.Clear();
            }

            line.Append(line.Length > 0 ? " " : "").Append(word);
        }

        return [.. lines, line.ToString()];
    }

    /// <summary>A text that is no longer than that.</summary>
    public static string Cut(string text, int width) => text.Length <= width ? text : width < 2 ? "" : text[..(width - 1)] + "…";

    private string Styled(int style, string text) => colors && text.Length > 0 ? $"{Escape}{style}m{text}{Escape}0m" : text;

    /// <summary>Goes back to where the line that moves began, for another in its place, or clears it and the blank one above it.</summary>
    private string Back(bool forAnother)
    {
        if (_length == 0 && !_isBelowBlank)
        {
            return "";
        }

        // The terminal has become narrower than the line is long: it has broken it into several rows, or cut it off, and then those
        // rows are the blank line and this one.
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
