using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The convolutions of a step by our own kernels (native/kernels/fused), on tensor cores: what lies between two convolutions is computed
/// by the kernel that reads it, and only their outputs go through device memory.
/// </summary>
internal sealed class FusedConvolutions
{
    private readonly CudaSession _session;
    private readonly FusedNetwork _net;
    private readonly Layer[] _layers;
    private readonly Features[] _ends; // of each layer
    private readonly ulong _seed;
    private readonly int _n, _multiprocessors, _elementBytes;

    public FusedConvolutions(CudaSession session, FusedNetwork net, int n, ulong seed)
    {
        (_session, _net, _n, _seed) = (session, net, n, seed);
        (_multiprocessors, _elementBytes) = (session.Multiprocessors, (int)session.ActivationType);
        TileRoom room = new(_multiprocessors, session.SharedMemory);
        _layers = [.. net.Layers.Select((layer, i) => Plan(layer, i == 1 && net.Layers[0].IsMadeAbove ? net.Layers[0].Plan : null))];
        _ends = [.. net.Layers.Select(layer => new Features(session, layer.Pooled, n))];

        Layer Plan(FusedLayer layer, ConvPlan? first) => new(
            layer,
            first is null
                ? TileShape.Forward(layer.Plan, n, room, _elementBytes)
                : TileShape.Second(layer.Plan, first, n, room, _elementBytes),
            TileShape.BackwardData(layer.Plan, first, n, room, _elementBytes),
            TileShape.BackwardWeights(layer.Plan, first, room, _elementBytes));
    }

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms => _layers.ToDictionary(layer => layer.Of.Plan.Conv.Name, _ => "fused");

    /// <summary>Each layer's coefficients from its running statistics.</summary>
    public void PreparePrediction()
    {
        foreach (FusedLayer layer in _net.Layers.Where(layer => layer.HasNorm))
        {
            Features.UseRunningStatistics(_session, layer.Gradients(_net.Buffers, _n));
        }
    }

    /// <summary>From the input to the features.</summary>
    public void Forward(DeviceTensor state, bool training)
    {
        for (int i = 0; i < _layers.Length; i++)
        {
            FusedLayer layer = _layers[i].Of;
            if (layer.IsMadeAbove && !(training && layer.HasNorm))
            {
                continue; // the layer above makes its activation, and needs the batch's statistics at most
            }

            bool isLast = i == _layers.Length - 1;
            TileShape shape = _layers[i].Forward;
            (FirstInput first, nint firstW, int bytes) = OfFirst(i, shape.Slots);
            Batch batch = shape.Tiled(_n);
            Dropout dropout = layer.Dropout(_seed, training);
            DeviceTensor y = isLast && !training ? _net.Features : layer.Y, pooled = isLast && !training ? _net.Features : layer.Marked;
            Launch($"conv_forward_{shape.WidthOfBlock}", Grid(shape, batch), shape.SharedBytes + bytes, new ConvForward(
                batch, shape, i > 0 ? Before(_layers[i - 1].Of, training) : default, layer.W.Address,
                layer.IsMadeAbove || (layer.IsPooled && !training) ? 0 : Of(y), layer.IsPooled ? Of(pooled) : 0, state.Address, dropout,
                training ? layer.Gamma : 0, training ? default : layer.Affine, training ? layer.Statistics(_net.Buffers, _n) : default,
                first, firstW));

            bool isToBeMarked = layer.Plan.Dropout is not null && !layer.IsPooled;
            if (training && (isLast || isToBeMarked))
            {
                _ends[i].Forward(
                    state, layer.IsPooled ? layer.Marked : layer.Y, layer.Affine, isToBeMarked ? layer.Marked : null,
                    isLast ? _net.Features : null, dropout);
            }
        }
    }

    /// <summary>Gradients of all parameters of the convolutions, from the gradient of the features.</summary>
    public void Backward(DeviceTensor dFeatures)
    {
        if (_net.Layers is [.., { } last])
        {
            _ends[^1].Backward(
                dFeatures, last.Marked, last.Affine, last.Du, last.Gradients(_net.Buffers, _n), last.Dropout(_seed, true).KeepScale);
        }

        for (int i = _layers.Length - 1; i >= 0; i--)
        {
            FusedLayer layer = _layers[i].Of;
            using (_session.OpenBranch(i % CudaSession.Branches))
            {
                if (layer.IsMadeAbove)
                {
                    BackwardFirst(layer);
                }
                else
                {
                    BackwardWeights(i);
                }
            }

            if (i > 0)
            {
                (FusedLayer below, TileShape shape) = (_layers[i - 1].Of, _layers[i].BackwardData);
                bool isMade = below.IsMadeAbove;
                int bytes = shape.SharedBytes + (isMade ? First.FirstBytes(_elementBytes) : 0);
                Batch batch = shape.Tiled(_n);
                ConvBackwardData parameters = new(
                    batch, shape, layer.Gradient, layer.Turned.Address, 0, below.Affine, below.Dropout(_seed, training: true).KeepScale, 0,
                    default, default);
                Launch($"conv_backward_data_{shape.WidthOfBlock}", Grid(shape, batch), bytes, isMade
                    ? parameters with
                    {
                        First = new(
                            new(First, _net.Input.Address), below.MasterW.Address, _net.Buffers.FirstPartial.Address,
                            below.HasNorm ? 1u : 0),
                    }
                    : parameters with
                    {
                        Below = Of(below.Marked),
                        DuBelow = Of(below.Du),
                        NormBelow = below.Gradients(_net.Buffers, _n),
                    });
            }
        }
    }

