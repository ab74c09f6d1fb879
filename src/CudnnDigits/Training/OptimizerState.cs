using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>A buffer that an optimizer keeps: one number for each trained parameter.</summary>
/// <param name="Name">What its tensors are called in files, before the parameter's name.</param>
/// <param name="IsSquare">Whether it holds squares, so that a number below 0 means damage.</param>
internal sealed record OptimizerBuffer(string Name, bool IsSquare);

/// <summary>What an optimizer remembers from step to step, on the host.</summary>
/// <param name="network">The network.</param>
internal sealed class OptimizerState(NetworkSpec network)
{
    /// <summary>Steps taken so far.</summary>
    public long Step { get; set; }

    /// <summary>
    /// The buffers in the order of <see cref="OptimizerSpec.Buffers"/>, each flat f32 in the layout of <see cref="ParameterLayout"/>.
    /// </summary>
    public float[][] Buffers { get; } = [.. OptimizerSpec.Buffers.Select(_ => new float[network.Parameters.TrainedCount])];

    /// <summary>Copies everything from a state of the same network.</summary>
    /// <param name="source">Where from.</param>
    public void CopyFrom(OptimizerState source)
    {
        ArgumentNullException.ThrowIfNull(source);
        Step = source.Step;
        foreach ((float[] from, float[] to) in source.Buffers.Zip(Buffers))
        {
            from.CopyTo(to, 0);
        }
    }
}
