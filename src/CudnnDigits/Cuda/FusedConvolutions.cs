namespace CudnnDigits.Cuda;

/// <summary>
/// The convolutions of `improved` in bfloat16 by our own fused kernels (native/kernels/fused), on tensor cores: what lies
/// between two convolutions never goes through device memory, only their outputs do. One launch per line.
/// </summary>
internal sealed unsafe class FusedConvolutions : IConvolutions
{
    /// <summary>Shared memory of a block, the most that any takes: conv2_backward_weights, with 4 KiB that kernels have anyway.</summary>
    public const int MostShared = 2 * Wide32 + Image + SampleY2 + SampleDu2 + (4 << 10);

    // Shared memory of a block, as native/kernels/fused/tile.cuh lays it out: rows × columns × (channels + 8) of two bytes.
    // And what is fetched ahead: the tensors of one sample.
    private const int Image = (30 * 38 + 4) * 2, Wide32 = 30 * 34 * 40 * 2, Small32 = 16 * 18 * 40 * 2, Small64 = 16 * 18 * 72 * 2;
    private const int SampleY2 = 784 * 32 * 2, SampleDu2 = 196 * 32 * 2, SampleY3 = 196 * 64 * 2, SampleDu3 = SampleY3, SampleY4 = SampleY3, SampleDu4 = 49 * 64 * 2, SamplePooled2 = SampleDu2;

    // The layer below, with room between its pixels.
    private const int Spread32 = 196 * (32 + 16) * 2, Spread64 = 196 * (64 + 16) * 2;

    // The same for warpgroups, as native/kernels/hopper/tile.cuh lays it out: weights, and two tiles of each kind.
    private const int Weights32x32 = 12 * 32 * 64 * 2, Weights32x64 = 9 * 32 * 64 * 2, Weights64x32 = 12 * 64 * 64 * 2, Weights64x64 = 9 * 64 * 64 * 2;
    private const int WideInput = 2 * 4 * 964 * 16, WideGradient = 2 * 4 * 961 * 16, Planes32 = 2 * 4 * 258 * 16, Planes64 = 2 * 8 * 259 * 16, PlanesOfGradient = 2 * 8 * 225 * 16, Rows32 = 2 * ((14 * 4 * 33 * 16) + (16 * 4 * 36 * 16)), ApartY2 = 784 * 48 * 2, HalfY2 = 392 * 40 * 2;
    private const int ConvolutionThreads = 512, WeightsThreads = 384;

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

    public long WorkspaceBytes => 0;

    public IReadOnlyDictionary<string, string> Algorithms => _t.Layers.ToDictionary(layer => layer.Plan.Conv.Name, _ => _t.UsesWarpgroups ? "fused, by warpgroups" : "fused");

    public void PreparePrediction()
    {
        foreach (FusedLayer layer in _t.Layers)
        {
            BatchNormRunning(layer);
        }
    }

    public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
    {
        if (!training)
        {
            PredictFeatures();
            return;
        }

        Conv2Forward(); // and the first layer, by the statistics that GatherAugment leaves with the input
        Conv3Forward(state);
        Conv4Forward();
        Pool4Forward(state);
    }

