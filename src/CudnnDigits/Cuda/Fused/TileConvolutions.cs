using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The convolutions of a step by our own kernels (native/kernels/family), on tensor cores: what lies between two convolutions is computed
/// by the kernel that reads it, and only their outputs go through device memory.
/// </summary>
internal sealed class TileConvolutions
{
    private readonly CudaSession _session;
    private readonly TileNetwork _net;
    private readonly Layer[] _layers;
    private readonly Features[] _ends; // of each layer
    private readonly ulong _seed;
    private readonly TileShape _first; // of the gradient of the first one's weights
    private readonly int _n, _multiprocessors, _elementBytes;

    public TileConvolutions(CudaSession session, TileNetwork net, int n, ulong seed)
    {
        (_session, _net, _n, _seed) = (session, net, n, seed);
        (_multiprocessors, _elementBytes) = (session.Multiprocessors, (int)session.ActivationType);
        _ = session.FamilyKernels; // loaded now: not while something is captured
        _layers = [.. net.Layers.Select((layer, i) => Plan(layer, i == 1 && !net.Layers[0].HasDu ? net.Layers[0].Plan : null))];
        _ends = [.. net.Layers.Select(layer => layer.IsPooledAtOnce
            ? new Features(session, layer.Pooled, pools: false, n)
            : new Features(session, layer.Output, layer.Plan.Pool is not null, n))];
        if (net.Layers is [{ } first, ..])
        {
            _first = first.HasDu
                ? TileShape.FirstBackwardWeights(first.Plan, n)
                : TileShape.FirstBelow(first.Plan, n, _layers[1].BackwardData.Rows);
        }

        Layer Plan(TileLayer layer, ConvPlan? first) => layer.Plan.Input.C == 1
            ? new(layer, TileShape.First(layer.Plan, n), default, default)
            : new(layer, TileShape.Forward(layer.Plan, n, _multiprocessors, _elementBytes),
                TileShape.BackwardData(layer.Plan, first, n, _multiprocessors, _elementBytes),
                TileShape.BackwardWeights(layer.Plan, n, _elementBytes));
    }

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms => _layers.ToDictionary(layer => layer.Of.Plan.Conv.Name, _ => "fused");

    /// <summary>Each layer's coefficients from its running statistics.</summary>
    public void PreparePrediction()
    {
        foreach (TileLayer layer in _net.Layers.Where(layer => layer.HasNorm))
        {
            Features.UseRunningStatistics(_session, layer.Gradients(_net.Buffers, _n));
        }
    }

