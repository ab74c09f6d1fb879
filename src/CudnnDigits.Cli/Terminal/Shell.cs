namespace CudnnDigits.Cli.Terminal;

/// <summary>The rules by which a shell takes a command line apart.</summary>
internal abstract class Shell
{
    public static readonly Shell Posix = new PosixShell(), Cmd = new CmdShell(), PowerShell = new PowerShellShell();

    /// <summary>The shell of whoever started the program.</summary>
    public static Shell OfUser { get; } = Of(OperatingSystem.IsWindows(), Environment.GetEnvironmentVariable);

    /// <summary>On Windows, Git's and MSYS's shells set SHELL, and cmd passes its PROMPT on; PowerShell does neither.</summary>
    public static Shell Of(bool isWindows, Func<string, string?> environment) =>
        !isWindows || environment("SHELL") is not null ? Posix : environment("PROMPT") is not null ? Cmd : PowerShell;

    /// <summary>An argument that arrives as it is.</summary>
    public string Quote(string argument) => argument.Length > 0 && argument.All(c => char.IsLetterOrDigit(c) || Plain.Contains(c, StringComparison.Ordinal)) ? argument : InQuotes(argument);

    /// <summary>The same for the program, the first word of a line.</summary>
    public virtual string QuoteProgram(string path) => Quote(path);

    /// <summary>What means nothing to the shell, letters and digits aside.</summary>
    protected abstract string Plain { get; }

    protected abstract string InQuotes(string argument);

    private sealed class PosixShell : Shell
    {
        protected override string Plain => "_-+=./:,@%";

        protected override string InQuotes(string argument) => argument.Any(char.IsControl)
            ? $"$'{string.Concat(argument.Select(c => char.IsControl(c) ? $"\\x{(int)c:x2}" : c is '\'' or '\\' ? $"\\{c}" : $"{c}"))}'"
            : $"'{argument.Replace("'", @"'\''", StringComparison.Ordinal)}'";
    }

    /// <summary>Programs on Windows take their line apart themselves: backslashes count before a quotation mark alone.</summary>
    private sealed class CmdShell : Shell
    {
        protected override string Plain => @"_-+./\:@";

        protected override string InQuotes(string argument) => $"\"{argument}{new string('\\', argument.Length - argument.TrimEnd('\\').Length)}\"";
    }

    private sealed class PowerShellShell : Shell
    {
        protected override string Plain => @"_-+./\:";

        protected override string InQuotes(string argument) => $"'{argument.Replace("'", "''", StringComparison.Ordinal)}{new string('\\', argument.Length - argument.TrimEnd('\\').Length)}'";

        /// <summary>A string is a value here, and an ampersand makes it a command.</summary>
        public override string QuoteProgram(string path) => Quote(path) is var quoted && quoted == path ? path : $"& {quoted}";
    }
}
