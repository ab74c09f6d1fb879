using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>
/// The convolutions of `improved` in bfloat16 by our own fused kernels (native/kernels/fused), on tensor cores: what lies
/// between two convolutions never goes through device memory, only their outputs do. One launch per line.
/// </summary>
internal sealed unsafe class FusedConvolutions : IConvolutions
{
    /// <summary>Chooses who convolves where the caller does not.</summary>
    public const string Setting = "CUDNN_DIGITS_CONVOLUTIONS";

    // Shared memory of a block, as native/kernels/fused/tile.cuh lays it out: rows × columns × (channels + 8) of two bytes.
    // And what is fetched ahead: the tensors of one sample.
    private const int Image = (30 * 34 + 4) * 2, Wide32 = 30 * 34 * 40 * 2, Small32 = 16 * 18 * 40 * 2, Small64 = 16 * 18 * 72 * 2;
    private const int SampleY2 = 784 * 32 * 2, SampleDu2 = 196 * 32 * 2, SampleY3 = 196 * 64 * 2, SampleY4 = SampleY3, SampleDu4 = 49 * 64 * 2;

    /// <summary>What conv2_backward_weights takes, with 4 KiB that kernels have anyway.</summary>
    private const int MostShared = 2 * Wide32 + Image + SampleY2 + SampleDu2 + (4 << 10);

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
        session.PrepareBranches();
    }

    public long WorkspaceBytes => 0;

    public IReadOnlyDictionary<string, string> Algorithms => _t.Layers.ToDictionary(layer => layer.Plan.Conv.Name, _ => "fused");

    /// <summary>Whether the fused kernels are to run a network's convolutions.</summary>
    /// <param name="session">The device and precision.</param>
    /// <param name="network">The network.</param>
    /// <param name="choice">"cudnn", "fused", or null for what <see cref="Setting"/> says; cuDNN where it says nothing.</param>
    /// <exception cref="InputException">They are asked for and cannot, or the choice is neither.</exception>
    public static bool Takes(CudaSession session, NetworkSpec network, string? choice)
    {
        switch (choice ?? Environment.GetEnvironmentVariable(Setting))
        {
            case null or "" or "cudnn":
                return false;
            case "fused":
                break;
            case string other:
                throw new InputException($"{Setting}={other}: expected cudnn or fused");
        }

        int shared = CudaDevice.Attribute(session.Context.Device, CudaDriver.AttributeMaxSharedBytesPerBlock);
        string? why = session.Precision != Precision.Bf16 ? "compute in bf16; add --precision bf16"
            : !network.WithDropout(0).Layers.SequenceEqual(DigitNetworks.Improved.WithDropout(0).Layers) ? $"run the network 'improved'; this one is '{network.Name}'"
            : shared < MostShared ? $"need {MostShared >> 10} KiB of shared memory for a block, and this GPU has {shared >> 10} (Hopper and newer have enough)"
            : null;
        return why is null ? true : throw new InputException($"{Setting}=fused: the fused kernels {why}; or leave the setting out");
    }

    public void PreparePrediction()
    {
        foreach (FusedLayer layer in _t.Layers)
        {
            BatchNormRunning(layer);
        }
    }

    public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
    {
        if (training)
        {
            int rows = WindowMoments();
            FirstStatistics(rows);
            BatchNormStatistics(_2, Conv2Forward());
            BatchNormStatistics(_3, Conv3Forward(state, training));
            BatchNormStatistics(_4, Conv4Forward());
        }
        else
        {
            Conv2Forward();
            Conv3Forward(state, training);
            Conv4Forward();
        }

        Pool4Forward(state, training);
    }

    public void Backward(DeviceTensor gradient, DeviceTensor other, DeviceTensor workspace)
    {
        // Nothing waits for gradients of weights but Adam: they run beside the gradients of data, which wait for each other. Of
        // the coefficients of the layer below, which are completed meanwhile, they use those of the forward pass alone.
        BatchNormGradients(_4, Pool4Backward(gradient));
        using (_session.OpenBranch())
        {
            AddUp(_4, Conv4BackwardWeights(gradient));
        }

        BatchNormGradients(_3, Conv4BackwardData(gradient));
        using (_session.OpenBranch())
        {
            AddUp(_3, Conv3BackwardWeights());
        }

        BatchNormGradients(_2, Conv3BackwardData());
        using (_session.OpenBranch())
        {
            AddUp(_2, Conv2BackwardWeights());
        }

        FirstGradients(Conv2BackwardData());
        _session.Join();
    }

    public void Dispose()
    {
    }

    // Each launch that leaves partial sums returns how many rows of them there are.

    private int WindowMoments()
    {
        nint x = X(), partial = Partial(Blocks(2) * 256);
        int samples = _n;
        void** parameters = stackalloc void*[] { &x, &partial, &samples };
        _session.LaunchFused("window_moments", Blocks(2), parameters);
        return Blocks(2);
    }

    private void FirstStatistics(int rows)
    {
        BatchNormTensors b = _1.Norm;
        nint partial = Partial(rows * 256), w1 = W(_1), gamma = C(_1, b.Gamma), beta = C(_1, b.Beta), mean = C(_1, b.RunningMean), variance = C(_1, b.RunningVariance);
        nint moments = _t.Moments.Address, coefficients = Coefficients(_1);
        double values = Values(_1);
        void** parameters = stackalloc void*[] { &partial, &rows, &values, &w1, &gamma, &beta, &mean, &variance, &moments, &coefficients };
        _session.LaunchFused("first_statistics", 1, parameters, threads: 1024);
    }

    private int Conv2Forward()
    {
        nint x = X(), w1 = W(_1), coefficients1 = Coefficients(_1), w2 = W(_2), y2 = Y2(), partial = Partial(Blocks(2) * 64);
        int samples = _n;
        void** parameters = stackalloc void*[] { &x, &w1, &coefficients1, &w2, &y2, &partial, &samples };
        _session.LaunchFused("conv2_forward", Blocks(2), parameters, Wide32 + Image);
        return Blocks(2);
    }

    private int Conv3Forward(DeviceTensor state, bool training)
    {
        nint stateAt = state.Address, y2 = Y2(), coefficients2 = Coefficients(_2), w3 = W(_3), pooled2 = Pooled2(), y3 = Y3(), partial = Partial(Blocks(2) * 128);
        int samples = _n;
        (uint threshold, float keepScale, ulong seed, uint layer) = Dropout(_2, training);
        void** parameters = stackalloc void*[] { &stateAt, &y2, &coefficients2, &w3, &pooled2, &y3, &partial, &samples, &threshold, &keepScale, &seed, &layer };
        _session.LaunchFused("conv3_forward", Blocks(2), parameters, Small32);
        return Blocks(2);
    }

    private int Conv4Forward()
    {
        nint y3 = Y3(), coefficients3 = Coefficients(_3), w4 = W(_4), y4 = Y4(), partial = Partial(Blocks(1) * 128);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y3, &coefficients3, &w4, &y4, &partial, &samples };
        _session.LaunchFused("conv4_forward", Blocks(1), parameters, Small64 + SampleY3);
        return Blocks(1);
    }

    private void Pool4Forward(DeviceTensor state, bool training)
    {
        nint stateAt = state.Address, y4 = Y4(), coefficients4 = Coefficients(_4), pooled4 = Pooled4(), z4 = Features(_t.Z4);
        int samples = _n;
        (uint threshold, float keepScale, ulong seed, uint layer) = Dropout(_4, training);
        void** parameters = stackalloc void*[] { &stateAt, &y4, &coefficients4, &pooled4, &z4, &samples, &threshold, &keepScale, &seed, &layer };
        _session.LaunchFused("pool4_forward", (_n * 49L * 8 + 255) / 256, parameters);
    }

    private int Pool4Backward(DeviceTensor gradient)
    {
        int rows = (int)Math.Min((_n * 49L + 15) / 16, _session.Multiprocessors), samples = _n;
        nint pooled4 = Pooled4(), coefficients4 = Coefficients(_4), dz4 = Features(gradient), partial = Partial(rows * 128);
        (_, float keepScale, _, _) = Dropout(_4, training: true);
        void** parameters = stackalloc void*[] { &pooled4, &coefficients4, &keepScale, &dz4, &partial, &samples };
        _session.LaunchFused("pool4_backward", rows, parameters);
        return rows;
    }

    private int Conv4BackwardData(DeviceTensor gradient)
    {
        nint y4 = Y4(), du4 = Features(gradient), coefficients4 = Coefficients(_4), w4 = W(_4), y3 = Y3(), coefficients3 = Coefficients(_3), du3 = Du3(), partial = Partial(Blocks(1) * 128);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y4, &du4, &coefficients4, &w4, &y3, &coefficients3, &du3, &partial, &samples };
        _session.LaunchFused("conv4_backward_data", Blocks(1), parameters, Small64 + SampleY4 + SampleDu4);
        return Blocks(1);
    }

    private int Conv4BackwardWeights(DeviceTensor gradient)
    {
        nint y4 = Y4(), du4 = Features(gradient), coefficients4 = Coefficients(_4), y3 = Y3(), coefficients3 = Coefficients(_3), partial = PartialWeights(Blocks(1) * 9 * 64 * 64);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y4, &du4, &coefficients4, &y3, &coefficients3, &partial, &samples };
        _session.LaunchFused("conv4_backward_weights", Blocks(1), parameters, 2 * Small64 + SampleY4 + SampleDu4 + SampleY3);
        return Blocks(1);
    }

    private int Conv3BackwardData()
    {
        nint y3 = Y3(), du3 = Du3(), coefficients3 = Coefficients(_3), w3 = W(_3), pooled2 = Pooled2(), coefficients2 = Coefficients(_2), du2 = Du2(), partial = Partial(Blocks(1) * 64);
        int samples = _n;
        (_, float keepScale, _, _) = Dropout(_2, training: true);
        void** parameters = stackalloc void*[] { &y3, &du3, &coefficients3, &w3, &pooled2, &coefficients2, &keepScale, &du2, &partial, &samples };
        _session.LaunchFused("conv3_backward_data", Blocks(1), parameters, Small64 + 2 * SampleY3);
        return Blocks(1);
    }

    private int Conv3BackwardWeights()
    {
        nint y3 = Y3(), du3 = Du3(), coefficients3 = Coefficients(_3), pooled2 = Pooled2(), coefficients2 = Coefficients(_2), partial = PartialWeights(Blocks(2) * 9 * 32 * 64);
        int samples = _n;
        (_, float keepScale, _, _) = Dropout(_2, training: true);
        void** parameters = stackalloc void*[] { &y3, &du3, &coefficients3, &pooled2, &coefficients2, &keepScale, &partial, &samples };
        _session.LaunchFused("conv3_backward_weights", Blocks(2), parameters, Small64 + Small32);
        return Blocks(2);
    }

    private int Conv2BackwardData()
    {
        nint y2 = Y2(), du2 = Du2(), coefficients2 = Coefficients(_2), w2 = W(_2), x = X(), w1 = W(_1), coefficients1 = Coefficients(_1), partial = Partial(Blocks(2) * 512);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y2, &du2, &coefficients2, &w2, &x, &w1, &coefficients1, &partial, &samples };
        _session.LaunchFused("conv2_backward_data", Blocks(2), parameters, Wide32 + Image);
        return Blocks(2);
    }

    private int Conv2BackwardWeights()
    {
        nint y2 = Y2(), du2 = Du2(), coefficients2 = Coefficients(_2), x = X(), w1 = W(_1), coefficients1 = Coefficients(_1), partial = PartialWeights(2 * Blocks(1) * 9 * 32 * 32);
        int samples = _n;
        void** parameters = stackalloc void*[] { &y2, &du2, &coefficients2, &x, &w1, &coefficients1, &partial, &samples };
        _session.LaunchFused("conv2_backward_weights", Blocks(1), parameters, 2 * Wide32 + Image + SampleY2 + SampleDu2);
        return 2 * Blocks(1);
    }

    private void FirstGradients(int rows)
    {
        nint partial = Partial(rows * 512), w1 = W(_1), moments = _t.Moments.Address, coefficients = Coefficients(_1);
        nint dGamma = C(_1, _1.Norm.DGamma), dBeta = C(_1, _1.Norm.DBeta), dw1 = _1.DW.Holding(9 * 32, DeviceType.F32);
        double values = Values(_1);
        void** parameters = stackalloc void*[] { &partial, &rows, &values, &w1, &moments, &coefficients, &dGamma, &dBeta, &dw1 };
        _session.LaunchFused("first_gradients", 1, parameters, threads: 1024);
    }

    private void BatchNormStatistics(FusedLayer layer, int rows)
    {
        BatchNormTensors b = layer.Norm;
        int channels = layer.Plan.Conv.OutChannels;
        nint partial = Partial(rows * 2 * channels), gamma = C(layer, b.Gamma), beta = C(layer, b.Beta), mean = C(layer, b.RunningMean), variance = C(layer, b.RunningVariance), coefficients = Coefficients(layer);
        double values = Values(layer);
        void** parameters = stackalloc void*[] { &partial, &rows, &channels, &values, &gamma, &beta, &mean, &variance, &coefficients };
        _session.LaunchFused("batch_norm_statistics", 1, parameters, threads: 1024);
    }

    private void BatchNormRunning(FusedLayer layer)
    {
        BatchNormTensors b = layer.Norm;
        int channels = layer.Plan.Conv.OutChannels;
        nint gamma = C(layer, b.Gamma), beta = C(layer, b.Beta), mean = C(layer, b.RunningMean), variance = C(layer, b.RunningVariance), coefficients = Coefficients(layer);
        void** parameters = stackalloc void*[] { &gamma, &beta, &mean, &variance, &channels, &coefficients };
        _session.LaunchFused("batch_norm_running", 1, parameters, threads: 64);
    }

    private void BatchNormGradients(FusedLayer layer, int rows)
    {
        int channels = layer.Plan.Conv.OutChannels;
        nint partial = Partial(rows * 2 * channels), coefficients = Coefficients(layer), dGamma = C(layer, layer.Norm.DGamma), dBeta = C(layer, layer.Norm.DBeta);
        double values = Values(layer);
        void** parameters = stackalloc void*[] { &partial, &rows, &channels, &values, &coefficients, &dGamma, &dBeta };
        _session.LaunchFused("batch_norm_gradients", 1, parameters, threads: 1024);
    }

    /// <summary>A weight gradient from its partial sums.</summary>
    private void AddUp(FusedLayer layer, int rows)
    {
        const int Lanes = 32, Groups = 8; // of column_sums
        int count = (int)layer.W.Count;
        nint partial = PartialWeights((long)rows * count), dw = layer.DW.Holding(count, DeviceType.F32);
        void** parameters = stackalloc void*[] { &partial, &dw, &rows, &count };
        _session.Launch("column_sums", ((count + Lanes - 1) / Lanes, 1), (Lanes, Groups), parameters);
    }

    /// <summary>Blocks of a kernel of which so many fit on a multiprocessor; each takes one sample after another.</summary>
    private int Blocks(int perMultiprocessor) => Math.Min(_n, perMultiprocessor * _session.Multiprocessors);

    /// <summary>Values that one channel's batch norm is over.</summary>
    private double Values(FusedLayer layer) => (double)_n * layer.Plan.Input.H * layer.Plan.Input.W; // padding keeps the size

    private (uint Threshold, float KeepScale, ulong Seed, uint Layer) Dropout(FusedLayer layer, bool training) =>
        training && layer.Plan.Dropout is { Rate: > 0 } dropout
            ? (dropout.Threshold, (float)(1 / (1 - dropout.Rate)), _seed, (uint)layer.Plan.DropoutIndex)
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

    private nint Partial(long count) => _t.Partial.Holding(count, DeviceType.F32);

    private nint PartialWeights(long count) => _t.PartialWeights.Holding(count, DeviceType.F32);

    private static nint W(FusedLayer layer) => layer.W.Holding(9L * layer.Plan.Input.C * layer.Plan.Conv.OutChannels, DeviceType.Bf16);

    private static nint C(FusedLayer layer, DeviceTensor tensor) => tensor.Holding(layer.Plan.Conv.OutChannels, DeviceType.F32);

    private static nint Coefficients(FusedLayer layer) => layer.Coefficients.Holding(FusedTensors.CoefficientCount, DeviceType.F32);
}
