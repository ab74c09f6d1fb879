using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>One finished epoch: a row of history.csv.</summary>
/// <param name="Epoch">From 1.</param>
/// <param name="TrainLoss">
/// Mean cross-entropy, in nats, over the epoch's samples, as they were trained on (augmented, dropout on, labels smoothed).
/// </param>
/// <param name="TrainAccuracy">Share of them read correctly, 0 … 1.</param>
/// <param name="ValidationLoss">Mean cross-entropy, in nats, over the validation rows after the epoch; null without validation.</param>
/// <param name="ValidationAccuracy">Share of them read correctly, 0 … 1; null without validation.</param>
/// <param name="LearningRate">Rate of the epoch's last step.</param>
/// <param name="Seconds">Training time, validation not counted.</param>
/// <param name="ImagesPerSecond">Digits trained on in a second.</param>
public sealed record EpochRecord(
    int Epoch, double TrainLoss, double TrainAccuracy, double? ValidationLoss, double? ValidationAccuracy,
    double LearningRate, double Seconds, double ImagesPerSecond)
{
    /// <summary>
    /// Whether this epoch is better than an earlier one, or the first: higher validation accuracy, then lower validation loss; without
    /// validation, lower training loss.
    /// </summary>
    internal bool IsBetterThan(EpochRecord? other) => other is null
        || (ValidationAccuracy is null ? TrainLoss < other.TrainLoss
            : ValidationAccuracy > other.ValidationAccuracy
                || (ValidationAccuracy == other.ValidationAccuracy && ValidationLoss < other.ValidationLoss));

    /// <summary>Whether this can be the epoch of this number, from 1: numbers in their ranges, validated as the first one is.</summary>
    internal static bool IsPossible(EpochRecord record, int number, EpochRecord first) =>
        record.Epoch == number && IsLoss(record.TrainLoss) && record.TrainAccuracy is >= 0 and <= 1
        && record.ValidationLoss.HasValue == first.ValidationLoss.HasValue
        && record.ValidationAccuracy.HasValue == first.ValidationLoss.HasValue
        && IsLoss(record.ValidationLoss ?? 0) && record.ValidationAccuracy is null or (>= 0 and <= 1)
        && record.LearningRate is >= 0 and <= double.MaxValue && IsTime(record.Seconds)
        && record.ImagesPerSecond is >= 0 and <= double.MaxValue;

    /// <summary>Whether this can be a mean cross-entropy; rounding may take a perfect one a little below 0.</summary>
    internal static bool IsLoss(double loss) => loss is > -1e-3 and <= double.MaxValue;

    /// <summary>Whether this can be a time, in seconds: up to thirty years.</summary>
    internal static bool IsTime(double seconds) => seconds is >= 0 and < 1e9;

    /// <summary>Each epoch, and whether it was better than every one before.</summary>
    internal static IEnumerable<(EpochRecord Record, bool Better)> Better(IEnumerable<EpochRecord> history)
    {
        EpochRecord? best = null;
        foreach (EpochRecord record in history)
        {
            bool better = record.IsBetterThan(best);
            best = better ? record : best;
            yield return (record, better);
        }
    }
}

/// <summary>Everything a run needs to go on as if it had never stopped; what last.safetensors holds. Takes the weights over.</summary>
internal sealed class TrainingState(NetworkWeights weights, IReadOnlyList<OptimizerBuffer>? kept = null)
{
    public NetworkWeights Weights { get; } = weights;

    public OptimizerState Optimizer { get; } = new(weights, kept);

    /// <summary>The weights that are validated: their average where there is one.</summary>
    public NetworkWeights Validated
    {
        get
        {
            NetworkWeights validated = Optimizer.Average is null ? Weights : Copy(Weights);
            Optimizer.Average?.CopyTo(validated.Trained, 0);
            return validated;
        }
    }

    /// <summary>Epochs finished.</summary>
    public int Epoch { get; set; }

    /// <summary>Steps taken in the epoch after those; above 0 only where a run was interrupted.</summary>
    public int StepInEpoch { get; set; }

    /// <summary>Sums of that epoch so far.</summary>
    public EpochSums Sums { get; set; }