    /// <summary>From the input to the features.</summary>
    public void Forward(DeviceTensor state, bool training)
    {
        for (int i = 0; i < _layers.Length; i++)
        {
            (TileLayer layer, TileShape shape) = (_layers[i].Of, _layers[i].Forward);
            ChannelNorm norm = training ? layer.Statistics(_net.Buffers, _n) : default;
            if (i == 0)
            {
                Launch("first_forward", shape.Grid(_multiprocessors, 4, shape.Groups), shape.WindowBytes(_elementBytes), new FirstForward(
                    shape, _net.Input.Address, layer.W.Address, Of(layer.Y), norm));
            }
            else
            {
                Launch($"conv_forward_{shape.WidthOfBlock}", Grid(shape), shape.SharedBytes, new TileForward(
                    shape, Before(_layers[i - 1].Of, training), layer.W.Address, training || !layer.IsPooledAtOnce ? Of(layer.Y) : 0,
                    layer.IsPooledAtOnce ? Of(layer.Marked) : 0, layer.Gamma, norm));
            }

            bool isLast = i == _layers.Length - 1, drops = training && layer.Plan.Dropout is not null;
            bool marks = layer.IsPooledAtOnce ? drops : layer.IsChanged(training) && (training || !isLast);
            if (isLast || marks)
            {
                _ends[i].Forward(
                    state, layer.IsPooledAtOnce ? layer.Marked : layer.Y, layer.Affine, marks ? layer.Marked : null,
                    isLast ? _net.Features : null, layer.Dropout(_seed, training));
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
            TileLayer layer = _layers[i].Of;
            using (_session.OpenBranch())
            {
                if (i == 0)
                {
                    BackwardFirst(layer);
                }
                else
                {
                    TileShape weights = _layers[i].BackwardWeights;
                    int groups = (weights.Outs + 63) / 64 * ((weights.Channels + 31) / 32) * ((weights.Side * weights.Side + 8) / 9);
                    (int X, int Y) grid = WeightGrid(weights, groups);
                    Launch("conv_backward_weights", grid, weights.Plane * 96 * _elementBytes, new TileBackwardWeights(
                        weights, layer.Gradient, Before(_layers[i - 1].Of, training: true), _net.Buffers.PartialWeights.Address),
                        overlapped: false);
                    ColumnSums.AddUp(_session, _net.Buffers.PartialWeights, grid.X, (int)layer.DW.Count, layer.DW);
                }
            }

            if (i > 0)
            {
                (TileLayer below, TileShape shape) = (_layers[i - 1].Of, _layers[i].BackwardData);
                int bytes = shape.SharedBytes + (below.HasDu ? 0 : _first.FirstBytes(_elementBytes));
                Launch($"conv_backward_data_{shape.WidthOfBlock}", Grid(shape), bytes, new TileBackwardData(
                    shape, layer.Gradient, layer.Turned.Address, Of(below.Marked), below.Affine,
                    below.Dropout(_seed, training: true).KeepScale, below.HasDu ? Of(below.Du) : 0, below.Gradients(_net.Buffers, _n),
                    below.HasDu ? default : First(below)));
            }
        }
    }

    /// <summary>The gradient of the first layer's weights, from sums that may have been made with its du.</summary>
    private void BackwardFirst(TileLayer layer)
    {
        (TileBuffers buffers, int sums) = (_net.Buffers, TileShape.FirstSums(_first.Side) * _first.Groups);
        (int X, int Y) grid = layer.HasDu ? _first.Grid(_multiprocessors, 3, _first.Groups) : Grid(_layers[1].BackwardData);
        if (layer.HasDu)
        {
            int bytes = TileShape.Warps * 64 * 32 * _elementBytes + _first.FirstBytes(_elementBytes);
            Launch("first_backward_weights", grid, bytes, new FirstBackwardWeights(layer.Gradient, First(layer)), overlapped: false);
        }

        ColumnSums.AddUp(_session, buffers.FirstPartial, grid.X, sums, buffers.FirstSums);
        Launch("first_weights", ((int)layer.DW.Count / 256 + 1, 1), 0, new FirstWeights(
            buffers.FirstSums.Address, layer.W.Address, layer.Affine, layer.DW.Address, _first.Outs, _first.Side * _first.Side),
            overlapped: false);
    }

    private FirstGradient First(TileLayer layer) =>
        new(_first, _net.Input.Address, _net.Buffers.FirstPartial.Address, layer.HasNorm ? 1u : 0);

    /// <summary>How the next convolution finds a layer.</summary>
    private PreviousLayer Before(TileLayer layer, bool training)
    {
        Dropout dropout = layer.Dropout(_seed, training);
        return new PreviousLayer(
            Of(layer.IsChanged(training) ? layer.Marked : layer.Y), layer.Affine, dropout.KeepScale, dropout.Threshold > 0 ? 1u : 0);
    }

    private (int X, int Y) Grid(TileShape shape) => shape.Grid(_multiprocessors, shape.WidthOfBlock == 32 ? 3 : 2, shape.Groups);

    /// <summary>Blocks along x leave gradients: no more than there is room for.</summary>
    private (int X, int Y) WeightGrid(TileShape shape, int groups)
    {
        long ofOne = (long)shape.Outs * shape.Channels * shape.Side * shape.Side;
        (int x, int y) = shape.Grid(_multiprocessors, 2, groups);
        return ((int)Math.Min(x, _net.Buffers.MostPartialWeights / ofOne), y);
    }

    private void Launch<T>(string kernel, (int X, int Y) grid, int sharedBytes, T parameters, bool overlapped = true)
        where T : unmanaged => _session.LaunchFamily(kernel, grid, sharedBytes, parameters, overlapped);

    private nint Of(DeviceTensor images) => images.Holding(images.Count / _net.Batch * _n, _session.ActivationType);

    private sealed record Layer(TileLayer Of, TileShape Forward, TileShape BackwardData, TileShape BackwardWeights);
}
