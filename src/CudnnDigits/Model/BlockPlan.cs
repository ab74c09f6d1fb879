using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>Convolution [→ batch norm] → ReLU [→ max-pool] [→ dropout], as found in a network.</summary>
/// <param name="Conv">The convolution; it has a bias where there is no batch norm.</param>
/// <param name="Norm">The batch norm, or null.</param>
/// <param name="Pool">The max-pool, or null.</param>
/// <param name="Dropout">The dropout, or null.</param>
/// <param name="DropoutIndex">Which of the network's dropout layers it is, from 0; 0 without dropout.</param>
/// <param name="Input">Shape of the convolution's input.</param>
internal sealed record ConvPlan(
    Conv2dLayer Conv, BatchNorm2dLayer? Norm, MaxPool2dLayer? Pool, DropoutLayer? Dropout, int DropoutIndex, Shape Input);

/// <summary>Linear [→ ReLU [→ dropout]], as found in a network.</summary>
/// <param name="Linear">The linear layer.</param>
/// <param name="Relu">The ReLU; null in the last block alone, which gives the logits.</param>
/// <param name="Dropout">The dropout, or null.</param>
/// <param name="DropoutIndex">Which of the network's dropout layers it is, from 0; 0 without dropout.</param>
internal sealed record DensePlan(LinearLayer Linear, ReLULayer? Relu, DropoutLayer? Dropout, int DropoutIndex);

/// <summary>A network's layers grouped into the blocks that a backend runs as one.</summary>
internal sealed class BlockPlan
{
    private const string Family = "(conv [bn] relu [pool] [dropout])* flatten (linear relu [dropout])* linear";

    private readonly NetworkSpec _network;
    private int _at;
    private int _dropouts;

    /// <summary>Groups the layers.</summary>
    /// <exception cref="NotSupportedException">The layers are not of the family that backends run.</exception>
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

    /// <summary>The convolution blocks, first to last; there may be none.</summary>
    public List<ConvPlan> Convs { get; } = [];

    /// <summary>The dense blocks, first to last; the last one gives the logits.</summary>
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
