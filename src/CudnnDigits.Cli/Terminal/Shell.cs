using System.Text.RegularExpressions;

namespace CudnnDigits.Cli.Terminal;

/// <summary>
/// How to quote arguments for a shell, and what goes on in its next line. Letters, digits and the plain characters need no quotes.
/// </summary>
internal sealed partial record Shell(string Plain, char GoesOn, Func<string, string> InQuotes, string BeforeProgram = "")
{
    public static readonly Shell Posix = new("_-+=./:,@%", '\\', argument => argument.Any(char.IsControl)
        ? $"$'{string.Concat(argument.Select(c => char.IsControl(c) ? $"\\x{(int)c:x2}" : c is '\'' or '\\' ? $"\\{c}" : $"{c}"))}'"
        : $"'{argument.Replace("'", @"'\''", StringComparison.Ordinal)}'");

    /// <summary>On Windows, programs parse the command line themselves. Backslashes are special only before a quotation mark.</summary>
    public static readonly Shell Cmd = new(@"_-+./\:@", '^', argument => $"\"{argument}{TrailingBackslashes(argument)}\"");

    /// <summary>In PowerShell a quoted string is a value; the operator &amp; runs it.</summary>
    public static readonly Shell PowerShell = new(
        @"_-+./\:", '`', argument => $"'{argument.Replace("'", "''", StringComparison.Ordinal)}{TrailingBackslashes(argument)}'", "& ");

    /// <summary>The shell that the program was started from.</summary>
    public static Shell OfUser { get; } = Of(OperatingSystem.IsWindows(), Environment.GetEnvironmentVariable);

    /// <summary>On Windows, the shells of Git and MSYS set SHELL, and cmd sets PROMPT. PowerShell sets neither.</summary>
    public static Shell Of(bool isWindows, Func<string, string?> environment) =>
        !isWindows || environment("SHELL") is not null ? Posix : environment("PROMPT") is not null ? Cmd : PowerShell;

    /// <summary>An argument, in quotes if it needs them.</summary>
    public string Quote(string argument)
    {
        bool isPlain = argument.Length > 0 && argument.All(c => char.IsLetterOrDigit(c) || Plain.Contains(c, StringComparison.Ordinal));
        return isPlain ? argument : InQuotes(argument);
    }

    /// <summary>The program, the first word of a command line.</summary>
    public string QuoteProgram(string path) => Quote(path) is var quoted && quoted == path ? path : BeforeProgram + quoted;

    /// <summary>A command in lines that the shell takes as one. An argument stays whole, and so does a command with rare quotes.</summary>
    public string[] Wrap(string command, int width)
    {
        string[] words = [.. Word().Matches(command).Select(match => match.Value)], lines = Screen.Wrap(words, " ", width - 2);
        return string.Join(' ', words) == command ? [.. lines[..^1].Select(line => $"{line} {GoesOn}"), lines[^1]] : [command];
    }

    [GeneratedRegex("""(?:\\.|[^\s'"]|'[^']*'|"[^"]*")+""")]
    private static partial Regex Word();

    private static string TrailingBackslashes(string argument) => new('\\', argument.Length - argument.TrimEnd('\\').Length);
}