    public void Backward(DeviceTensor gradient, DeviceTensor other, DeviceTensor workspace)
    {
        // Of the coefficients of the layer below, which are completed meanwhile, gradients of weights use those of the forward
        // pass alone.
        using (_session.OpenBranch())
        {
            AddUp(_4, Conv4BackwardWeights(gradient));
        }

        Conv4BackwardData(gradient);
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

    private void BatchNormRunning(FusedLayer layer)
    {
        int channels = layer.Plan.Conv.OutChannels;
        FusedBatchNorm norm = BatchNorm(layer, 0);
        void** parameters = stackalloc void*[] { &norm, &channels };
        _session.LaunchFused("batch_norm_running", 1, parameters, threads: 64);
    }

    private void PredictFeatures()
    {
        int samples = _n, atOnce = _n > _session.Multiprocessors ? 2 : 1;
        nint x = X(), w1 = W(_1), coefficients1 = Coefficients(_1), w2 = W(_2), coefficients2 = Coefficients(_2);
        nint w3 = W(_3), coefficients3 = Coefficients(_3), w4 = W(_4), coefficients4 = Coefficients(_4), z4 = Features(_t.Z4);
        void** parameters = stackalloc void*[] { &x, &w1, &coefficients1, &w2, &coefficients2, &w3, &coefficients3, &w4, &coefficients4, &z4, &samples, &atOnce };
        _session.LaunchFused("predict_features", Math.Min((_n + atOnce - 1) / atOnce, _session.Multiprocessors), parameters, Wide32 + Image + 2 * (Small32 + Small64), overlapped: true);
    }

    private void Conv2Forward()
    {
        int blocks = BlocksOrHalves(2), samples = _n;
        nint x = X(), w1 = W(_1), coefficients1 = Coefficients(_1), w2 = W(_2), y2 = Y2();
        FusedBatchNorm norm2 = BatchNorm(_2, blocks * 64);
        void** parameters = stackalloc void*[] { &x, &w1, &coefficients1, &w2, &y2, &norm2, &samples };
        Launch("conv2_forward", blocks, parameters, Wide32 + Image, ConvolutionThreads, Weights32x32 + WideInput + 2 * Image, overlapped: true);
    }

    private void Conv3Forward(DeviceTensor state)
    {
        int blocks = BlocksOrHalves(2), samples = _n;
        nint stateAt = state.Address, y2 = Y2(), coefficients2 = Coefficients(_2), w3 = W(_3), pooled2 = Pooled2(), y3 = Y3();
        FusedBatchNorm norm3 = BatchNorm(_3, blocks * 128);
        (uint threshold, float keepScale, ulong seed, uint layer) = Dropout(_2);
        void** parameters = stackalloc void*[] { &stateAt, &y2, &coefficients2, &w3, &pooled2, &y3, &norm3, &samples, &threshold, &keepScale, &seed, &layer };
        Launch("conv3_forward", blocks, parameters, Small32 + SampleY2, ConvolutionThreads, Weights32x64 + Planes32 + ApartY2, overlapped: true);
    }

    private void Conv4Forward()
    {
        int blocks = BlocksOrHalves(1), samples = _n;
        nint y3 = Y3(), coefficients3 = Coefficients(_3), w4 = W(_4), y4 = Y4();
        FusedBatchNorm norm4 = BatchNorm(_4, blocks * 128);
        void** parameters = stackalloc void*[] { &y3, &coefficients3, &w4, &y4, &norm4, &samples };
        Launch("conv4_forward", blocks, parameters, Small64 + SampleY3, ConvolutionThreads, Weights64x64 + Planes64 + SampleY3, overlapped: true);
    }

    private void Pool4Forward(DeviceTensor state)
    {
        nint stateAt = state.Address, y4 = Y4(), coefficients4 = Coefficients(_4), pooled4 = Pooled4(), z4 = Features(_t.Z4);
        int samples = _n;
        (uint threshold, float keepScale, ulong seed, uint layer) = Dropout(_4);
        void** parameters = stackalloc void*[] { &stateAt, &y4, &coefficients4, &pooled4, &z4, &samples, &threshold, &keepScale, &seed, &layer };
        _session.LaunchFused("pool4_forward", (_n * 49L * 8 + 255) / 256, parameters, overlapped: true);
    }

    private void Conv4BackwardData(DeviceTensor gradient)
    {
        int blocks = BlocksOrHalves(1), samples = _n;
        nint y4 = Y4(), du4 = Features(gradient), coefficients4 = Coefficients(_4), turned4 = Turned(_4), y3 = Y3(), du3 = Du3();
        FusedBatchNorm norm3 = BatchNorm(_3, blocks * 128);
        void** parameters = stackalloc void*[] { &y4, &du4, &coefficients4, &turned4, &y3, &du3, &norm3, &samples };
        Launch("conv4_backward_data", blocks, parameters, Small64 + SampleY4 + SampleDu4 + 2 * Spread64, ConvolutionThreads, Weights64x64 + Planes64 + SampleY4 + SampleDu4, overlapped: true);
    }

    private void Conv3BackwardData()
    {
        int blocks = BlocksOrHalves(1), samples = _n;
        nint y3 = Y3(), du3 = Du3(), coefficients3 = Coefficients(_3), turned3 = Turned(_3), pooled2 = Pooled2(), du2 = Du2();
        FusedBatchNorm norm2 = BatchNorm(_2, blocks * 64);
        float keepScale = _2.KeepScale;
        void** parameters = stackalloc void*[] { &y3, &du3, &coefficients3, &turned3, &pooled2, &keepScale, &du2, &norm2, &samples };
        Launch("conv3_backward_data", blocks, parameters, Small64 + SampleY3 + SampleDu3 + 2 * Spread32, ConvolutionThreads, Weights64x32 + Planes64 + SampleY3 + SampleDu3, overlapped: true);
    }

    private void Conv2BackwardData()
    {
        int blocks = BlocksOrHalves(2), samples = _n;
        nint y2 = Y2(), du2 = Du2(), coefficients2 = Coefficients(_2), turned2 = Turned(_2), x = X(), w1 = W(_1), moments = _t.Moments.Address, dw1 = _1.DW.Holding(9 * 32, DeviceType.F32);
        FusedBatchNorm norm1 = BatchNorm(_1, blocks * 512);
        void** parameters = stackalloc void*[] { &y2, &du2, &coefficients2, &turned2, &x, &w1, &norm1, &moments, &dw1, &samples };
        Launch("conv2_backward_data", blocks, parameters, Wide32 + Image + SampleDu2, ConvolutionThreads, Weights32x32 + WideGradient + 3 * Image + SampleDu2, overlapped: true);
    }

    // A weight gradient leaves one sum per block: how many there are is returned.

    private int Conv4BackwardWeights(DeviceTensor gradient)
    {
        nint y4 = Y4(), du4 = Features(gradient), coefficients4 = Coefficients(_4), y3 = Y3(), coefficients3 = Coefficients(_3), partial = PartialWeights(Blocks(1) * 9 * 64 * 64);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y4, &du4, &coefficients4, &y3, &coefficients3, &partial, &samples };
        Launch("conv4_backward_weights", Blocks(1), parameters, 2 * Small64 + SampleY4 + SampleDu4 + SampleY3, WeightsThreads, PlanesOfGradient + Planes64 + SampleY4 + SampleDu4 + SampleY3);
        return Blocks(1);
    }

