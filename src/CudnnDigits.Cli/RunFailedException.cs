namespace CudnnDigits.Cli;

/// <summary>The input is good, but the run failed. The message says what has been saved and what to do.</summary>
internal sealed class RunFailedException(string message, Exception? inner = null) : Exception(message, inner);
