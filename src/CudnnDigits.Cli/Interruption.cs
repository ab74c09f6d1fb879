namespace CudnnDigits.Cli;

/// <summary>Ends the program at Ctrl-C, SIGTERM or SIGHUP: at once, or after work has been saved, unless a second signal comes.</summary>
internal sealed class Interruption : IDisposable
{
    /// <summary>A second signal within this time counts as the first one: timeout(1) and a closing terminal send theirs twice.</summary>
    private static readonly TimeSpan Together = TimeSpan.FromSeconds(0.3);

    private static Interruption? _innermost;

    private readonly Interruption? _outer = _innermost;
    private readonly CancellationTokenSource _source = new();
    private readonly PosixSignalRegistration[] _registrations;
    private readonly bool _atOnce;
    private long _first;

    /// <summary>For work that has to save, or, at once, for a whole command; the innermost one handles a signal.</summary>
    public Interruption(bool atOnce = false)
    {
        // Signals that the program was started to ignore, as by nohup, stay ignored, because .NET does not handle them.
        (_atOnce, _innermost) = (atOnce, this);
        PosixSignal[] signals = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP];
        _registrations = Array.ConvertAll(signals, signal => PosixSignalRegistration.Create(signal, Handle));
    }

    public CancellationToken Token => _source.Token;

    public void Dispose()
    {
        _innermost = _outer;
        Array.ForEach(_registrations, registration => registration.Dispose());
        _source.Dispose();
    }

    /// <summary>Begins a new line after the "^C" that a terminal shows.</summary>
    public static void LeaveEcho() => Console.Error.Write(Console.IsErrorRedirected ? "" : Environment.NewLine);

    private void Handle(PosixSignalContext context)
    {
        context.Cancel = true;
        if (this != _innermost)
        {
            return;
        }

        long first = Interlocked.CompareExchange(ref _first, Stopwatch.GetTimestamp(), 0);
        if (_atOnce || (first != 0 && Stopwatch.GetElapsedTime(first) > Together))
        {
            AtomicFile.Abandon();
            LeaveEcho();
            Environment.Exit(ExitCode.Interrupted);
        }

        _source.Cancel();
        if (OperatingSystem.IsWindows() && context.Signal != PosixSignal.SIGINT)
        {
            Thread.Sleep(Timeout.Infinite); // the window is closing: Windows ends the process when this handler returns
        }
    }
}