    private void BackwardWeights(int i)
    {
        (FusedLayer layer, TileShape shape) = (_layers[i].Of, _layers[i].BackwardWeights);
        int groups = (shape.Outs + 63) / 64 * ((shape.Channels + 31) / 32) * ((shape.Side * shape.Side + 8) / 9);
        Batch batch = shape.TallTiled(_n);
        (int X, int Y) grid = WeightGrid(shape, batch, groups);
        (FirstInput first, nint firstW, int bytes) = OfFirst(i, shape.Slots);
        DeviceTensor partial = _net.Buffers.PartialWeights[i % CudaSession.Branches];
        Launch("conv_backward_weights", grid, shape.WeightBytes(_elementBytes) + bytes, new ConvBackwardWeights(
            batch, shape, layer.Gradient, i > 0 ? Before(_layers[i - 1].Of, training: true) : default, partial.Address,
            first, firstW), overlapped: false);
        ColumnSums.AddUp(_session, partial, grid.X, (int)layer.DW.Count, layer.DW);
    }

    /// <summary>The gradients of the first layer's parameters, from sums that were made with its du.</summary>
    private void BackwardFirst(FusedLayer layer)
    {
        (FusedBuffers buffers, TileShape first, TileShape above) = (_net.Buffers, First, _layers[1].BackwardData);
        int rows = Grid(above, above.Tiled(_n)).X, columns = TileShape.FirstSums * first.Groups;
        _session.LaunchFused("first_weights", ColumnSums.Blocks(columns), new FirstWeights(
            buffers.FirstPartial.Address, buffers.FirstSums.Address, buffers.Arrived.Address, layer.MasterW.Address,
            layer.Gradients(buffers, _n), layer.DW.Address, rows, columns, first.Outs));
    }

    /// <summary>The first layer, as the kernel sees it that makes the sums for its parameters.</summary>
    private TileShape First => TileShape.First(_layers[0].Of.Plan, _layers[1].BackwardData.Rows, pairs: 1);

    /// <summary>What layer i needs of the first one, itself or the one whose activation it makes: input, weights, shared memory.</summary>
    private (FirstInput Input, nint W, int Bytes) OfFirst(int i, int slots)
    {
        FusedLayer layer = _net.Layers[0];
        if (i > 1 || (i == 1 && !layer.IsMadeAbove))
        {
            return default;
        }

        TileShape windows = TileShape.First(layer.Plan, slots);
        FirstInput input = new(windows, _net.Input.Address);
        return i == 0
            ? (input, 0, windows.InputBytes(_elementBytes))
            : (input, layer.MasterW.Address, windows.ActivationBytes(_elementBytes));
    }

    /// <summary>How the next convolution finds a layer.</summary>
    private PreviousLayer Before(FusedLayer layer, bool training)
    {
        Dropout dropout = layer.Dropout(_seed, training);
        nint images = layer.IsMadeAbove ? 0 : Of(layer.IsChanged(training) ? layer.Marked : layer.Y);
        return new PreviousLayer(
            images, training || layer.IsMadeAbove ? layer.Affine : default, dropout.KeepScale, dropout.Threshold > 0 ? 1u : 0);
    }

    private (int X, int Y) Grid(TileShape shape, Batch batch) => batch.Grid(_multiprocessors * shape.BlocksAtOnce, shape.Groups);

    /// <summary>Blocks along x leave gradients: no more than there is room for.</summary>
    private (int X, int Y) WeightGrid(TileShape shape, Batch batch, int groups)
    {
        long ofOne = (long)shape.Outs * shape.Channels * shape.Side * shape.Side;
        (int x, int y) = batch.Grid(_multiprocessors * 2, groups);
        return ((int)Math.Min(x, _net.Buffers.MostPartialWeights / ofOne), y);
    }

    private void Launch<T>(string kernel, (int X, int Y) grid, int sharedBytes, T parameters, bool overlapped = true)
        where T : unmanaged => _session.LaunchLayer(kernel, grid, sharedBytes, parameters, overlapped);

    private nint Of(DeviceTensor images) => images.Holding(images.Count / _net.Batch * _n, _session.ActivationType);

    private sealed record Layer(FusedLayer Of, TileShape Forward, TileShape BackwardData, TileShape BackwardWeights);
}
