using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// A buffer that an optimizer keeps: one number for each trained parameter. In files, its name stands before that of the parameter. A
/// square below 0 means damage.
/// </summary>
internal sealed record OptimizerBuffer(string Name, bool IsSquare)
{
    /// <summary>The average of the weights, for <see cref="TrainingOptions.Ema"/>; it stands after the buffers of the optimizer.</summary>
    public static readonly OptimizerBuffer Average = new("ema", IsSquare: false);
}

/// <summary>What an optimizer remembers from step to step, on the host. Null stands for the buffers of the optimizer alone.</summary>
internal sealed class OptimizerState(NetworkSpec network, IReadOnlyList<OptimizerBuffer>? kept = null)
{
    /// <summary>The state before the first step from these weights.</summary>
    public OptimizerState(NetworkWeights weights, IReadOnlyList<OptimizerBuffer>? kept)
        : this(weights.Network, kept) => weights.Trained.AsSpan(0, Average?.Length ?? 0).CopyTo(Average);

    /// <summary>Steps taken so far.</summary>
    public long Step { get; set; }

    /// <summary>The buffers that are kept of each parameter, in their order.</summary>
    public IReadOnlyList<OptimizerBuffer> Kept { get; } = kept ?? new OptimizerSpec().Buffers;

    /// <summary>The values of <see cref="Kept"/>, each flat f32 in the layout of <see cref="ParameterLayout"/>.</summary>
    public float[][] Buffers { get; } =
        [.. (kept ?? new OptimizerSpec().Buffers).Select(_ => new float[network.Parameters.TrainedCount])];

    /// <summary>The average of the weights; null where there is none.</summary>
    public float[]? Average => Kept.Contains(OptimizerBuffer.Average) ? Buffers[^1] : null;

    public void CopyFrom(OptimizerState source)
    {
        Step = source.Step;
        foreach ((float[] from, float[] to) in source.Buffers.Zip(Buffers))
        {
            from.CopyTo(to, 0);
        }
    }
}
