using CudnnDigits.Cuda;

namespace CudnnDigits.Cli.Serve;

/// <summary>Combines the digits of several requests into one forward pass. Small requests alternate with large ones.</summary>
internal sealed class Batcher : IDisposable
{
    /// <summary>How many digits may wait in requests of more than <see cref="Few"/> digits; further ones are refused.</summary>
    public const int MostWaiting = 8192;

    /// <summary>Requests of at most this many digits are never refused.</summary>
    public const int Few = 16;

    /// <summary>How long the first digit waits for more. Under load it does not, because digits arrive while a pass runs.</summary>
    private static readonly TimeSpan Window = TimeSpan.FromMilliseconds(1);

    private readonly DigitClassifier _classifier;
    private readonly Queue<Job> _few = new(), _many = new(); // a lock on _few protects both
    private readonly CancellationTokenSource _failed = new();
    private readonly Thread _thread;
    private int _digitsWaiting, _digitsOfMany;
    private bool _manyCameFirst, _stopping;

    public Batcher(DigitClassifier classifier)
    {
        _classifier = classifier;
        _thread = new Thread(Run) { IsBackground = true, Name = "predictions" };
        _thread.Start();
    }

    /// <summary>Forward passes so far.</summary>
    public long Passes { get; private set; }

    /// <summary>Digits predicted so far.</summary>
    public long Digits { get; private set; }

    /// <summary>Why nothing can be predicted any more: the GPU failed. Null as long as it works.</summary>
    public CudaException? Failure { get; private set; }

    /// <summary>Cancelled when the GPU has failed.</summary>
    public CancellationToken Failed => _failed.Token;

    /// <summary>(N, 28, 28) uint8 to (N, 10) f32 probabilities. Null if the request is large and too many digits wait.</summary>
    public Task<float[]>? Predict(byte[] pixels)
    {
        Job job = new(pixels);
        lock (_few)
        {
            if (_stopping || (!job.IsFew && _digitsOfMany + job.Count > MostWaiting))
            {
                return null;
            }

            (job.IsFew ? _few : _many).Enqueue(job);
            Count(job, 1);
            if (_digitsWaiting == job.Count || _digitsWaiting >= _classifier.BatchSize)
            {
                Monitor.Pulse(_few); // the first digits wake the thread; a full batch ends its wait
            }
        }

        return job.Task;
    }

    /// <summary>Predicts what is waiting, then ends the thread.</summary>
    public void Dispose()
    {
        lock (_few)
        {
            _stopping = true;
            Monitor.Pulse(_few);
        }

        _thread.Join();
        _failed.Dispose();
    }

    private void Run()
    {
        while (Take() is { Count: > 0 } batch)
        {
            try
            {
                Predict(batch);
            }
            catch (Exception e)
            {
                batch.ForEach(job => job.TrySetException(e));
                if (e is CudaException failure)
                {
                    Failure ??= failure;
                    _failed.Cancel();
                }
            }
        }
    }

    /// <summary>Waits for a batch. It is empty when the thread has to end.</summary>
    private List<Job> Take()
    {
        List<Job> batch = [];
        lock (_few)
        {
            while (_digitsWaiting == 0 && !_stopping)
            {
                Monitor.Wait(_few);
            }

            while (!_stopping && _digitsWaiting < _classifier.BatchSize && Stopwatch.GetElapsedTime(FirstArrival()) < Window)
            {
                Monitor.Wait(_few, Window); // the timer's resolution is a millisecond
            }

            _manyCameFirst = _few.Count == 0 || (_many.Count > 0 && !_manyCameFirst);
            int digits = 0;
            foreach (Queue<Job> waiting in _manyCameFirst ? new[] { _many, _few } : [_few, _many])
            {
                while (waiting.TryPeek(out Job? next) && (digits == 0 || digits + next.Count <= _classifier.BatchSize))
                {
                    batch.Add(waiting.Dequeue());
                    Count(next, -1);
                    digits += next.Count;
                }
            }
        }

        return batch;
    }

    private void Count(Job job, int sign)
    {
        _digitsWaiting += sign * job.Count;
        _digitsOfMany += job.IsFew ? 0 : sign * job.Count;
    }

    private long FirstArrival() => Math.Min(Arrival(_few), Arrival(_many));

    private static long Arrival(Queue<Job> waiting) => waiting.TryPeek(out Job? first) ? first.Arrived : long.MaxValue;

    private void Predict(List<Job> batch)
    {
        byte[] pixels = batch is [Job only] ? only.Pixels : [.. batch.SelectMany(job => job.Pixels)];
        int count = pixels.Length / DigitDataset.PixelCount;
        float[] values = new float[count * DigitDataset.Classes];
        _classifier.Predict(pixels, values);
        Passes++;
        Digits += count;
        for (int row = 0; row < count; row++)
        {
            Span<float> own = values.AsSpan(row * DigitDataset.Classes, DigitDataset.Classes);
            Prediction.Softmax(own, own);
        }

        int from = 0;
        foreach (Job job in batch)
        {
            int to = from + job.Count * DigitDataset.Classes;
            job.SetResult(values[from..to]);
            from = to;
        }
    }

    /// <summary>A request. Continuations run on other threads, so that this one can go on with the next batch.</summary>
    private sealed class Job(byte[] pixels) : TaskCompletionSource<float[]>(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        public byte[] Pixels => pixels;

        public int Count => pixels.Length / DigitDataset.PixelCount;

        public bool IsFew => Count <= Few;

        public long Arrived { get; } = Stopwatch.GetTimestamp();
    }
}
