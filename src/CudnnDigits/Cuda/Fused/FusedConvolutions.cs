using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The convolutions of `improved` in bfloat16 by our own fused kernels (native/kernels/fused), on tensor cores: what lies
/// between two convolutions never goes through device memory, only their outputs do. One launch per line.
/// </summary>
internal sealed class FusedConvolutions
{
    private readonly CudaSession _session;
    private readonly FusedTensors _t;
    private readonly FusedLayer _1, _2, _3, _4;
    private readonly ulong _seed;
    private readonly int _n;

    /// <param name="session">The device.</param>
    /// <param name="tensors">The network's tensors, for at least <paramref name="batch"/> samples.</param>
    /// <param name="seed">Keys dropout.</param>
    /// <param name="batch">Samples.</param>
    public FusedConvolutions(CudaSession session, FusedTensors tensors, ulong seed, int batch)
    {
        (_session, _t, _seed, _n) = (session, tensors, seed, batch);
        (_1, _2, _3, _4) = (tensors.Layers[0], tensors.Layers[1], tensors.Layers[2], tensors.Layers[3]);
        _ = session.FusedKernels; // loaded now: not while something is captured
        _ = tensors.UsesWarpgroups ? session.HopperKernels : null;
    }

    /// <summary>What computes each convolution, by their names.</summary>
    public IReadOnlyDictionary<string, string> Algorithms => _t.Layers.ToDictionary(layer => layer.Plan.Conv.Name, _ => _t.UsesWarpgroups ? "fused, by warpgroups" : "fused");

    /// <summary>Each layer's coefficients from its running statistics.</summary>
    public void PreparePrediction()
    {
        foreach (FusedLayer layer in _t.Layers)
        {
            _session.LaunchFused("batch_norm_running", 1, new BatchNormRunning { Norm = BatchNorm(layer, 0), Channels = layer.Plan.Conv.OutChannels });
        }
    }

    /// <summary>
    /// The samples of a training step to the input, augmented, and the first layer's statistics, which follow from the input.
    /// </summary>
    /// <param name="state">Says which samples are next.</param>
    /// <param name="gathering">How samples are augmented.</param>
    public void Gather(DeviceTensor state, Gathering gathering)
    {
        int blocks = Blocks(4);
        _session.LaunchFused("gather_window_moments", blocks, new GatherWindowMoments
        {
            State = state.Address,
            X = X(),
            Gathering = gathering,
            W1 = W(_1),
            Norm1 = BatchNorm(_1, (long)blocks * FusedTensors.MomentCount),
            Moments = _t.Moments.Address,
            Samples = _n,
        });
    }

    /// <summary>From the input and the statistics that <see cref="Gather"/> leaves to the features, in training.</summary>
    /// <param name="state">Says which samples these are, for dropout.</param>
    public void Forward(DeviceTensor state)
    {
        Conv2Forward(); // computes the first layer as well
        Conv3Forward(state);
        Conv4Forward();
        Pool4Forward(state);
    }

    /// <summary>From the input to the features in prediction, by the coefficients that <see cref="PreparePrediction"/> leaves.</summary>
    public void Predict()
    {
        int atOnce = _n > _session.Multiprocessors ? 2 : 1;
        _session.LaunchFused("predict_features", Math.Min((_n + atOnce - 1) / atOnce, _session.Multiprocessors), new PredictFeatures
        {
            X = X(),
            W1 = W(_1),
            Coefficients1 = Coefficients(_1),
            W2 = W(_2),
            Coefficients2 = Coefficients(_2),
            W3 = W(_3),
            Coefficients3 = Coefficients(_3),
            W4 = W(_4),
            Coefficients4 = Coefficients(_4),
            Z4 = Features(_t.Z4),
            Samples = _n,
            AtOnce = atOnce,
        }, overlapped: true);
    }

    /// <summary>Gradients of all parameters of the convolutions, from <see cref="FusedTensors.Du4"/>.</summary>
    public void Backward()
    {
        // A gradient of weights uses the coefficients of the forward pass alone: those of the backward pass are completed meanwhile.
        using (_session.OpenBranch())
        {
            AddUp(_4, Conv4BackwardWeights());
        }

        Conv4BackwardData();
        using (_session.OpenBranch())
        {
            AddUp(_3, Conv3BackwardWeights());
        }

        Conv3BackwardData();
        using (_session.OpenBranch())
        {
            AddUp(_2, Conv2BackwardWeights());
        }

        Conv2BackwardData();
    }

