namespace CudnnDigits.Cpu;

/// <summary>What a worker of the pool has to itself: room for results that do not outlive a sample, and a clock.</summary>
internal sealed unsafe class Worker(NativeArena arena, int index, int words, int scratch)
{
    private long[]? _ticks;
    private long _last;

    /// <summary>Place in the pool; 0 is the calling thread.</summary>
    public int Index => index;

    /// <summary>Room for the random words of a sample.</summary>
    public uint* Words { get; } = arena.Words(words);

    /// <summary>Room for what a convolution keeps of a sample.</summary>
    public float* Scratch { get; } = arena.Floats(scratch);

    /// <summary>Has the clock run from now on.</summary>
    public void Measure(int operations) => _ticks = new long[operations];

    /// <summary>Starts the clock at the beginning of an item.</summary>
    public Worker Start()
    {
        _last = _ticks is null ? 0 : Stopwatch.GetTimestamp();
        return this;
    }

    /// <summary>Books the time since the last call to an operation.</summary>
    public void Lap(Operation operation)
    {
        if (_ticks is not null)
        {
            long now = Stopwatch.GetTimestamp();
            _ticks[operation.Index] += now - _last;
            _last = now;
        }
    }

    /// <summary>Seconds booked to an operation; begins again at 0.</summary>
    public double TakeSeconds(Operation operation) =>
        _ticks is null ? 0 : (double)Interlocked.Exchange(ref _ticks[operation.Index], 0) / Stopwatch.Frequency;
}
