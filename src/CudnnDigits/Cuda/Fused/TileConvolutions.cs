using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;

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
    private readonly int _n, _multiprocessors, _elementBytes;

    public TileConvolutions(CudaSession session, TileNetwork net, int n, ulong seed)
    {
        (_session, _net, _n, _seed) = (session, net, n, seed);
        (_multiprocessors, _elementBytes) = (session.Multiprocessors, (int)session.ActivationType);
        _ = session.FamilyKernels; // loaded now: not while something is captured
        _layers = [.. net.Layers.Select(Plan)];
        _ends = [.. net.Layers.Select(layer => layer.IsPooledAtOnce
            ? new Features(session, layer.Pooled, pools: false, n)
            : new Features(session, layer.Output, layer.Plan.Pool is not null, n))];

        Layer Plan(TileLayer layer) => layer.Plan.Input.C == 1
            ? new(layer, TileShape.First(layer.Plan, n), default, TileShape.FirstBackwardWeights(layer.Plan, n, _elementBytes))
            : new(layer, TileShape.Forward(layer.Plan, n, _multiprocessors, _elementBytes),
                TileShape.BackwardData(layer.Plan, n, _multiprocessors, _elementBytes),
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
            TileShape weights = _layers[i].BackwardWeights;
            using (_session.OpenBranch())
            {
                if (i == 0)
                {
                    int groups = (weights.Outs + 63) / 64;
                    (int X, int Y) grid = WeightGrid(weights, groups, 3, TileShape.Warps); // each warp leaves a gradient
                    int bytes = weights.Plane * (64 * _elementBytes + _elementBytes);
                    Launch("first_backward_weights", grid, bytes, new FirstBackwardWeights(
                        weights, layer.Gradient, _net.Input.Address, _net.Buffers.PartialWeights.Address), overlapped: false);
                    AddUp(layer, grid.X * TileShape.Warps);
                }
                else
                {
                    int groups = (weights.Outs + 63) / 64 * ((weights.Channels + 31) / 32) * ((weights.Side * weights.Side + 8) / 9);
                    (int X, int Y) grid = WeightGrid(weights, groups, 2, 1);
                    Launch("conv_backward_weights", grid, weights.Plane * 96 * _elementBytes, new TileBackwardWeights(
                        weights, layer.Gradient, Before(_layers[i - 1].Of, training: true), _net.Buffers.PartialWeights.Address),
                        overlapped: false);
                    AddUp(layer, grid.X);
                }
            }

            if (i > 0)
            {
                (TileLayer below, TileShape shape) = (_layers[i - 1].Of, _layers[i].BackwardData);
                Launch($"conv_backward_data_{shape.WidthOfBlock}", Grid(shape), shape.SharedBytes, new TileBackwardData(
                    shape, layer.Gradient, layer.Turned.Address, Of(below.Marked), below.Affine,
                    below.Dropout(_seed, training: true).KeepScale, Of(below.Du), below.Gradients(_net.Buffers, _n)));
            }
        }
    }

    /// <summary>How the next convolution finds a layer.</summary>
    private PreviousLayer Before(TileLayer layer, bool training)
    {
        Dropout dropout = layer.Dropout(_seed, training);
        return new PreviousLayer(
            Of(layer.IsChanged(training) ? layer.Marked : layer.Y), layer.Affine, dropout.KeepScale, dropout.Threshold > 0 ? 1u : 0);
    }

    private (int X, int Y) Grid(TileShape shape) => shape.Grid(_multiprocessors, shape.WidthOfBlock == 32 ? 3 : 2, shape.Groups);

    /// <summary>Blocks along x leave gradients: no more than there is room for.</summary>
    private (int X, int Y) WeightGrid(TileShape shape, int groups, int perMultiprocessor, int rowsOfBlock)
    {
        long ofOne = (long)shape.Outs * shape.Channels * shape.Side * shape.Side;
        (int x, int y) = shape.Grid(_multiprocessors, perMultiprocessor, groups);
        return ((int)Math.Min(x, _net.Buffers.MostPartialWeights / (ofOne * rowsOfBlock)), y);
    }

    private void Launch<T>(string kernel, (int X, int Y) grid, int sharedBytes, T parameters, bool overlapped = true)
        where T : unmanaged => _session.LaunchFamily(kernel, grid, sharedBytes, parameters, overlapped);

    /// <summary>A weight gradient from its partial sums.</summary>
    private void AddUp(TileLayer layer, int rows) =>
        ColumnSums.AddUp(_session, _net.Buffers.PartialWeights, rows, (int)layer.DW.Count, layer.DW);

    private nint Of(DeviceTensor images) => images.Holding(images.Count / _net.Batch * _n, _session.ActivationType);

    private sealed record Layer(TileLayer Of, TileShape Forward, TileShape BackwardData, TileShape BackwardWeights);
}