    private void Conv2Forward()
    {
        int blocks = BlocksOrHalves(2);
        Launch("conv2_forward", blocks, new Conv2Forward
        {
            X = X(),
            W1 = W(_1),
            Coefficients1 = Coefficients(_1),
            W2 = W(_2),
            Y2 = Y2(),
            Norm2 = BatchNorm(_2, blocks * 64),
            Samples = _n,
        }, overlapped: true);
    }

    private void Conv3Forward(DeviceTensor state)
    {
        int blocks = BlocksOrHalves(2);
        (uint threshold, float keepScale, uint layer) = Dropout(_2);
        Launch("conv3_forward", blocks, new Conv3Forward
        {
            State = state.Address,
            Y2 = Y2(),
            Coefficients2 = Coefficients(_2),
            W3 = W(_3),
            Pooled2 = Pooled2(),
            Y3 = Y3(),
            Norm3 = BatchNorm(_3, blocks * 128),
            Samples = _n,
            Threshold = threshold,
            KeepScale = keepScale,
            Seed = _seed,
            Layer = layer,
        }, overlapped: true);
    }

    private void Conv4Forward()
    {
        int blocks = BlocksOrHalves(1);
        Launch("conv4_forward", blocks, new Conv4Forward
        {
            Y3 = Y3(),
            Coefficients3 = Coefficients(_3),
            W4 = W(_4),
            Y4 = Y4(),
            Norm4 = BatchNorm(_4, blocks * 128),
            Samples = _n,
        }, overlapped: true);
    }

    private void Pool4Forward(DeviceTensor state)
    {
        (uint threshold, float keepScale, uint layer) = Dropout(_4);
        long threads = KernelSource.Fused.Block("pool4_forward").Threads;
        _session.LaunchFused("pool4_forward", (_n * 49L * 8 + threads - 1) / threads, new Pool4Forward
        {
            State = state.Address,
            Y4 = Y4(),
            Coefficients4 = Coefficients(_4),
            Pooled4 = Pooled4(),
            Z4 = Features(_t.Z4),
            Samples = _n,
            Threshold = threshold,
            KeepScale = keepScale,
            Seed = _seed,
            Layer = layer,
        }, overlapped: true);
    }

    private void Conv4BackwardData()
    {
        int blocks = BlocksOrHalves(1);
        Launch("conv4_backward_data", blocks, new Conv4BackwardData
        {
            Y4 = Y4(),
            Du4 = Du4(),
            Coefficients4 = Coefficients(_4),
            Turned4 = Turned(_4),
            Y3 = Y3(),
            Du3 = Du3(),
            Norm3 = BatchNorm(_3, blocks * 128),
            Samples = _n,
        }, overlapped: true);
    }

    private void Conv3BackwardData()
    {
        int blocks = BlocksOrHalves(1);
        Launch("conv3_backward_data", blocks, new Conv3BackwardData
        {
            Y3 = Y3(),
            Du3 = Du3(),
            Coefficients3 = Coefficients(_3),
            Turned3 = Turned(_3),
            Pooled2 = Pooled2(),
            KeepScale = _2.KeepScale,
            Du2 = Du2(),
            Norm2 = BatchNorm(_2, blocks * 64),
            Samples = _n,
        }, overlapped: true);
    }

    private void Conv2BackwardData()
    {
        int blocks = BlocksOrHalves(2);
        Launch("conv2_backward_data", blocks, new Conv2BackwardData
        {
            Y2 = Y2(),
            Du2 = Du2(),
            Coefficients2 = Coefficients(_2),
            Turned2 = Turned(_2),
            X = X(),
            W1 = W(_1),
            Norm1 = BatchNorm(_1, blocks * 512),
            Moments = _t.Moments.Address,
            DW1 = _1.DW.Holding(9 * 32, DeviceType.F32),
            Samples = _n,
        }, overlapped: true);
    }

    // A gradient of weights leaves one sum per block: how many there are is returned.

    private int Conv4BackwardWeights()
    {
        int blocks = Blocks(1);
        Launch("conv4_backward_weights", blocks, new Conv4BackwardWeights
        {
            Y4 = Y4(),
            Du4 = Du4(),
            Coefficients4 = Coefficients(_4),
            Y3 = Y3(),
            Coefficients3 = Coefficients(_3),
            Partial = PartialWeights(blocks * 9 * 64 * 64),
            Samples = _n,
        });
        return blocks;
    }

