using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// What the fused kernels keep of `improved`: bfloat16, channels last. y: a convolution's output, before batch norm; pooled:
/// y at the maximum of each 2×2 window, or a mark where dropout took it; du: gradient after batch norm, before ReLU.
/// </summary>
internal sealed class FusedTensors(
    CudaSession session, DeviceArena arena, BlockPlan plan, DeviceParameters parameters, DeviceTensor x, int batch, bool training)
{
    /// <summary>Elements of one layer's coefficients: six rows of 64, as native/kernels/fused/coefficients.cuh has them.</summary>
    public static readonly int CoefficientCount = KernelSource.Fused["coefficient_count"];

    /// <summary>Sums of products of what taps see: native/kernels/fused/batch_norm.cuh says which stands where.</summary>
    public static readonly int MomentCount = KernelSource.Fused["moment_count"];

    /// <summary>Samples in the largest step.</summary>
    public int Batch { get; } = batch;

    /// <summary>The network's input, (N, 28, 28, 1).</summary>
    public DeviceTensor X { get; } = x;

    /// <summary>The features: after pooling, ReLU and dropout.</summary>
    public DeviceTensor Z4 { get; } = Images(arena, batch, 7 * 7 * 64);

    public DeviceTensor Y2 { get; } = Images(arena, training ? batch : 0, 28 * 28 * 32);

    public DeviceTensor Pooled2 { get; } = Images(arena, training ? batch : 0, 14 * 14 * 32);

    public DeviceTensor Y3 { get; } = Images(arena, training ? batch : 0, 14 * 14 * 64);

    public DeviceTensor Y4 { get; } = Images(arena, training ? batch : 0, 14 * 14 * 64);

    public DeviceTensor Pooled4 { get; } = Images(arena, training ? batch : 0, 7 * 7 * 64);

    public DeviceTensor Du4 { get; } = Images(arena, training ? batch : 0, 7 * 7 * 64);

    public DeviceTensor Du3 { get; } = Images(arena, training ? batch : 0, 14 * 14 * 64);

    public DeviceTensor Du2 { get; } = Images(arena, training ? batch : 0, 14 * 14 * 32);

    /// <summary>The four convolutions.</summary>
    public FusedLayer[] Layers { get; } = [.. plan.Convs.Select(block => new FusedLayer(
        block, parameters.Operand(block.Conv.WeightName),
        training && block.Input.C > 1 ? parameters.Turned(block.Conv.WeightName) : default,
        training ? parameters.Gradient(block.Conv.WeightName) : default,
        BatchNormTensors.Of(parameters, block.Norm!, training), arena.Reserve(CoefficientCount, DeviceType.F32)))];

    /// <summary>Sums over the input's windows, <see cref="MomentCount"/> of double.</summary>
    public DeviceTensor Moments { get; } = arena.Reserve(training ? MomentCount * (sizeof(double) / sizeof(float)) : 0, DeviceType.F32);

    /// <summary>Sums of the blocks of the running kernel, added up by the last of them.</summary>
    public DeviceTensor Partial { get; } =
        arena.Reserve(training ? Math.Max(2L * session.Multiprocessors * 32 * 16, FusedDense.MostBlocks * 2 * 64) : 0, DeviceType.F32);

    /// <summary>How many blocks have left their sums, u32; 0 between kernels.</summary>
    public DeviceTensor Arrived { get; } = arena.Reserve(1, DeviceType.F32);

    /// <summary>Partial sums of gradients of weights, which are computed beside the rest.</summary>
    public DeviceTensor PartialWeights { get; } = arena.Reserve(training ? (long)session.Multiprocessors * 9 * 64 * 64 : 0, DeviceType.F32);

    /// <summary>The address of n samples of a tensor that has <see cref="Batch"/> of them.</summary>
    public nint Of(DeviceTensor images, int n) => images.Holding(images.Count / Batch * n, DeviceType.Bf16);

    /// <summary>A layer's batch norm, for n samples and a kernel whose blocks leave so many sums together.</summary>
    public FusedBatchNorm BatchNorm(FusedLayer layer, int n, long sums)
    {
        BatchNormTensors norm = layer.Norm;
        return new(
            Partial.Holding(sums, DeviceType.F32), Arrived.Address, layer.Coefficients.Address, norm.Gamma.Address, norm.Beta.Address,
            norm.RunningMean.Address, norm.RunningVariance.Address, AddressOrNone(norm.DGamma), AddressOrNone(norm.DBeta),
            (double)n * layer.Plan.Input.H * layer.Plan.Input.W); // padding keeps the size

        static nint AddressOrNone(DeviceTensor gradient) => gradient.Count == 0 ? 0 : gradient.Address; // a classifier has none
    }

    private static DeviceTensor Images(DeviceArena arena, long count, int size) => arena.Reserve(count * size, DeviceType.Bf16);
}

/// <summary>
/// One convolution with its batch norm. Weights, bf16: the first one's are (32, 3, 3, 1), the others' as <see cref="Fragments"/>; turned
/// round they are for the gradient of the data, which the first has not. Their gradient and batch norm's coefficients are f32.
/// </summary>
internal sealed record FusedLayer(
    ConvPlan Plan, DeviceTensor W, DeviceTensor Turned, DeviceTensor DW, BatchNormTensors Norm, DeviceTensor Coefficients)
{
    public Dropout Dropout(ulong seed) => Common.Dropout.Of(Plan.Dropout, Plan.DropoutIndex, seed);
}
