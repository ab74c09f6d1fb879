namespace CudnnDigits.Model;

/// <summary>One named tensor in a flat float32 buffer.</summary>
/// <param name="Name">PyTorch state_dict name, such as "conv1.weight".</param>
/// <param name="Shape">PyTorch shape: OIHW for convolutions, (out, in) for linear layers.</param>
/// <param name="Offset">First element in its flat buffer.</param>
/// <param name="Layer">The layer it belongs to.</param>
internal sealed record ParameterSlice(string Name, IReadOnlyList<int> Shape, int Offset, Layer Layer)
{
    /// <summary>Number of elements.</summary>
    public int Size { get; } = Shape.Aggregate(1, (a, b) => a * b);
}

/// <summary>
/// Name → offset and shape, for one flat buffer of everything Adam trains and one of the running statistics, in PyTorch's
/// names, order and layouts. Backends may keep other layouts inside; what they load and save is this one.
/// </summary>
internal sealed class ParameterLayout
{
    internal ParameterLayout(NetworkSpec network)
    {
        List<ParameterSlice> trained = [], statistics = [];
        foreach (Layer layer in network.Layers)
        {
            switch (layer)
            {
                case Conv2dLayer conv:
                    Add(trained, layer, "weight", conv.OutChannels, conv.InChannels, conv.Kernel, conv.Kernel);
                    if (conv.Bias)
                    {
                        Add(trained, layer, "bias", conv.OutChannels);
                    }

                    break;
                case BatchNorm2dLayer norm:
                    Add(trained, layer, "weight", norm.Channels);
                    Add(trained, layer, "bias", norm.Channels);
                    Add(statistics, layer, "running_mean", norm.Channels);
                    Add(statistics, layer, "running_var", norm.Channels);
                    break;
                case LinearLayer linear:
                    Add(trained, layer, "weight", linear.OutFeatures, linear.InFeatures);
                    Add(trained, layer, "bias", linear.OutFeatures);
                    break;
                default:
                    break;
            }
        }

        Trained = trained;
        Statistics = statistics;
        TrainedCount = trained.Sum(slice => slice.Size);
        StatisticsCount = statistics.Sum(slice => slice.Size);
    }

    /// <summary>What Adam trains: weights and biases.</summary>
    public IReadOnlyList<ParameterSlice> Trained { get; }

    /// <summary>Running means and variances of batch normalization.</summary>
    public IReadOnlyList<ParameterSlice> Statistics { get; }

    /// <summary>Elements in the flat buffer of trained parameters.</summary>
    public int TrainedCount { get; }

    /// <summary>Elements in the flat buffer of running statistics.</summary>
    public int StatisticsCount { get; }

    /// <summary>A slice by its state_dict name, such as "conv1.weight" or "bn1.running_var".</summary>
    /// <param name="name">The name.</param>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public ParameterSlice this[string name] => Trained.Concat(Statistics).FirstOrDefault(slice => slice.Name == name)
        ?? throw new ArgumentException(
            $"there is no tensor '{name}'; there are {string.Join(", ", Trained.Concat(Statistics).Select(slice => slice.Name))}", nameof(name));

    private static void Add(List<ParameterSlice> slices, Layer layer, string name, params int[] shape) =>
        slices.Add(new ParameterSlice($"{layer.Name}.{name}", shape, slices.Sum(slice => slice.Size), layer));
}
