namespace CudnnDigits.Model;

/// <summary>One tensor in a flat float32 buffer, under its PyTorch name, in its PyTorch shape; the offset counts elements.</summary>
internal sealed record ParameterSlice(string Name, IReadOnlyList<int> Shape, int Offset, Layer Layer)
{
    /// <summary>Number of elements.</summary>
    public int Size { get; } = Shape.Aggregate(1, (a, b) => a * b);
}

/// <summary>Where each tensor lies in two flat buffers, in PyTorch's names, order and layouts; backends load and save these.</summary>
internal sealed class ParameterLayout(IReadOnlyList<Layer> layers)
{
    /// <summary>Weights and biases.</summary>
    public IReadOnlyList<ParameterSlice> Trained { get; } = Slices(layers, layer => layer.Trained);

    /// <summary>Running means and variances of batch normalization.</summary>
    public IReadOnlyList<ParameterSlice> Statistics { get; } = Slices(layers, layer => layer.Statistics);

    public IEnumerable<ParameterSlice> All => Trained.Concat(Statistics);

    /// <summary>Elements in the flat buffer of trained parameters.</summary>
    public int TrainedCount => Trained.Sum(slice => slice.Size);

    /// <summary>Elements in the flat buffer of running statistics.</summary>
    public int StatisticsCount => Statistics.Sum(slice => slice.Size);

    /// <summary>A slice by its state_dict name, such as "conv1.weight" or "bn1.running_var".</summary>
    public ParameterSlice this[string name] => All.FirstOrDefault(slice => slice.Name == name) ?? throw new ArgumentException(
        $"there is no tensor '{name}'; there are {string.Join(", ", All.Select(slice => slice.Name))}", nameof(name));

    private static List<ParameterSlice> Slices(IReadOnlyList<Layer> layers, Func<Layer, (string Name, int[] Shape)[]> tensorsOf)
    {
        int end = 0;
        return [.. layers.SelectMany(tensorsOf, (layer, tensor) =>
        {
            ParameterSlice slice = new(tensor.Name, tensor.Shape, end, layer);
            end += slice.Size;
            return slice;
        })];
    }
}
