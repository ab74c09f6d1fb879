using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// A buffer that an optimizer keeps: one number for each trained parameter. In files, its name stands before that of the parameter. A
/// square below 0 means damage.
/// </summary>
internal sealed record OptimizerBuffer(string Name, bool IsSquare);

/// <summary>What an optimizer remembers from step to step, on the host; for <see cref="TrainingOptions.Ema"/> also the average.</summary>
internal sealed class OptimizerState(NetworkSpec network, bool averages = false)
{
    public static readonly OptimizerBuffer AverageBuffer = new("ema", IsSquare: false);

    /// <summary>The state before the first step from these weights.</summary>
    public OptimizerState(NetworkWeights weights, bool averages)
        : this(weights.Network, averages) => weights.Trained.AsSpan(0, Average?.Length ?? 0).CopyTo(Average);

    /// <summary>Steps taken so far.</summary>
    public long Step { get; set; }

    /// <summary>The buffers in the order of <see cref="Describe"/>, each flat f32 in the layout of <see cref="ParameterLayout"/>.</summary>
    public float[][] Buffers { get; } = [.. Describe(averages).Select(_ => new float[network.Parameters.TrainedCount])];

    /// <summary>The average of the weights: the last buffer. Null where there is none.</summary>
    public float[]? Average => Buffers.Length > OptimizerSpec.Buffers.Count ? Buffers[^1] : null;

    /// <summary>The optimizer's own buffers and, where there is one, the average of the weights.</summary>
    public static IReadOnlyList<OptimizerBuffer> Describe(bool averages) =>
        averages ? [.. OptimizerSpec.Buffers, AverageBuffer] : OptimizerSpec.Buffers;

    public void CopyFrom(OptimizerState source)
    {
        Step = source.Step;
        foreach ((float[] from, float[] to) in source.Buffers.Zip(Buffers))
        {
            from.CopyTo(to, 0);
        }
    }
}
