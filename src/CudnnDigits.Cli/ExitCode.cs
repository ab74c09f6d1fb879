namespace CudnnDigits.Cli;

/// <summary>What the program returns to the shell.</summary>
internal static class ExitCode
{
    public const int Done = 0, RunFailed = 1, BadInput = 2, Interrupted = 130;
}
