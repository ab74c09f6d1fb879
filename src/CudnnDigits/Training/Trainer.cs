using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>The loss, or a weight, became NaN or infinite. The state is the last good one: that of the end of the epoch before.</summary>
public sealed class DivergedException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="epoch">Epoch in which it happened, from 1.</param>
    /// <param name="step">Step of that epoch, from 1, by which it had happened.</param>
    internal DivergedException(int epoch, int step)
        : base($"the loss or a weight became NaN or infinite in epoch {epoch}, by step {step}") => Epoch = epoch;

    /// <summary>Epoch in which it happened, from 1.</summary>
    public int Epoch { get; }
}

/// <summary>Where a run is, for a progress display.</summary>
/// <param name="Epoch">The running epoch, from 1.</param>
/// <param name="Step">Steps taken in it, at least 1.</param>
/// <param name="StepsPerEpoch">Steps in an epoch.</param>
/// <param name="Loss">Mean training loss in this epoch so far: cross-entropy, in nats.</param>
/// <param name="Accuracy">Training accuracy in this epoch so far, 0 … 1.</param>
public readonly record struct TrainingProgress(int Epoch, int Step, int StepsPerEpoch, double Loss, double Accuracy);

/// <summary>Trains a network: epochs, validation after each, schedule, early stop. Writes no files and prints nothing.</summary>
internal sealed class Trainer(ITrainingBackend backend, DigitDataset data, TrainingOptions options, TrainingState state)
{
    private readonly NetworkWeights _weights = new(backend.Network); // the backend's, before they are known to be numbers
    private readonly OptimizerState _optimizer = new(backend.Network, options.Kept);

    /// <summary>Called now and then within an epoch.</summary>
    public Action<TrainingProgress>? OnProgress { get; init; }

    /// <summary>Called after each epoch, with the state as it is then.</summary>
    public Action<TrainingState>? OnEpochEnd { get; init; }

    /// <summary>Whether the run was begun before, perhaps by a version that allowed an early stop with nothing held out.</summary>
    public bool GoesOn { private get; init; }

    /// <summary>Rows that are trained on, and rows that are held out.</summary>
    public Split Split { get; } = options.Checked().Split.Draw(data.Labels);

    private int StepsPerEpoch => options.StepsPerEpoch(Split.Training.Length);

    /// <summary>
    /// Runs until the last epoch or early stop. Cancellation ends the run between steps, and the state is that of the last step, ready to
    /// be saved. Once loss or weights are no longer numbers, the state is that of the last good epoch.
    /// </summary>
    public void Run(CancellationToken cancellation = default)
    {
        if (options is { EarlyStop: > 0, Split.HoldsOut: false } && !GoesOn)
        {
            throw new ArgumentException(
                $"EarlyStop is {options.EarlyStop}, expected 0 where nothing is held out: it goes by the validation");
        }

        if (Split.Training.Length == 0)
        {
            throw new InputException($"{data.Name}: of {data.Count} digits none is left to train on; hold out fewer, or give more");
        }

        backend.Load(state.Weights, state.Optimizer);
        while (!state.HasEnded(options))
        {
            cancellation.ThrowIfCancellationRequested();
            RunEpoch(cancellation);
            OnEpochEnd?.Invoke(state);
        }
    }

    /// <summary>Refuses digits that are too few for what is to be held out.</summary>
    public static void CheckSplit(DigitDataset data, TrainingOptions options)
    {
        Split split = options.Split.Draw(data.Labels);
        if (split.Training.Length == 0 || (options.Split.HoldsOut && split.Validation.Length == 0))
        {
            throw new InputException($"{data.Name}: too few digits, {data.Count}, " + (options.Folds > 0
                ? $"for {options.Folds} folds; give more data or fewer --folds"
                : $"to hold out {options.Validation:P0} of each class; give more data or --validation 0"));
        }
    }

    /// <summary>Loads weights into the backend and scores them on the rows held out or, if there are none, the training rows.</summary>
    public Metrics Evaluate(NetworkWeights weights)
    {
        backend.Load(weights, new OptimizerState(weights, options.Kept));
        return Metrics.Evaluate(backend, data, Split.Scored);
    }

    private void RunEpoch(CancellationToken cancellation)
    {
        int epoch = state.Epoch;
        LearningRate schedule = new(options.Schedule, options.Optimizer.LearningRate, (long)options.Epochs * StepsPerEpoch);
        int halvings = LearningRate.Halvings(EpochRecord.Better(state.History).Select(e => e.Better));
        float[] rates = [.. Enumerable.Range(0, StepsPerEpoch).Select(step => schedule.At((long)epoch * StepsPerEpoch + step, halvings))];
        backend.BeginEpoch(data, epoch, EpochOrder.Create(Split.Training, options.Seed, epoch, options.Shuffle), state.Sums);
        Stopwatch clock = Stopwatch.StartNew();
        int done = state.StepInEpoch;
        while (done < rates.Length)
        {
            int count = Math.Min(backend.StepsPerCall, rates.Length - done);
            backend.RunSteps(done, rates.AsSpan(done, count));
            done += count;
            EpochSums sums = backend.ReadSums();
            if (!double.IsFinite(sums.Loss))
            {
                throw new DivergedException(epoch + 1, done);
            }

            double samples = sums.Samples;
            OnProgress?.Invoke(new TrainingProgress(epoch + 1, done, rates.Length, sums.Loss / samples, sums.Correct / samples));
            if (cancellation.IsCancellationRequested && done < rates.Length)
            {
                TakeOver(done);
                (state.StepInEpoch, state.Sums, state.SecondsInEpoch) = (done, sums, state.SecondsInEpoch + clock.Elapsed.TotalSeconds);
                cancellation.ThrowIfCancellationRequested();
            }
        }

        FinishEpoch(backend.ReadSums(), state.SecondsInEpoch + clock.Elapsed.TotalSeconds, rates[^1]);
    }

    private void FinishEpoch(EpochSums sums, double seconds, double rate)
    {
        Metrics? validation = Split.Validation.Length > 0 ? Metrics.Evaluate(backend, data, Split.Validation) : null;
        if (validation is not null && !double.IsFinite(validation.Loss))
        {
            throw new DivergedException(state.Epoch + 1, StepsPerEpoch);
        }

        double samples = sums.Samples;
        EpochRecord record = new(
            state.Epoch + 1, sums.Loss / samples, sums.Correct / samples, validation?.Loss, validation?.Accuracy, rate, seconds,
            samples / seconds);
        bool better = record.IsBetterThan(state.BestEpoch);
        TakeOver(StepsPerEpoch);
        state.History.Add(record);
        (state.Epoch, state.StepInEpoch, state.Sums, state.SecondsInEpoch) = (state.Epoch + 1, 0, default, 0);
        if (better)
        {
            state.Best.CopyFrom(state.Validated);
        }
    }

    /// <summary>Takes the backend's weights, unless the last update spoiled them, which the loss shows a step later.</summary>
    private void TakeOver(int step)
    {
        backend.Save(_weights, _optimizer);
        if (!_weights.IsFinite)
        {
            throw new DivergedException(state.Epoch + 1, step);
        }

        state.Weights.CopyFrom(_weights);
        state.Optimizer.CopyFrom(_optimizer);
    }
}
