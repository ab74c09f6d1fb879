namespace CudnnDigits.Model;

/// <summary>All a network has learned, in the host's memory, under PyTorch's names and in its layouts.</summary>
public sealed class NetworkWeights
{
    internal NetworkWeights(NetworkSpec network)
    {
        Network = network;
        Trained = new float[network.Parameters.TrainedCount];
        Statistics = new float[network.Parameters.StatisticsCount];
    }

    /// <summary>Name of the network that these weights are for, such as "simple".</summary>
    public string Model => Network.Name;

    internal NetworkSpec Network { get; }

    /// <summary>Weights and biases, flat, f32.</summary>
    internal float[] Trained { get; }

    /// <summary>Running means and variances, flat, f32.</summary>
    internal float[] Statistics { get; }

    /// <summary>Whether every value is a number: neither NaN nor infinite.</summary>
    internal bool IsFinite => Array.TrueForAll(Trained, float.IsFinite) && Array.TrueForAll(Statistics, float.IsFinite);

    /// <summary>
    /// The elements of one tensor, f32, by its state_dict name. Weights are (out, in, row, column) of convolutions and (out, in) of
    /// linear layers.
    /// </summary>
    /// <param name="name">Such as "conv1.weight".</param>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public Span<float> this[string name] => Slice(Network.Parameters[name]);

    /// <summary>The elements of one tensor.</summary>
    internal Span<float> Slice(ParameterSlice slice) =>
        (Network.Parameters.Statistics.Contains(slice) ? Statistics : Trained).AsSpan(slice.Offset, slice.Size);

    /// <summary>Copies everything from weights of the same network.</summary>
    internal void CopyFrom(NetworkWeights source)
    {
        source.Trained.CopyTo(Trained, 0);
        source.Statistics.CopyTo(Statistics, 0);
    }
}
