using CudnnDigits.Numerics;

namespace CudnnDigits.Model;

/// <summary>
/// PyTorch's default initial weights: Kaiming-uniform with a = √5, which is U(±1/√fan_in), for convolution and linear
/// weights; U(±1/√fan_in) for their biases; 1 and 0 for batch normalization. Source: He et al. 2015; torch.nn reset_parameters.
/// </summary>
internal static class Initializer
{
    /// <summary>Fresh weights, the same for the same seed on every backend.</summary>
    public static NetworkWeights Create(NetworkSpec network, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(network);
        NetworkWeights weights = new(network);
        Philox random = new(seed);
        foreach ((int index, ParameterSlice slice) in network.Parameters.Trained.Index())
        {
            Span<float> values = weights.Slice(slice);
            if (slice.Layer is BatchNorm2dLayer norm)
            {
                values.Fill(slice.Name == norm.WeightName ? 1 : 0);
                continue;
            }

            ParameterSlice weight = network.Parameters[slice.Layer.WeightName];
            float bound = (float)(1 / Math.Sqrt(weight.Size / weight.Shape[0])); // 1/√fan_in
            uint[] words = new uint[values.Length];
            random.Fill(words, sample: (uint)index, epoch: 0, RandomPurpose.InitialWeights);
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = (2 * Philox.ToUniform(words[i]) - 1) * bound;
            }
        }

        foreach (BatchNorm2dLayer norm in network.Layers.OfType<BatchNorm2dLayer>())
        {
            weights[norm.VarianceName].Fill(1);
        }

        return weights;
    }
}
