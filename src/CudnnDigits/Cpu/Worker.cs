namespace CudnnDigits.Cpu;

/// <summary>What a worker of the pool has to itself: room for results that do not outlive a sample, and a clock.</summary>
/// <param name="index">Place in the pool, 0 being the calling thread.</param>
/// <param name="dY">Room for the padded output gradient of each convolution, its border zero.</param>
/// <param name="words">Room for the random words of a sample.</param>
/// <param name="scratch">Room for what inference keeps of a sample.</param>
internal sealed unsafe class Worker(int index, nint[] dY, uint* words, float* scratch)
{
    private long[]? _ticks;
    private long _last;

    public int Index => index;

    public uint* Words => words;

    public float* Scratch => scratch;

    public float* DY(int conv) => (float*)dY[conv];

    /// <summary>Has the clock run from now on.</summary>
    public void Measure(int operations) => _ticks = new long[operations];

    /// <summary>Starts the clock at the beginning of an item.</summary>
    public void Start()
    {
        if (_ticks is not null)
        {
            _last = Stopwatch.GetTimestamp();
        }
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
    public double TakeSeconds(Operation operation)
    {
        long ticks = _ticks?[operation.Index] ?? 0;
        _ticks?[operation.Index] = 0;
        return (double)ticks / Stopwatch.Frequency;
    }
}
