using System.Text.Json.Serialization;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// How to train. <see cref="For"/> gives each network's defaults; <see cref="DigitTrainer.Train"/> refuses a value out of its range.
/// </summary>
/// <example>
/// <code>
/// TrainingOptions options = TrainingOptions.For("improved") with { Epochs = 20, EarlyStop = 3, Seed = 1 };
/// </code>
/// </example>
[JsonConverter(typeof(TrainingOptionsJson))]
public sealed record TrainingOptions
{
    /// <summary>Name of the network, such as "simple".</summary>
    public required string Model { get; init; }

    /// <summary>Passes over the training rows, at least 1.</summary>
    public required int Epochs { get; init; }

    /// <summary>Samples in a step, at least 1.</summary>
    public required int BatchSize { get; init; }

    /// <summary>The optimizer, with its learning rate.</summary>
    public OptimizerSpec Optimizer { get; init; } = new();

    /// <summary>
    /// Label smoothing of the training loss, 0 ≤ ε &lt; 1, as torch.nn.CrossEntropyLoss: the target of the label's class is 1 − ε, and all
    /// classes share ε alike. The validation loss is plain.
    /// </summary>
    public double LabelSmoothing { get; init; }

    /// <summary>
    /// Decay of an exponential moving average of the weights, 0 ≤ decay &lt; 1; 0 keeps no average. The average is validated and kept in
    /// place of the weights, which are trained on as without it. After step t, counted from 1, the decay is at most (1 + t) / (10 + t), as
    /// in TensorFlow's ExponentialMovingAverage with num_updates, so that the first weights are soon forgotten. Running statistics of batch
    /// norm are those of the weights: they are moving averages already, and with them the average of improved on built-in digits has the
    /// lower validation loss (0.008 in place of 0.029 after 4 epochs at a constant rate).
    /// </summary>
    public double Ema { get; init; }

    /// <summary>Schedule of the learning rate.</summary>
    public LearningRateSchedule Schedule { get; init; } = LearningRateSchedule.OneCycle;

    /// <summary>Keys everything random.</summary>
    public ulong Seed { get; init; }

    /// <summary>Share of each class held out, 0 … 0.9.</summary>
    public double Validation { get; init; } = 0.2;

    /// <summary>
    /// Cross-validation: number of folds, at least 2, of which <see cref="Fold"/> is held out; 0 holds out <see cref="Validation"/>.
    /// </summary>
    public int Folds { get; init; }

    /// <summary>The fold held out, 1 … <see cref="Folds"/>; 0 where there are no folds.</summary>
    public int Fold { get; init; }

    /// <summary>
    /// Share of each class kept away from training and validation alike, to judge what validation was used to choose; 0 ≤ share, with
    /// <see cref="Validation"/> less than 1.
    /// </summary>
    public double Test { get; init; }

    /// <summary>
    /// Keeps the last epoch's weights even where an earlier epoch validated better: for figures that nothing was picked by.
    /// </summary>
    public bool KeepLast { get; init; }

    /// <summary>Ends the run after so many epochs without better validation, for which digits must be held out; 0 never does.</summary>
    public int EarlyStop { get; init; }

    /// <summary>How each digit is changed anew in each epoch.</summary>
    public AugmentationSpec Augmentation { get; init; }

    /// <summary>Every dropout rate, 0 ≤ rate &lt; 1, or null for the network's own.</summary>
    public double? Dropout { get; init; }

    /// <summary>Whether each epoch has an order of its own; false keeps the file's.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>What is held out.</summary>
    /// <summary>What is kept of each parameter from step to step.</summary>
    internal IReadOnlyList<OptimizerBuffer> Kept => Optimizer.Kept(Ema);

    internal SplitSpec Split => new(Seed, Validation, Folds, Fold, Test);

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
            string names = InputException.OneOf(Enum.GetNames<LearningRateSchedule>());
            throw new ArgumentException($"there is no schedule {(int)chosen}; choose {names}", nameof(schedule));
        }

        TrainingDefaults defaults = Named(model, nameof(model)).Training;
        return new TrainingOptions
        {
            Model = model,
            Epochs = defaults.Epochs,
            BatchSize = defaults.BatchSize,
            Optimizer = new OptimizerSpec { LearningRate = chosen == LearningRateSchedule.OneCycle ? 3e-3 : 1e-3 },
            Schedule = chosen,
            Augmentation = defaults.Augmentation,
        };
    }

    /// <summary>The network, with the dropout rates to train with.</summary>
    internal NetworkSpec CreateNetwork()
    {
        NetworkSpec network = Named(Model);
        return Dropout is { } rate ? network.WithDropout(rate) : network;
    }

    /// <summary>Refuses what nothing can be trained with: a number out of its range, or none.</summary>
    internal TrainingOptions Checked()
    {
        Named(Model);
        return TrainingField.All.FirstOrDefault(field => !field.Holds(this)) is not { } wrong ? this
            : throw new ArgumentException($"{wrong.Name} is {wrong.Text(this)}, expected {wrong.Expected}");
    }

    /// <summary>Steps in one epoch over so many rows.</summary>
    internal int StepsPerEpoch(int trainingRows) => (int)(((long)trainingRows + BatchSize - 1) / BatchSize);

    private static NetworkSpec Named(string model, string? parameter = null) => DigitNetworks.Find(model)
        ?? throw new ArgumentException($"no network is called '{model}'; choose {InputException.OneOf(DigitNetworks.Names)}", parameter);
}
