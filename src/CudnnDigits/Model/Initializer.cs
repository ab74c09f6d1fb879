using CudnnDigits.Numerics;

namespace CudnnDigits.Model;

/// <summary>
/// PyTorch's default initial weights: Kaiming-uniform with a = √5, which is U(±1/√fan_in), for convolution and linear
/// weights; U(±1/√fan_in) for their biases; 1 and 0 for batch normalization. Source: He et al. 2015; torch.nn reset_parameters.
/// </summary>
internal static class Initializer
{
    /// <summary>Fresh weights, the same for the same seed on every backend.</summary>
    /// <param name="network">The network.</param>
    /// <param name="seed">The run's seed.</param>
    public static NetworkWeights Create(NetworkSpec network, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(network);
        NetworkWeights weights = new(network);
        Philox random = new(seed);
        uint index = 0;
        foreach (ParameterSlice slice in network.Parameters.Trained)
        {
            Span<float> values = weights.Slice(slice);
            switch (slice.Layer)
            {
                case BatchNorm2dLayer:
                    values.Fill(slice.Name.EndsWith(".weight", StringComparison.Ordinal) ? 1 : 0);
                    break;
                case Conv2dLayer conv:
                    FillUniform(values, random, index, conv.InChannels * conv.Kernel * conv.Kernel);
                    break;
                case LinearLayer linear:
                    FillUniform(values, random, index, linear.InFeatures);
                    break;
                default:
                    throw new ArgumentException($"no initial weights are known for {slice.Name}");
            }

            index++;
        }

        foreach (ParameterSlice slice in network.Parameters.Statistics)
        {
            weights.Slice(slice).Fill(slice.Name.EndsWith(".running_var", StringComparison.Ordinal) ? 1 : 0);
        }

        return weights;
    }

    private static void FillUniform(Span<float> values, Philox random, uint index, int fanIn)
    {
        uint[] words = new uint[values.Length];
        random.Fill(words, index, epoch: 0, RandomPurpose.InitialWeights);
        float bound = (float)(1 / Math.Sqrt(fanIn));
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (2 * Philox.ToUniform(words[i]) - 1) * bound;
        }
    }
}
