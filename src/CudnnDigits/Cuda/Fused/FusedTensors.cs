using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// What the fused kernels keep of `improved`: bfloat16, channels last. y: a convolution's output, before batch norm; pooled:
/// y at the maximum of each 2×2 window, or a mark where dropout took it; du: gradient after batch norm, before ReLU.
/// </summary>
internal sealed class FusedTensors
{
    /// <summary>Elements of one layer's coefficients: six rows of 64, as native/kernels/fused/tile.cuh has them.</summary>
    public static readonly int CoefficientCount = KernelSource.Fused["coefficient_count"];

    /// <summary>Sums of products of what taps see: native/kernels/fused/batch_norm.cuh says which stands where.</summary>
    public static readonly int MomentCount = KernelSource.Fused["moment_count"];

    /// <summary>Reserves everything in the arena.</summary>
    /// <param name="session">The device.</param>
    /// <param name="arena">Where to reserve.</param>
    /// <param name="plan">The network.</param>
    /// <param name="parameters">Its parameters.</param>
    /// <param name="x">Its input, (N, 28, 28, 1).</param>
    /// <param name="batch">Samples in the largest step.</param>
    /// <param name="training">Whether there are to be gradients.</param>
    public FusedTensors(CudaSession session, DeviceArena arena, BlockPlan plan, DeviceParameters parameters, DeviceTensor x, int batch, bool training)
    {
        X = x;
        Z4 = arena.Reserve(batch * (7L * 7 * 64), DeviceType.Bf16);
        Y2 = OfTraining(28 * 28 * 32);
        Pooled2 = OfTraining(14 * 14 * 32);
        Y3 = OfTraining(14 * 14 * 64);
        Y4 = OfTraining(14 * 14 * 64);
        Pooled4 = OfTraining(7 * 7 * 64);
        Du4 = OfTraining(7 * 7 * 64);
        Du3 = OfTraining(14 * 14 * 64);
        Du2 = OfTraining(14 * 14 * 32);
        Layers = [.. plan.Convs.Select(block => new FusedLayer(
            block,
            parameters.Operand(block.Conv.WeightName), training && block.Input.C > 1 ? parameters.Turned(block.Conv.WeightName) : default,
            training ? parameters.Gradient(block.Conv.WeightName) : default,
            BatchNormTensors.Of(parameters, block.Norm!, training),
            arena.Reserve(CoefficientCount, DeviceType.F32)))];
        Moments = arena.Reserve(training ? MomentCount * (sizeof(double) / sizeof(float)) : 0, DeviceType.F32);
        Partial = arena.Reserve(training ? Math.Max(2L * session.Multiprocessors * 32 * 16, FusedDense.MostBlocks * 2 * 64) : 0, DeviceType.F32);
        Arrived = arena.Reserve(1, DeviceType.F32);
        PartialWeights = arena.Reserve(training ? (long)session.Multiprocessors * 9 * 64 * 64 : 0, DeviceType.F32);

        DeviceTensor OfTraining(int perSample) => arena.Reserve(training ? (long)batch * perSample : 0, DeviceType.Bf16);
    }

    /// <summary>Whether warpgroups make the products of convolutions in training.</summary>
    public bool UsesWarpgroups { get; init; }

    /// <summary>(N, 28, 28, 1).</summary>
    public DeviceTensor X { get; }

    /// <summary>(N, 28, 28, 32).</summary>
    public DeviceTensor Y2 { get; }

    /// <summary>(N, 14, 14, 32).</summary>
    public DeviceTensor Pooled2 { get; }

    /// <summary>(N, 14, 14, 64).</summary>
    public DeviceTensor Y3 { get; }

    /// <summary>(N, 14, 14, 64).</summary>
    public DeviceTensor Y4 { get; }

    /// <summary>(N, 7, 7, 64).</summary>
    public DeviceTensor Pooled4 { get; }

    /// <summary>The features: after pooling, ReLU and dropout, (N, 7, 7, 64).</summary>
    public DeviceTensor Z4 { get; }

    /// <summary>(N, 14, 14, 32).</summary>
    public DeviceTensor Du2 { get; }

    /// <summary>(N, 14, 14, 64).</summary>
    public DeviceTensor Du3 { get; }

    /// <summary>(N, 7, 7, 64).</summary>
    public DeviceTensor Du4 { get; }

    /// <summary>The four convolutions.</summary>
    public IReadOnlyList<FusedLayer> Layers { get; }

    /// <summary>Sums over the input's windows, <see cref="MomentCount"/> of double.</summary>
    public DeviceTensor Moments { get; }

    /// <summary>Sums of the blocks of the running kernel, added up by the last of them.</summary>
    public DeviceTensor Partial { get; }

    /// <summary>How many blocks have left their sums, u32; 0 between kernels.</summary>
    public DeviceTensor Arrived { get; }

    /// <summary>The same for gradients of weights, which are computed beside the rest.</summary>
    public DeviceTensor PartialWeights { get; }

    /// <summary>A layer's batch norm, for a kernel whose blocks leave so many sums together.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="n">Samples.</param>
    /// <param name="sums">Of all blocks.</param>
    public FusedBatchNorm BatchNorm(FusedLayer layer, int n, long sums)
    {
        BatchNormTensors norm = layer.Norm;
        return new FusedBatchNorm
        {
            Partial = Partial.Holding(sums, DeviceType.F32),
            Arrived = Arrived.Address,
            Coefficients = layer.Coefficients.Holding(CoefficientCount, DeviceType.F32),
            Gamma = OfChannels(norm.Gamma),
            Beta = OfChannels(norm.Beta),
            RunningMean = OfChannels(norm.RunningMean),
            RunningVariance = OfChannels(norm.RunningVariance),
            DGamma = norm.DGamma.Count == 0 ? 0 : OfChannels(norm.DGamma), // a classifier has no gradients
            DBeta = norm.DBeta.Count == 0 ? 0 : OfChannels(norm.DBeta),
            Values = (double)n * layer.Plan.Input.H * layer.Plan.Input.W, // padding keeps the size
        };

        nint OfChannels(DeviceTensor tensor) => tensor.Holding(layer.Plan.Conv.OutChannels, DeviceType.F32);
    }
}

/// <summary>One convolution with its batch norm.</summary>
/// <param name="Plan">The layers.</param>
/// <param name="W">Its weights, bf16: the first one's (32, 3, 3, 1), the others' as <see cref="Fragments"/>.</param>
/// <param name="Turned">The same for the gradient of the data; none of the first.</param>
/// <param name="DW">Their gradient, f32.</param>
/// <param name="Norm">Batch norm's parameters, gradients and running statistics.</param>
/// <param name="Coefficients">What batch norm comes to, f32.</param>
internal sealed record FusedLayer(ConvPlan Plan, DeviceTensor W, DeviceTensor Turned, DeviceTensor DW, BatchNormTensors Norm, DeviceTensor Coefficients)
{
    /// <summary>What dropout multiplies by what it keeps.</summary>
    public float KeepScale => Plan.Dropout is { Rate: > 0 } dropout ? (float)(1 / (1 - dropout.Rate)) : 1;
}
