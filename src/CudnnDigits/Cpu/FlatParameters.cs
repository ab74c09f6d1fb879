using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// All trained parameters in one flat buffer each of weights, gradients and Adam's moments, in this backend's layout
/// (panels, padded channels); the padding stays zero. Convolution weights come first: their gradients are first summed per
/// chunk of the batch, in buffers of their own, and joined in the order of the chunks.
/// </summary>
internal sealed unsafe class FlatParameters
{
    private readonly int[] _map;

    /// <summary>Reserves the buffers.</summary>
    /// <param name="arena">Owner of the buffers.</param>
    /// <param name="layout">The host's layout.</param>
    /// <param name="length">Elements of the flat buffer.</param>
    /// <param name="convLength">Elements at its start that are convolution weights.</param>
    /// <param name="chunks">Most chunks that a batch is divided into; 0 where nothing is trained, without gradients and moments.</param>
    /// <param name="map">For each element of the host's layout, its place in the flat buffer.</param>
    public FlatParameters(NativeArena arena, ParameterLayout layout, int length, int convLength, int chunks, int[] map)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(map.Length, layout.TrainedCount);
        _map = map;
        Length = length;
        ConvLength = convLength;
        W = arena.Floats(length);
        int trained = chunks > 0 ? length : 0;
        DW = arena.Floats(trained);
        State = [.. OptimizerSpec.Buffers.Select(_ => (nint)arena.Floats(trained))];
        ChunkDW = arena.Floats((long)convLength * chunks);
    }

    public int Length { get; }

    public int ConvLength { get; }

    public float* W { get; }

    public float* DW { get; }

    /// <summary>Addresses of the optimizer's buffers, in the order of <see cref="OptimizerSpec.Buffers"/>, each (Length) f32.</summary>
    public nint[] State { get; }

    /// <summary>Gradients of the convolution weights, (chunks, ConvLength) f32.</summary>
    public float* ChunkDW { get; }

    public void Load(NetworkWeights weights, OptimizerState? optimizer)
    {
        Scatter(weights.Trained, W);
        if (optimizer is not null)
        {
            for (int i = 0; i < State.Length; i++)
            {
                Scatter(optimizer.Buffers[i], (float*)State[i]);
            }
        }
    }

    public void Save(NetworkWeights weights, OptimizerState optimizer)
    {
        Gather(W, weights.Trained);
        for (int i = 0; i < State.Length; i++)
        {
            Gather((float*)State[i], optimizer.Buffers[i]);
        }
    }

    public void SaveGradients(float[] gradients) => Gather(DW, gradients);

    private void Scatter(float[] from, float* to)
    {
        for (int i = 0; i < from.Length; i++)
        {
            to[_map[i]] = from[i];
        }
    }

    private void Gather(float* from, float[] to)
    {
        for (int i = 0; i < to.Length; i++)
        {
            to[i] = from[_map[i]];
        }
    }
}
