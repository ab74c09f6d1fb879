namespace CudnnDigits.Cli;

internal static class ExitCode
{
    public const int Done = 0, RunFailed = 1, BadInput = 2, Interrupted = 130;
}
