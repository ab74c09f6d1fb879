using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Studies;

/// <summary>What <c>tune</c> searches: learning rate, batch size, schedule, dropout and augmentation.</summary>
internal static class TrialSpace
{
    public const double LeastRate = 3e-4, MostRate = 1e-2, MostDropout = 0.5, MostRotate = 20, MostShift = 0.15, MostZoom = 0.2;

    private static readonly int[] BatchSizes = [32, 64, 128, 256];

    /// <summary>One trial's options. Trial 0 is the defaults, by which the others are judged.</summary>
    /// <param name="defaults">The network's defaults, with the study's seed.</param>
    /// <param name="trial">From 0; the same trial of the same seed is always the same.</param>
    public static TrainingOptions Draw(TrainingOptions defaults, int trial)
    {
        if (trial == 0)
        {
            return defaults;
        }

        Philox random = new(defaults.Seed);
        (uint rate, uint batch, uint schedule, uint dropout) = random.Block(0, (uint)trial, 0, RandomPurpose.Tuning);
        (uint rotate, uint shift, uint zoom, _) = random.Block(1, (uint)trial, 0, RandomPurpose.Tuning);
        bool hasDropout = defaults.CreateNetwork().Layers.OfType<DropoutLayer>().Any();
        return defaults with
        {
            LearningRate = Rounded(LeastRate * Math.Pow(MostRate / LeastRate, Philox.ToUniform(rate))),
            BatchSize = BatchSizes[Philox.ToIndex(batch, BatchSizes.Length)],
            Schedule = Enum.GetValues<LearningRateSchedule>()[Philox.ToIndex(schedule, 3)],
            Dropout = hasDropout ? Math.Round(MostDropout * Philox.ToUniform(dropout), 2) : null,
            Rotate = MathF.Round((float)MostRotate * Philox.ToUniform(rotate)),
            Shift = MathF.Round((float)MostShift * Philox.ToUniform(shift), 2),
            Zoom = MathF.Round((float)MostZoom * Philox.ToUniform(zoom), 2),
        };
    }

    /// <summary>Two digits, so that a command line can say it.</summary>
    private static double Rounded(double value)
    {
        double unit = Math.Pow(10, Math.Floor(Math.Log10(value)) - 1);
        return Math.Round(Math.Round(value / unit) * unit, 12);
    }
}

/// <summary>
/// Successive halving within a budget: many trials for few epochs, the best third of them for three times as many, and so
/// on. Every rung gets the same share of the budget, and every rung trains from scratch, because a schedule spans its run.
/// Source: Jamieson, Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization".
/// </summary>
/// <param name="Epochs">Epochs of each trial of the rung.</param>
/// <param name="Trials">Trials in the rung.</param>
internal sealed record Rung(int Epochs, int Trials)
{
    private const int Factor = 3;

    /// <summary>The rungs, from the shortest trainings to the longest.</summary>
    /// <param name="epochs">Epochs of the longest.</param>
    /// <param name="budget">Epochs in all.</param>
    public static IReadOnlyList<Rung> Plan(int epochs, int budget)
    {
        List<int> lengths = [epochs];
        while (lengths[^1] >= Factor)
        {
            lengths.Add((int)Math.Round((double)lengths[^1] / Factor));
        }

        lengths.Reverse();
        return [.. lengths.Select(length => new Rung(length, budget / lengths.Count / length))];
    }

    /// <summary>The least budget whose last rung has the defaults and one more to compare.</summary>
    public static int LeastBudget(int epochs)
    {
        int budget = 2 * epochs;
        while (Plan(epochs, budget)[^1].Trials < 2)
        {
            budget += epochs;
        }

        return budget;
    }
}
