namespace CudnnDigits.Cli.Terminal;

/// <summary>How to quote arguments for a shell.</summary>
internal abstract class Shell
{
    public static readonly Shell Posix = new PosixShell(), Cmd = new CmdShell(), PowerShell = new PowerShellShell();

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
    public virtual string QuoteProgram(string path) => Quote(path);

    /// <summary>Characters without a special meaning for the shell, in addition to letters and digits.</summary>
    protected abstract string Plain { get; }

    protected abstract string InQuotes(string argument);

    private static string TrailingBackslashes(string argument) => new('\\', argument.Length - argument.TrimEnd('\\').Length);

    private sealed class PosixShell : Shell
    {
        protected override string Plain => "_-+=./:,@%";

        protected override string InQuotes(string argument) => argument.Any(char.IsControl)
            ? $"$'{string.Concat(argument.Select(Escaped))}'"
            : $"'{argument.Replace("'", @"'\''", StringComparison.Ordinal)}'";

        private static string Escaped(char c) => char.IsControl(c) ? $"\\x{(int)c:x2}" : c is '\'' or '\\' ? $"\\{c}" : $"{c}";
    }

    /// <summary>On Windows, programs parse the command line themselves. Backslashes are special only before a quotation mark.</summary>
    private sealed class CmdShell : Shell
    {
        protected override string Plain => @"_-+./\:@";

        protected override string InQuotes(string argument) => $"\"{argument}{TrailingBackslashes(argument)}\"";
    }

    private sealed class PowerShellShell : Shell
    {
        protected override string Plain => @"_-+./\:";

        protected override string InQuotes(string argument) =>
            $"'{argument.Replace("'", "''", StringComparison.Ordinal)}{TrailingBackslashes(argument)}'";

        /// <summary>In PowerShell a quoted string is a value; the operator &amp; runs it.</summary>
        public override string QuoteProgram(string path) => Quote(path) is var quoted && quoted == path ? path : $"& {quoted}";
    }
}
