namespace CudnnDigits.Cli;

/// <summary>The input was good, but the run failed; the message says what became of it and what to do.</summary>
internal sealed class RunFailedException(string message, Exception? inner = null) : Exception(message, inner);
