using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// Lets requests share forward passes: a thread of its own waits a millisecond after the first digit for more to come, then
/// predicts all that are there. Under load nobody waits for the millisecond: digits gather while a pass runs. Requests of a few
/// digits take turns with large ones, so that they wait for no more than one of those.
/// </summary>
internal sealed class Batcher : IDisposable
{
    /// <summary>Digits waiting at most in requests of more than <see cref="Few"/>; beyond that the server is too busy.</summary>
    public const int MostWaiting = 8192;

    /// <summary>Of so few digits there is always room for each connection's request.</summary>
    public const int Few = 16;

    private static readonly TimeSpan Window = TimeSpan.FromMilliseconds(1);

    private readonly DigitClassifier _classifier;
    private readonly Queue<Job> _few = new(), _many = new(); // both under the lock of the first
    private readonly Thread _thread;
    private int _digitsWaiting, _digitsOfMany;
    private bool _manyCameFirst, _stopping;

    /// <param name="classifier">Whose batch size is that of the forward passes.</param>
    public Batcher(DigitClassifier classifier)
    {
        _classifier = classifier;
        _thread = new Thread(Run) { IsBackground = true, Name = "predictions" };
        _thread.Start();
    }

    /// <summary>Forward passes so far.</summary>
    public long Passes { get; private set; }

    /// <summary>Digits read so far.</summary>
    public long Digits { get; private set; }

    /// <summary>Probabilities of some digits.</summary>
    /// <param name="pixels">(N, 28, 28) uint8; taken over.</param>
    /// <returns>(N, 10) f32; null where there are many and too many wait already.</returns>
    public Task<float[]>? Predict(byte[] pixels)
    {
        Job job = new(pixels, Stopwatch.GetTimestamp());
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
                Monitor.Pulse(_few); // the first wakes the thread, a full batch ends its wait
            }
        }

        return job.Result.Task;
    }

    /// <summary>Answers what is waiting, then ends.</summary>
    public void Dispose()
    {
        lock (_few)
        {
            _stopping = true;
            Monitor.Pulse(_few);
        }

        _thread.Join();
    }

    private void Run()
    {
        List<Job> batch = [];
        while (Take(batch))
        {
            try
            {
                Predict(batch);
            }
            catch (Exception e)
            {
                batch.ForEach(job => job.Result.TrySetException(e));
            }

            batch.Clear();
        }
    }

    /// <summary>Waits for a batch; false at the end.</summary>
    private bool Take(List<Job> batch)
    {
        lock (_few)
        {
            while (_digitsWaiting == 0)
            {
                if (_stopping)
                {
                    return false;
                }

                Monitor.Wait(_few);
            }

            while (!_stopping && _digitsWaiting < _classifier.BatchSize && Stopwatch.GetElapsedTime(FirstArrival()) < Window)
            {
                Monitor.Wait(_few, Window); // the timer knows no less than a millisecond
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

            return true;
        }
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
        float[] logits = new float[count * DigitDataset.Classes];
        _classifier.Predict(pixels, logits);
        Passes++;
        Digits += count;
        int row = 0;
        foreach (Job job in batch)
        {
            float[] probabilities = new float[job.Count * DigitDataset.Classes];
            for (int i = 0; i < job.Count; i++, row++)
            {
                Prediction.Softmax(logits.AsSpan(row * DigitDataset.Classes, DigitDataset.Classes), probabilities.AsSpan(i * DigitDataset.Classes, DigitDataset.Classes));
            }

            job.Result.SetResult(probabilities);
        }
    }

    private sealed record Job(byte[] Pixels, long Arrived)
    {
        public int Count => Pixels.Length / DigitDataset.PixelCount;

        public bool IsFew => Count <= Few;

        /// <summary>Whoever waits goes on elsewhere: the thread of predictions has the next batch to see to.</summary>
        public TaskCompletionSource<float[]> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
