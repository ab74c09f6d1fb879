namespace CudnnDigits.Model;

/// <summary>Convolution [→ batch norm] → ReLU [→ max-pool] [→ dropout], as found in a network.</summary>
internal sealed record ConvPlan(Conv2dLayer Conv, BatchNorm2dLayer? Norm, MaxPool2dLayer? Pool, DropoutLayer? Dropout, int DropoutIndex, Shape Input);

/// <summary>Linear [→ ReLU [→ dropout]], as found in a network.</summary>
internal sealed record DensePlan(LinearLayer Linear, ReLULayer? Relu, DropoutLayer? Dropout, int DropoutIndex);

/// <summary>A network's layers grouped into the blocks that a backend runs as one.</summary>
internal sealed class BlockPlan
{
    private readonly NetworkSpec _network;
    private int _at;
    private int _dropouts;

    /// <summary>Groups the layers.</summary>
    /// <exception cref="NotSupportedException">The layers do not follow the pattern of a digit CNN.</exception>
    public BlockPlan(NetworkSpec network)
    {
        _network = network;
        while (Take<Conv2dLayer>() is { } conv)
        {
            Shape input = _at == 1 ? network.Input : network.Outputs[_at - 2];
            BatchNorm2dLayer? norm = Take<BatchNorm2dLayer>();
            if (Take<ReLULayer>() is null || (norm is null) != conv.Bias)
            {
                throw Unsupported();
            }

            MaxPool2dLayer? pool = Take<MaxPool2dLayer>();
            (DropoutLayer? dropout, int index) = TakeDropout();
            Convs.Add(new ConvPlan(conv, norm, pool, dropout, index, input));
        }

        if (Convs.Count == 0 || Take<FlattenLayer>() is null)
        {
            throw Unsupported();
        }

        Features = network.Outputs[_at - 2];
        while (Take<LinearLayer>() is { } linear)
        {
            ReLULayer? relu = Take<ReLULayer>();
            (DropoutLayer? dropout, int index) = relu is null ? (null, 0) : TakeDropout();
            Denses.Add(new DensePlan(linear, relu, dropout, index));
        }

        if (_at != network.Layers.Count || Denses.Count == 0 || Denses[^1].Relu is not null)
        {
            throw Unsupported();
        }
    }

    public List<ConvPlan> Convs { get; } = [];

    public List<DensePlan> Denses { get; } = [];

    /// <summary>What is flattened: the output of the last block.</summary>
    public Shape Features { get; }

    private (DropoutLayer? Dropout, int Index) TakeDropout() => Take<DropoutLayer>() is { } dropout ? (dropout, _dropouts++) : (null, 0);

    private T? Take<T>()
        where T : Layer
    {
        T? layer = _at < _network.Layers.Count ? _network.Layers[_at] as T : null;
        _at += layer is null ? 0 : 1;
        return layer;
    }

    private NotSupportedException Unsupported() => new(
        $"network '{_network.Name}': backends run (conv [bn] relu [pool] [dropout])+ flatten (linear relu [dropout])* linear, with a bias where there is no batch norm");
}