    private int Conv3BackwardWeights()
    {
        int blocks = _t.UsesWarpgroups ? Blocks(1) : Blocks(2);
        nint y3 = Y3(), du3 = Du3(), coefficients3 = Coefficients(_3), pooled2 = Pooled2(), coefficients2 = Coefficients(_2), partial = PartialWeights(blocks * 9 * 32 * 64);
        int samples = _n;
        float keepScale = _2.KeepScale;
        void** parameters = stackalloc void*[] { &y3, &du3, &coefficients3, &pooled2, &coefficients2, &keepScale, &partial, &samples };
        Launch("conv3_backward_weights", blocks, parameters, Small64 + Small32 + SampleDu3, WeightsThreads, PlanesOfGradient + Planes32 + SampleY3 + SampleDu3 + SamplePooled2);
        return blocks;
    }

    private int Conv2BackwardWeights()
    {
        int blocks = _t.UsesWarpgroups ? 2 * Math.Clamp(_session.Multiprocessors / 2, 1, _n) : Blocks(1); // two of them make an image
        nint y2 = Y2(), du2 = Du2(), coefficients2 = Coefficients(_2), x = X(), w1 = W(_1), coefficients1 = Coefficients(_1), partial = PartialWeights(2 * blocks * 9 * 32 * 32);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y2, &du2, &coefficients2, &x, &w1, &coefficients1, &partial, &samples };
        Launch("conv2_backward_weights", blocks, parameters, 2 * Wide32 + Image + SampleY2 + SampleDu2, WeightsThreads, Rows32 + 2 * Image + HalfY2 + (SampleDu2 / 2));
        return 2 * blocks;
    }

    /// <summary>A kernel that there is twice: with 256 threads a block, or with more and other shared memory where warpgroups multiply.</summary>
    private void Launch(string kernel, int blocks, void** parameters, int sharedBytes, int threadsOfWarpgroups, int sharedBytesOfWarpgroups, bool overlapped = false)
    {
        if (_t.UsesWarpgroups)
        {
            _session.LaunchHopper(kernel, blocks, parameters, sharedBytesOfWarpgroups, threadsOfWarpgroups, overlapped);
        }
        else
        {
            _session.LaunchFused(kernel, blocks, parameters, sharedBytes, overlapped: overlapped);
        }
    }

    /// <summary>A weight gradient from its partial sums.</summary>
    private void AddUp(FusedLayer layer, int rows) => Activation.AddUp(_session, _t.PartialWeights, rows, (int)layer.W.Count, layer.DW);

    /// <summary>Blocks of a kernel of which so many fit on a multiprocessor; each takes one sample after another.</summary>
    private int Blocks(int perMultiprocessor) => Math.Min(_n, perMultiprocessor * _session.Multiprocessors);

    /// <summary>The same for kernels that can have two blocks make an image, each half of its rows: they do where that many fit at once. Of warpgroups there is one block for each multiprocessor.</summary>
    private int BlocksOrHalves(int perMultiprocessor) =>
        _t.UsesWarpgroups ? Blocks(1)
        : 2 * _n <= perMultiprocessor * _session.Multiprocessors ? 2 * _n
        : Blocks(perMultiprocessor);

    private FusedBatchNorm BatchNorm(FusedLayer layer, long sums) => _t.BatchNorm(layer, _n, sums);

    private (uint Threshold, float KeepScale, ulong Seed, uint Layer) Dropout(FusedLayer layer) =>
        layer.Plan.Dropout is { Rate: > 0 } dropout
            ? (dropout.Threshold, layer.KeepScale, _seed, (uint)layer.Plan.DropoutIndex)
            : (0, 1, _seed, 0);

    private nint X() => _t.X.Holding(_n * 784L, DeviceType.Bf16);

    private nint Y2() => _t.Y2.Holding(_n * (784L * 32), DeviceType.Bf16);

    private nint Pooled2() => _t.Pooled2.Holding(_n * (196L * 32), DeviceType.Bf16);

    private nint Y3() => _t.Y3.Holding(_n * (196L * 64), DeviceType.Bf16);

    private nint Y4() => _t.Y4.Holding(_n * (196L * 64), DeviceType.Bf16);

    private nint Pooled4() => Features(_t.Pooled4);

    private nint Du2() => _t.Du2.Holding(_n * (196L * 32), DeviceType.Bf16);

    private nint Du3() => _t.Du3.Holding(_n * (196L * 64), DeviceType.Bf16);

    private nint Features(DeviceTensor tensor) => tensor.Holding(_n * (49L * 64), DeviceType.Bf16);

    private nint PartialWeights(long count) => _t.PartialWeights.Holding(count, DeviceType.F32);

    private static nint W(FusedLayer layer) => Weights(layer, layer.W);

    private static nint Turned(FusedLayer layer) => Weights(layer, layer.Turned);

    private static nint Weights(FusedLayer layer, DeviceTensor tensor) => tensor.Holding(9L * layer.Plan.Input.C * layer.Plan.Conv.OutChannels, DeviceType.Bf16);

    private static nint Coefficients(FusedLayer layer) => layer.Coefficients.Holding(FusedTensors.CoefficientCount, DeviceType.F32);
}
