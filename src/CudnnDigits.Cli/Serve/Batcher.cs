using System.Diagnostics;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// Lets requests share forward passes: a thread of its own waits a millisecond after the first digit for more to come, then
/// predicts all that are there. Under load nobody waits for the millisecond: digits gather while a pass runs.
/// </summary>
internal sealed class Batcher : IDisposable
{
    /// <summary>Digits waiting at most; beyond that the server is too busy.</summary>
    public const int MostWaiting = 8192;

    private static readonly TimeSpan Window = TimeSpan.FromMilliseconds(1);

    private readonly DigitClassifier _classifier;
    private readonly Queue<Job> _waiting = new();
    private readonly Thread _thread;
    private int _digitsWaiting;
    private bool _stopping;

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
    /// <returns>(N, 10) f32; null where too many digits wait already.</returns>
    public Task<float[]>? Predict(byte[] pixels)
    {
        Job job = new(pixels, Stopwatch.GetTimestamp());
        lock (_waiting)
        {
            if (_stopping || _digitsWaiting + job.Count > MostWaiting)
            {
                return null;
            }

            _waiting.Enqueue(job);
            _digitsWaiting += job.Count;
            if (_waiting.Count == 1 || _digitsWaiting >= _classifier.BatchSize)
            {
                Monitor.Pulse(_waiting); // the first wakes the thread, a full batch ends its wait
            }
        }

        return job.Result.Task;
    }

    /// <summary>Answers what is waiting, then ends.</summary>
    public void Dispose()
    {
        lock (_waiting)
        {
            _stopping = true;
            Monitor.Pulse(_waiting);
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
        lock (_waiting)
        {
            while (_waiting.Count == 0)
            {
                if (_stopping)
                {
                    return false;
                }

                Monitor.Wait(_waiting);
            }

            while (!_stopping && _digitsWaiting < _classifier.BatchSize && Stopwatch.GetElapsedTime(_waiting.Peek().Arrived) < Window)
            {
                Monitor.Wait(_waiting, Window); // the timer knows no less than a millisecond
            }

            int digits = 0;
            while (_waiting.TryPeek(out Job? next) && (digits == 0 || digits + next.Count <= _classifier.BatchSize))
            {
                batch.Add(_waiting.Dequeue());
                digits += next.Count;
            }

            _digitsWaiting -= digits;
            return true;
        }
    }

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

        /// <summary>Whoever waits goes on elsewhere: the thread of predictions has the next batch to see to.</summary>
        public TaskCompletionSource<float[]> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
