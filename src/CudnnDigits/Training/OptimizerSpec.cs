namespace CudnnDigits.Training;

/// <summary>
/// The optimizer: Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019), as torch.optim.AdamW. Weight decay 0
/// is plain Adam.
/// </summary>
public sealed record OptimizerSpec
{
    private static readonly IReadOnlyList<OptimizerBuffer> OfAdam =
        [new("adam.exp_avg", IsSquare: false), new("adam.exp_avg_sq", IsSquare: true)];

    /// <summary>Learning rate, above 0: the peak for one-cycle, the start for plateau.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Decoupled weight decay, 0 … 100: each step takes the learning rate times so much off every parameter.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Decay of the running mean of the gradients, 0 ≤ β₁ &lt; 1.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the running mean of their squares, 0 ≤ β₂ &lt; 1.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>ε, 1e-12 … 1: added to the root of the mean square, so that nothing is divided by 0.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>What it keeps of each parameter: running means of the gradients and of their squares.</summary>
    internal IReadOnlyList<OptimizerBuffer> Buffers { get; } = OfAdam;

    /// <summary>What a training with this <see cref="TrainingOptions.Ema"/> keeps of each parameter.</summary>
    internal IReadOnlyList<OptimizerBuffer> Kept(double ema) => ema > 0 ? [.. Buffers, OptimizerBuffer.Average] : Buffers;
}
