namespace CudnnDigits.Model;

/// <summary>All a network has learned, in the host's memory, in PyTorch's layouts (see <see cref="ParameterLayout"/>).</summary>
/// <param name="network">The network.</param>
public sealed class NetworkWeights(NetworkSpec network)
{
    /// <summary>The network these weights are for.</summary>
    public NetworkSpec Network { get; } = network;

    /// <summary>Weights and biases, flat, f32.</summary>
    public float[] Trained { get; } = new float[network.Parameters.TrainedCount];

    /// <summary>Running means and variances, flat, f32.</summary>
    public float[] Statistics { get; } = new float[network.Parameters.StatisticsCount];

    /// <summary>Whether every value is a number: neither NaN nor infinite.</summary>
    public bool IsFinite => Array.TrueForAll(Trained, float.IsFinite) && Array.TrueForAll(Statistics, float.IsFinite);

    /// <summary>The elements of one tensor, by its state_dict name.</summary>
    /// <param name="name">Such as "conv1.weight".</param>
    public Span<float> this[string name] => Slice(Network.Parameters[name]);

    /// <summary>The elements of one tensor.</summary>
    /// <param name="slice">A slice of this network's layout.</param>
    public Span<float> Slice(ParameterSlice slice)
    {
        ArgumentNullException.ThrowIfNull(slice);
        float[] buffer = Network.Parameters.Statistics.Contains(slice) ? Statistics : Trained;
        return buffer.AsSpan(slice.Offset, slice.Size);
    }

    /// <summary>Copies everything from weights of the same network.</summary>
    /// <param name="source">Where from.</param>
    public void CopyFrom(NetworkWeights source)
    {
        ArgumentNullException.ThrowIfNull(source);
        source.Trained.CopyTo(Trained, 0);
        source.Statistics.CopyTo(Statistics, 0);
    }
}
