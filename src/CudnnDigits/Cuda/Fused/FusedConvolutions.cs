using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The convolutions of `improved` in bfloat16 by our own fused kernels (native/kernels/fused), in training by warpgroups: what lies
/// between two convolutions never goes through device memory, only their outputs do.
/// </summary>
internal sealed class FusedConvolutions
{
    private readonly CudaSession _session;
    private readonly FusedTensors _t;
    private readonly FusedLayer _1, _2, _3, _4;
    private readonly Dropout _dropout2, _dropout4;
    private readonly int _n, _blocks, _blocks2; // blocks of a convolution in training; of the gradient of the second one's weights

    public FusedConvolutions(CudaSession session, FusedTensors tensors, ulong seed, int batch)
    {
        (_session, _t, _n) = (session, tensors, batch);
        (_1, _2, _3, _4) = (tensors.Layers[0], tensors.Layers[1], tensors.Layers[2], tensors.Layers[3]);
        (_dropout2, _dropout4) = (_2.Dropout(seed), _4.Dropout(seed));
        _ = (session.FusedKernels, session.HopperKernels); // loaded now: not while something is captured
        (_blocks, _blocks2) = (Fitting(1), 2 * Math.Clamp(session.Multiprocessors / 2, 1, batch));
    }

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms =>
        _t.Layers.ToDictionary(layer => layer.Plan.Conv.Name, _ => "fused, by warpgroups");

    /// <summary>Each layer's coefficients from its running statistics.</summary>
    public void PreparePrediction()
    {
        foreach (FusedLayer layer in _t.Layers)
        {
            BatchNormRunning parameters = new(Norm(layer, 0, 0), layer.Plan.Conv.OutChannels);
            _session.Launch(_session.FusedKernels, "batch_norm_running", 1, parameters);
        }
    }

    /// <summary>The next samples, augmented, to the input, and the first layer's statistics, which follow from the input.</summary>
    public void Gather(DeviceTensor state, Gathering gathering)
    {
        int blocks = Fitting(4);
        _session.Launch(_session.FusedKernels, "gather_window_moments", blocks, new GatherWindowMoments(
            state.Address, Of(_t.X), gathering, W(_1), Norm(_1, blocks, FusedTensors.MomentCount), _t.Moments.Address, _n));
    }

    /// <summary>From the input and the statistics that <see cref="Gather"/> leaves to the features, in training.</summary>
    public void Forward(DeviceTensor state)
    {
        // The first layer is computed on the way.
        Launch("conv2_forward", _blocks, new Conv2Forward(
            Of(_t.X), W(_1), Coefficients(_1), W(_2), Of(_t.Y2), Norm(_2, _blocks, 64), _n));
        Launch("conv3_forward", _blocks, new Conv3Forward(
            state.Address, Of(_t.Y2), Coefficients(_2), W(_3), Of(_t.Pooled2), Of(_t.Y3), Norm(_3, _blocks, 128), _dropout2, _n));
        Launch("conv4_forward", _blocks, new Conv4Forward(
            Of(_t.Y3), Coefficients(_3), W(_4), Of(_t.Y4), Norm(_4, _blocks, 128), _n));
        _session.Launch(_session.FusedKernels, "pool4_forward", KernelSource.Fused.Blocks("pool4_forward", _n * 49L * 8), new Pool4Forward(
            state.Address, Of(_t.Y4), Coefficients(_4), Of(_t.Pooled4), Of(_t.Z4), _dropout4, _n), overlapped: true);
    }

    /// <summary>From the input to the features in prediction, by the coefficients that <see cref="PreparePrediction"/> leaves.</summary>
    public void Predict()
    {
        int atOnce = _n > _session.Multiprocessors ? 2 : 1, blocks = Math.Min((_n + atOnce - 1) / atOnce, _session.Multiprocessors);
        _session.Launch(_session.FusedKernels, "predict_features", blocks, new PredictFeatures(
            Of(_t.X), W(_1), Coefficients(_1), W(_2), Coefficients(_2), W(_3), Coefficients(_3), W(_4), Coefficients(_4), Of(_t.Z4),
            _n, atOnce), overlapped: true);
    }

    /// <summary>Gradients of all parameters of the convolutions, from <see cref="FusedTensors.Du4"/>.</summary>
    public void Backward()
    {
        // A gradient of weights uses the coefficients of the forward pass alone: those of the backward pass are completed meanwhile.
        using (_session.OpenBranch())
        {
            Launch("conv4_backward_weights", _blocks, new ConvBackwardWeights(
                Of(_t.Y4), Of(_t.Du4), Coefficients(_4), Of(_t.Y3), Coefficients(_3), Partial(_4, _blocks), 1, _n), overlapped: false);
            AddUp(_4, _blocks);
        }

        Launch("conv4_backward_data", _blocks, new ConvBackwardData(
            Of(_t.Y4), Of(_t.Du4), Coefficients(_4), _4.Turned.Address, Of(_t.Y3), Of(_t.Du3), Norm(_3, _blocks, 128), 1, _n));
        using (_session.OpenBranch())
        {
            Launch("conv3_backward_weights", _blocks, new ConvBackwardWeights(
                Of(_t.Y3), Of(_t.Du3), Coefficients(_3), Of(_t.Pooled2), Coefficients(_2), Partial(_3, _blocks),
                _dropout2.KeepScale, _n), overlapped: false);
            AddUp(_3, _blocks);
        }

        Launch("conv3_backward_data", _blocks, new ConvBackwardData(
            Of(_t.Y3), Of(_t.Du3), Coefficients(_3), _3.Turned.Address, Of(_t.Pooled2), Of(_t.Du2), Norm(_2, _blocks, 64),
            _dropout2.KeepScale, _n));
        using (_session.OpenBranch())
        {
            int rows = 2 * _blocks2; // each block leaves two
            Launch("conv2_backward_weights", _blocks2, new Conv2BackwardWeights(
                Of(_t.Y2), Of(_t.Du2), Coefficients(_2), Of(_t.X), W(_1), Coefficients(_1), Partial(_2, rows), _n), overlapped: false);
            AddUp(_2, rows);
        }

        Launch("conv2_backward_data", _blocks, new Conv2BackwardData(
            Of(_t.Y2), Of(_t.Du2), Coefficients(_2), _2.Turned.Address, Of(_t.X), W(_1), Norm(_1, _blocks, 512), _t.Moments.Address,
            _1.DW.Address, _n));
    }

    private void Launch<T>(string kernel, int blocks, T parameters, bool overlapped = true)
        where T : unmanaged => _session.Launch(_session.HopperKernels, kernel, blocks, parameters, overlapped);

    /// <summary>A weight gradient from its partial sums.</summary>
    private void AddUp(FusedLayer layer, int rows) => ColumnSums.AddUp(_session, _t.PartialWeights, rows, (int)layer.W.Count, layer.DW);

    /// <summary>Blocks of a kernel of which so many fit on a multiprocessor; each takes one sample after another.</summary>
    private int Fitting(int perMultiprocessor) => Math.Min(_n, perMultiprocessor * _session.Multiprocessors);

    private FusedBatchNorm Norm(FusedLayer layer, int blocks, int sums) => _t.BatchNorm(layer, _n, (long)blocks * sums);

    private nint Of(DeviceTensor images) => _t.Of(images, _n);

    private nint Partial(FusedLayer layer, int rows) => _t.PartialWeights.Holding(rows * layer.W.Count, DeviceType.F32);

    private static nint W(FusedLayer layer) => layer.W.Address;

    private static nint Coefficients(FusedLayer layer) => layer.Coefficients.Address;
}
