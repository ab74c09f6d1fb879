using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// All trained parameters in one flat buffer each of weights, gradients and Adam's moments, in this backend's layout
/// (panels, padded channels); the padding stays zero. Convolution weights come first: their gradients are first summed per
/// chunk of the batch, in buffers of their own, and joined in the order of the chunks.
/// </summary>
internal sealed unsafe class FlatParameters
{
    private readonly List<int> _map = []; // for each element of the host's layout, its place in the flat buffer

    public int Length { get; private set; }

    public int ConvLength { get; init; }

    public float* W { get; private set; }

    public float* DW { get; private set; }

    /// <summary>Addresses of the optimizer's buffers, in the order of <see cref="OptimizerState.Kept"/>, each (Length) f32.</summary>
    public nint[] State { get; private set; } = [];

    /// <summary>The average of the weights; null where there is none.</summary>
    public float* Average { get; private set; }

    /// <summary>Gradients of the convolution weights, (chunks, ConvLength) f32.</summary>
    public float* ChunkDW { get; private set; }

    /// <summary>Sets room aside and gives its place; the first that is set aside is for all convolution weights.</summary>
    public int Reserve(int count) => (Length += count) - count;

    /// <summary>Appends the places of the host's next elements.</summary>
    public void Map(IEnumerable<int> places) => _map.AddRange(places);

    /// <summary>Makes the buffers once all room is set aside; no gradients and moments where there are no chunks to train on.</summary>
    public void Allocate(NativeArena arena, int chunks, IReadOnlyList<OptimizerBuffer> kept)
    {
        int trained = chunks > 0 ? Length : 0;
        W = arena.Floats(Length);
        DW = arena.Floats(trained);
        State = [.. kept.Select(_ => (nint)arena.Floats(trained))];
        Average = kept.Contains(OptimizerBuffer.Average) ? (float*)State[^1] : null;
        ChunkDW = arena.Floats((long)ConvLength * chunks);
    }

    /// <summary>Exchanges the weights with their average, where there is one, before and after a prediction.</summary>
    public void ExchangeAverage()
    {
        float* average = Average;
        for (int i = 0; average != null && i < Length; i++)
        {
            (W[i], average[i]) = (average[i], W[i]);
        }
    }

    /// <summary>Copies values from a buffer of this layout to the host, or back.</summary>
    public void Copy(float[] host, float* own, bool save)
    {
        for (int i = 0; i < host.Length; i++)
        {
            host[i] = own[_map[i]] = save ? own[_map[i]] : host[i];
        }
    }
}
