using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// How to train. <see cref="For"/> gives each network's defaults; <see cref="DigitTrainer.Train"/> refuses what is out of its range.
/// </summary>
/// <example>
/// <code>
/// TrainingOptions options = TrainingOptions.For("improved") with { Epochs = 20, EarlyStop = 3, Seed = 1 };
/// </code>
/// </example>
public sealed record TrainingOptions
{
    /// <summary>Name of the network, such as "simple".</summary>
    public required string Model { get; init; }

    /// <summary>Passes over the training rows, at least 1.</summary>
    public required int Epochs { get; init; }

    /// <summary>Samples in a step, at least 1.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Adam's learning rate, above 0: the peak for one-cycle, the start for plateau.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Decoupled weight decay, as torch.optim.AdamW's, at least 0; 0 is plain Adam.</summary>
    public double WeightDecay { get; init; }

    /// <summary>How the learning rate moves.</summary>
    public required LearningRateSchedule Schedule { get; init; }

    /// <summary>Keys everything random.</summary>
    public ulong Seed { get; init; }

    /// <summary>Share of each class held out, 0 ≤ share &lt; 1.</summary>
    public double Validation { get; init; } = 0.2;

    /// <summary>
    /// Cross-validation: number of folds, at least 2, of which <see cref="Fold"/> is held out; 0 holds out <see cref="Validation"/>.
    /// </summary>
    public int Folds { get; init; }

    /// <summary>The fold held out, 1 … <see cref="Folds"/>; 0 where there are no folds.</summary>
    public int Fold { get; init; }

    /// <summary>Share of each class kept away from training and validation alike, to judge what validation was used to choose; 0 ≤ share, with <see cref="Validation"/> less than 1.</summary>
    public double Test { get; init; }

    /// <summary>Keeps the last epoch's weights even where an earlier epoch validated better: for figures that nothing was picked by.</summary>
    public bool KeepLast { get; init; }

    /// <summary>Ends the run after so many epochs without better validation, for which digits must be held out; 0 never does.</summary>
    public int EarlyStop { get; init; }

    /// <summary>Augmentation: rotation range, ± degrees, 0 … 180. Each digit is turned anew in each epoch.</summary>
    public float Rotate { get; init; }

    /// <summary>Augmentation: shift range along each axis, ± share of the side, 0 … 0.5.</summary>
    public float Shift { get; init; }

    /// <summary>Augmentation: zoom range, ± share of the size, 0 … 0.5.</summary>
    public float Zoom { get; init; }

    /// <summary>Every dropout rate, 0 ≤ rate &lt; 1, or null for the network's own.</summary>
    public double? Dropout { get; init; }

    /// <summary>Whether each epoch has an order of its own; false keeps the file's.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>What is held out.</summary>
    internal SplitSpec Split => new(Seed, Validation, Folds, Fold, Test);

    /// <summary>Rotation, shift and zoom together.</summary>
    internal AugmentationSpec Augmentation => new(Rotate, Shift, Zoom);

    /// <summary>A network's defaults; docs/performance.md says what they reach.</summary>
    /// <param name="model">Name of the network, such as "simple".</param>
    /// <param name="schedule">The schedule, or null for one-cycle; the default learning rate depends on it.</param>
    /// <exception cref="ArgumentException">There is no network of that name, or no such schedule.</exception>
    public static TrainingOptions For(string model, LearningRateSchedule? schedule = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        LearningRateSchedule chosen = schedule ?? LearningRateSchedule.OneCycle;
        if (!Enum.IsDefined(chosen))
        {
            throw new ArgumentException($"there is no schedule {(int)chosen}; choose {string.Join(", ", Enum.GetNames<LearningRateSchedule>())}", nameof(schedule));
        }

        TrainingDefaults defaults = Named(model, nameof(model)).Training;
        return new TrainingOptions
        {
            Model = model,
            Epochs = defaults.Epochs,
            BatchSize = defaults.BatchSize,
            LearningRate = chosen == LearningRateSchedule.OneCycle ? 3e-3 : 1e-3,
            Schedule = chosen,
            Rotate = defaults.Augmentation.RotateDegrees,
            Shift = defaults.Augmentation.ShiftFraction,
            Zoom = defaults.Augmentation.ZoomFraction,
        };
    }

    /// <summary>The network, with the dropout rates to train with.</summary>
    /// <exception cref="ArgumentException">There is no network of that name.</exception>
    internal NetworkSpec CreateNetwork()
    {
        NetworkSpec network = Named(Model);
        return Dropout is { } rate ? network.WithDropout(rate) : network;
    }

    /// <summary>Refuses what nothing can be trained with.</summary>
    /// <exception cref="ArgumentException">A number is out of its range, or none.</exception>
    internal TrainingOptions Checked()
    {
        Named(Model);
        Check(Epochs >= 1, nameof(Epochs), Epochs, "at least 1");
        Check(BatchSize >= 1, nameof(BatchSize), BatchSize, "at least 1");
        Check(LearningRate > 0 && double.IsFinite(LearningRate), nameof(LearningRate), LearningRate, "a number above 0");
        Check(WeightDecay >= 0 && double.IsFinite(WeightDecay), nameof(WeightDecay), WeightDecay, "0 or more");
        Check(Validation is >= 0 and < 1, nameof(Validation), Validation, "0 or more, less than 1");
        Check(Test >= 0 && Validation + Test < 1, nameof(Test), Test, "0 or more, with Validation less than 1");
        Check(Dropout is null or (>= 0 and < 1), nameof(Dropout), Dropout ?? 0, "0 or more, less than 1");
        Check(Rotate is >= 0 and <= 180, nameof(Rotate), Rotate, "0 to 180");
        Check(Shift is >= 0 and <= 0.5f, nameof(Shift), Shift, "0 to 0.5");
        Check(Zoom is >= 0 and <= 0.5f, nameof(Zoom), Zoom, "0 to 0.5");
        Check(EarlyStop >= 0, nameof(EarlyStop), EarlyStop, "0 or more");
        Check(Folds is 0 or >= 2, nameof(Folds), Folds, "0, or 2 or more");
        Check(Fold >= (Folds > 0 ? 1 : 0) && Fold <= Folds, nameof(Fold), Fold, "a fold from 1 to Folds, or 0 where there are none");
        Check(Enum.IsDefined(Schedule), nameof(Schedule), (int)Schedule, "one of the schedules");
        return this;

        static void Check(bool holds, string name, double value, string expected)
        {
            if (!holds)
            {
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{name} is {value}, expected {expected}"));
            }
        }
    }

    /// <summary>Steps in one epoch.</summary>
    /// <param name="trainingRows">Rows trained on.</param>
    internal int StepsPerEpoch(int trainingRows) => (int)(((long)trainingRows + BatchSize - 1) / BatchSize);

    private static NetworkSpec Named(string model, string? parameter = null) => DigitNetworks.Find(model)
        ?? throw new ArgumentException($"no network is called '{model}'; choose {string.Join(" or ", DigitNetworks.Names)}", parameter);
}
