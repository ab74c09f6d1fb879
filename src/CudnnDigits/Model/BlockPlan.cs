using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>Convolution [→ batch norm] → ReLU [→ max-pool] [→ dropout]. DropoutIndex counts the network's dropout layers from 0.</summary>
internal sealed record ConvPlan(
    Conv2dLayer Conv, BatchNorm2dLayer? Norm, MaxPool2dLayer? Pool, DropoutLayer? Dropout, int DropoutIndex, Shape Input);

/// <summary>Linear [→ ReLU [→ dropout]]. Only the last block, which gives the logits, has no ReLU.</summary>
internal sealed record DensePlan(LinearLayer Linear, ReLULayer? Relu, DropoutLayer? Dropout, int DropoutIndex);

/// <summary>A network's layers grouped into the blocks that a backend runs as one.</summary>
internal sealed class BlockPlan
{
    private const string Family = "(conv [bn] relu [pool] [dropout])* flatten (linear relu [dropout])* linear";

    private readonly NetworkSpec _network;
    private int _at;
    private int _dropouts;

    /// <summary>Groups the layers, which must be of the family that backends run.</summary>
    public BlockPlan(NetworkSpec network)
    {
        _network = network;
        while (Take<Conv2dLayer>() is { } conv)
        {
            Shape input = InputOfLast;
            BatchNorm2dLayer? norm = Take<BatchNorm2dLayer>();
            if (Take<ReLULayer>() is null || (norm is null) != conv.Bias)
            {
                throw Unsupported();
            }

            MaxPool2dLayer? pool = Take<MaxPool2dLayer>();
            (DropoutLayer? dropout, int index) = TakeDropout();
            Convs.Add(new ConvPlan(conv, norm, pool, dropout, index, input));
        }

        if (Take<FlattenLayer>() is null)
        {
            throw Unsupported();
        }

        Features = InputOfLast;
        while (Denses is not [.., { Relu: null }] && Take<LinearLayer>() is { } linear)
        {
            ReLULayer? relu = Take<ReLULayer>();
            (DropoutLayer? dropout, int index) = relu is null ? (null, 0) : TakeDropout();
            Denses.Add(new DensePlan(linear, relu, dropout, index));
        }

        if (_at != network.Layers.Count || Denses is not [.., { Relu: null, Linear.OutFeatures: DigitDataset.Classes }])
        {
            throw Unsupported();
        }
    }

    public List<ConvPlan> Convs { get; } = [];

    public List<DensePlan> Denses { get; } = [];

    /// <summary>Shape of what is flattened: the last convolution block's output or, without convolutions, the network's input.</summary>
    public Shape Features { get; }

    private Shape InputOfLast => _at == 1 ? _network.Input : _network.Outputs[_at - 2];

    private (DropoutLayer? Dropout, int Index) TakeDropout() => Take<DropoutLayer>() is { } dropout ? (dropout, _dropouts++) : (null, 0);

    private T? Take<T>()
        where T : Layer
    {
        T? layer = _at < _network.Layers.Count ? _network.Layers[_at] as T : null;
        _at += layer is null ? 0 : 1;
        return layer;
    }

    private NotSupportedException Unsupported() => new(
        $"network '{_network.Name}': backends run {Family} with a bias where there is no batch norm, and {DigitDataset.Classes} logits");
}