    private int Conv3BackwardWeights()
    {
        int blocks = _t.UsesWarpgroups ? Blocks(1) : Blocks(2);
        Launch("conv3_backward_weights", blocks, new Conv3BackwardWeights
        {
            Y3 = Y3(),
            Du3 = Du3(),
            Coefficients3 = Coefficients(_3),
            Pooled2 = Pooled2(),
            Coefficients2 = Coefficients(_2),
            KeepScale = _2.KeepScale,
            Partial = PartialWeights(blocks * 9 * 32 * 64),
            Samples = _n,
        });
        return blocks;
    }

    private int Conv2BackwardWeights()
    {
        int blocks = _t.UsesWarpgroups ? 2 * Math.Clamp(_session.Multiprocessors / 2, 1, _n) : Blocks(1); // two of them make an image
        Launch("conv2_backward_weights", blocks, new Conv2BackwardWeights
        {
            Y2 = Y2(),
            Du2 = Du2(),
            Coefficients2 = Coefficients(_2),
            X = X(),
            W1 = W(_1),
            Coefficients1 = Coefficients(_1),
            Partial = PartialWeights(2 * blocks * 9 * 32 * 32),
            Samples = _n,
        });
        return 2 * blocks;
    }

    /// <summary>Launches a kernel that is in both modules, from the one for this GPU.</summary>
    private void Launch<T>(string kernel, int blocks, T parameters, bool overlapped = false)
        where T : unmanaged
    {
        if (_t.UsesWarpgroups)
        {
            _session.LaunchHopper(kernel, blocks, parameters, overlapped);
        }
        else
        {
            _session.LaunchFused(kernel, blocks, parameters, overlapped);
        }
    }

    /// <summary>A weight gradient from its partial sums.</summary>
    private void AddUp(FusedLayer layer, int rows) => ColumnSums.AddUp(_session, _t.PartialWeights, rows, (int)layer.W.Count, layer.DW);

    /// <summary>Blocks of a kernel of which so many fit on a multiprocessor; each takes one sample after another.</summary>
    private int Blocks(int perMultiprocessor) => Math.Min(_n, perMultiprocessor * _session.Multiprocessors);

    /// <summary>
    /// The same for kernels that can have two blocks make an image, each half of its rows: they do where that many fit at once. Of
    /// warpgroups there is one block for each multiprocessor.
    /// </summary>
    private int BlocksOrHalves(int perMultiprocessor) =>
        _t.UsesWarpgroups ? Blocks(1)
        : 2 * _n <= perMultiprocessor * _session.Multiprocessors ? 2 * _n
        : Blocks(perMultiprocessor);

    private FusedBatchNorm BatchNorm(FusedLayer layer, long sums) => _t.BatchNorm(layer, _n, sums);

    private static (uint Threshold, float KeepScale, uint Layer) Dropout(FusedLayer layer) =>
        layer.Plan.Dropout is { Rate: > 0 } dropout ? (dropout.Threshold, layer.KeepScale, (uint)layer.Plan.DropoutIndex) : (0, 1, 0);

    private nint X() => _t.X.Holding(_n * 784L, DeviceType.Bf16);

    private nint Y2() => _t.Y2.Holding(_n * (784L * 32), DeviceType.Bf16);

    private nint Pooled2() => _t.Pooled2.Holding(_n * (196L * 32), DeviceType.Bf16);

    private nint Y3() => _t.Y3.Holding(_n * (196L * 64), DeviceType.Bf16);

    private nint Y4() => _t.Y4.Holding(_n * (196L * 64), DeviceType.Bf16);

    private nint Pooled4() => Features(_t.Pooled4);

    private nint Du2() => _t.Du2.Holding(_n * (196L * 32), DeviceType.Bf16);

    private nint Du4() => Features(_t.Du4);

    private nint Du3() => _t.Du3.Holding(_n * (196L * 64), DeviceType.Bf16);

    private nint Features(DeviceTensor tensor) => tensor.Holding(_n * (49L * 64), DeviceType.Bf16);

    private nint PartialWeights(long count) => _t.PartialWeights.Holding(count, DeviceType.F32);

    private static nint W(FusedLayer layer) => Weights(layer, layer.W);

    private static nint Turned(FusedLayer layer) => Weights(layer, layer.Turned);

    private static nint Weights(FusedLayer layer, DeviceTensor tensor) => tensor.Holding(9L * layer.Plan.Input.C * layer.Plan.Conv.OutChannels, DeviceType.Bf16);

    private static nint Coefficients(FusedLayer layer) => layer.Coefficients.Holding(FusedTensors.CoefficientCount, DeviceType.F32);
}
