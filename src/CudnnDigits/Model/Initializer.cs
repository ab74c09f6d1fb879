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
            if (slice.Layer is BatchNorm2dLayer norm)
            {
                values.Fill(slice.Name == norm.WeightName ? 1 : 0);
            }
            else
            {
                ParameterSlice weight = network.Parameters[slice.Layer.WeightName];
                FillUniform(values, random, index, fanIn: weight.Size / weight.Shape[0]);
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