    /// <summary>Seconds trained in that epoch so far.</summary>
    public double SecondsInEpoch { get; set; }

    /// <summary>The finished epochs.</summary>
    public List<EpochRecord> History { get; } = [];

    /// <summary>Weights of the best epoch so far; those at the start before the first.</summary>
    public NetworkWeights Best { get; } = Copy(weights);

    /// <summary>The best epoch so far (see <see cref="EpochRecord.IsBetterThan"/>), or null before the first.</summary>
    public EpochRecord? BestEpoch => BestOf(History);

    /// <summary>The state before the first step: from a copy of given weights, or else from fresh ones, drawn by the seed.</summary>
    public static TrainingState Fresh(NetworkSpec network, TrainingOptions options, NetworkWeights? start)
    {
        NetworkWeights weights = Initializer.Create(network, options.Seed);
        weights.CopyFrom(start ?? weights);
        return new TrainingState(weights, options.Kept);
    }

    /// <summary>Whether so many epochs were no better than the best that the run trains no further.</summary>
    public bool IsStoppedEarly(TrainingOptions options) =>
        options.EarlyStop > 0 && History.Count - (BestEpoch?.Epoch ?? 0) >= options.EarlyStop;

    /// <summary>Whether nothing is left to train.</summary>
    public bool HasEnded(TrainingOptions options) => Epoch >= options.Epochs || IsStoppedEarly(options);

    /// <summary>The weights worth keeping: the best by validation, or the last where there is none or where the options say so.</summary>
    public NetworkWeights Kept(TrainingOptions options) => KeepsBest(History, options) ? Best : Validated;

    /// <summary>The epoch of <see cref="Kept"/>, from 1; 0 before the first has ended.</summary>
    public int KeptEpoch(TrainingOptions options) => KeptEpoch(History, options);

    /// <summary>The epoch whose weights a run with these epochs keeps, from 1; 0 before the first has ended.</summary>
    public static int KeptEpoch(IReadOnlyList<EpochRecord> history, TrainingOptions options) =>
        KeepsBest(history, options) ? BestOf(history)!.Epoch : history.Count;

    /// <summary>Copies everything from a state of the same network.</summary>
    public void CopyFrom(TrainingState source)
    {
        Weights.CopyFrom(source.Weights);
        Optimizer.CopyFrom(source.Optimizer);
        Best.CopyFrom(source.Best);
        (Epoch, StepInEpoch, Sums, SecondsInEpoch) = (source.Epoch, source.StepInEpoch, source.Sums, source.SecondsInEpoch);
        History.Clear();
        History.AddRange(source.History);
    }

    /// <summary>Refuses a state, read from a file, that is none of a run's: a step that its epochs do not have, say.</summary>
    public void CheckFits(string file, TrainingOptions options, int trainingRows)
    {
        int steps = options.StepsPerEpoch(trainingRows);
        long samples = Math.Min((long)StepInEpoch * options.BatchSize, trainingRows);
        if (Epoch > options.Epochs || StepInEpoch >= steps || Optimizer.Step != (long)Epoch * steps + StepInEpoch || Sums.Samples != samples
            || History.Exists(epoch => epoch.LearningRate > options.Optimizer.LearningRate * (1 + 1e-6)) // schedules begin or peak there
            || (History is [var first, ..] && first.ValidationLoss is not null != options.Split.HoldsOut))
        {
            throw new InputException(
                $"{file}: is no state of this run: {Optimizer.Step} steps, {Epoch} epochs and {StepInEpoch} steps where the run has "
                + $"{options.Epochs} epochs of {steps}; restore its own");
        }
    }

    private static EpochRecord? BestOf(IEnumerable<EpochRecord> history) =>
        EpochRecord.Better(history).LastOrDefault(epoch => epoch.Better).Record;

    private static bool KeepsBest(IReadOnlyList<EpochRecord> history, TrainingOptions options) =>
        !options.KeepLast && history is [.., { ValidationAccuracy: not null }];

    private static NetworkWeights Copy(NetworkWeights weights)
    {
        NetworkWeights copy = new(weights.Network);
        copy.CopyFrom(weights);
        return copy;
    }
}
