using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// What the kernels keep of one convolution with all that follows it: activations in the step's type, channels last. Y: its output,
/// before batch norm or bias; Marked: y at the maximum of each 2×2 window, or a mark where dropout took it, where there is such; Du: the
/// gradient after batch norm, before ReLU.
/// </summary>
internal sealed class FusedLayer
{
    private readonly DeviceTensor _coefficients, _bias;
    private readonly BatchNormTensors? _norm;
    private readonly DeviceTensor _dBias;

    /// <summary>Reserves the tensors for so many samples.</summary>
    public FusedLayer(
        DeviceArena arena, DeviceParameters parameters, ConvPlan plan, bool isLast, DeviceType type, long batch, bool training)
    {
        Plan = plan;
        Output = plan.Conv.Infer(plan.Input);
        IsMadeAbove = plan is { Input.C: 1, Conv: { Kernel: 3, OutChannels: <= MostMadeAbove }, Pool: null, Dropout: null } && !isLast;
        Pooled = plan.Pool?.Infer(Output) ?? Output;
        Y = arena.Reserve(!IsMadeAbove && (training || (!IsPooled && !isLast)) ? batch * Output.Size : 0, type);
        Marked = IsMarked ? arena.Reserve(training || (IsPooled && !isLast) ? batch * Pooled.Size : 0, type) : Y;
        Du = arena.Reserve(training && !IsMadeAbove ? batch * Pooled.Size : 0, type);
        (W, MasterW) = (parameters.Operand(plan.Conv.WeightName), parameters.Master(plan.Conv.WeightName));
        DW = training ? parameters.Gradient(plan.Conv.WeightName) : default;
        Turned = training && plan.Input.C > 1 ? parameters.Turned(plan.Conv.WeightName) : default;
        if (plan.Norm is { } norm)
        {
            _norm = BatchNormTensors.Of(parameters, norm, training);
            _coefficients = arena.Reserve(Coefficients * norm.Channels, DeviceType.F32);
        }
        else
        {
            _bias = parameters.Master(plan.Conv.BiasName);
            _coefficients = arena.Reserve(Output.C, DeviceType.F32); // stay 0
            _dBias = training ? parameters.Gradient(plan.Conv.BiasName) : default;
        }
    }

    /// <summary>Rows of coefficients, in the order of Coefficient in native/kernels/fused/batch_norm.cuh.</summary>
    private static readonly int Coefficients = KernelSource.Fused["rows_of_coefficients"];

    /// <summary>Channels whose weights fit beside a tile of the convolution above on every GPU: they take up to 8 KiB.</summary>
    private const int MostMadeAbove = 128;

    public ConvPlan Plan { get; }

    /// <summary>What the convolution gives.</summary>
    public Shape Output { get; }

    /// <summary>What is left of it after pooling, where there is such.</summary>
    public Shape Pooled { get; }

    /// <summary>
    /// Whether neither y nor du is ever in memory: of a first layer of three by three without pooling and dropout, whoever reads the
    /// activation makes it, and the kernel that makes du uses it up.
    /// </summary>
    public bool IsMadeAbove { get; }

    public bool IsMarked => IsPooled || Plan.Dropout is not null;

    /// <summary>Whether the kernel that makes y pools it, too.</summary>
    public bool IsPooled => Plan.Pool is not null;

    /// <summary>Whether what follows reads Marked instead of Y.</summary>
    public bool IsChanged(bool training) => IsPooled || (training && IsMarked);

    public bool HasNorm => _norm is not null;

    /// <summary>What batch norm scales with; 0 of a layer with a bias.</summary>
    public nint Gamma => _norm?.Gamma.Address ?? 0;

    public DeviceTensor Y { get; }

    public DeviceTensor Marked { get; }

    public DeviceTensor Du { get; }

    /// <summary>Weights as <see cref="StageOrder"/>; as they are, f32; the first turned round; their gradient, f32.</summary>
    public DeviceTensor W { get; }

    public DeviceTensor MasterW { get; }

    public DeviceTensor Turned { get; }

    public DeviceTensor DW { get; }

    public Dropout Dropout(ulong seed, bool training) => Common.Dropout.Of(training ? Plan.Dropout : null, Plan.DropoutIndex, seed);

    /// <summary>What batch norm or the bias comes to.</summary>
    public Affine Affine => HasNorm
        ? new Affine(Row(0), Row(1), Row(2), Row(3))
        : new Affine(0, _bias.Address, Row(0), Row(0));

    /// <summary>The layer on the way back.</summary>
    public GradientLayer Gradient =>
        new(Y.Address, Du.Address, Affine, IsPooled ? 1u : 0, TileShape.Factor((Output.H + 1) / 2));

    /// <summary>The end of the kernel that makes y; a layer with a bias needs no sums of it.</summary>
    public ChannelNorm Statistics(FusedBuffers buffers, int n) => HasNorm ? Gradients(buffers, n) : default;

    /// <summary>The end of the kernel that makes du.</summary>
    public ChannelNorm Gradients(FusedBuffers buffers, int n)
    {
        nint partial = buffers.Partial.Address, arrived = buffers.Arrived.Address;
        double values = (double)n * Output.H * Output.W;
        return _norm is { } norm
            ? new ChannelNorm(
                partial, arrived, _coefficients.Address, norm.Gamma.Address, norm.Beta.Address, norm.RunningMean.Address,
                norm.RunningVariance.Address, AddressOrNone(norm.DGamma), AddressOrNone(norm.DBeta), values, Output.C)
            : new ChannelNorm(partial, arrived, 0, 0, 0, 0, 0, 0, AddressOrNone(_dBias), values, Output.C);

        static nint AddressOrNone(DeviceTensor gradient) => gradient.Count == 0 ? 0 : gradient.Address; // a classifier has none
    }

    private nint Row(int row) => _coefficients.Slice(row * Output.C, Output.C).Address;
}

/// <summary>What all layers use in turn.</summary>
internal sealed class FusedBuffers
{
    public FusedBuffers(DeviceArena arena, BlockPlan plan, int multiprocessors, bool training)
    {
        int channels = plan.Convs.Select(block => block.Conv.OutChannels).DefaultIfEmpty().Max();
        Arrived = arena.Reserve((channels + 31) / 32, DeviceType.F32);
        long blocks = (long)multiprocessors * MostBlocks;
        Partial = arena.Reserve(training ? blocks * 2 * 64 : 0, DeviceType.F32);
        long weights = plan.Convs.Select(block => (long)block.Conv.OutChannels * block.Input.C * block.Conv.Kernel * block.Conv.Kernel)
            .DefaultIfEmpty().Max();
        MostPartialWeights = training ? Math.Max(weights, (long)multiprocessors * 2 * 64 * 32 * 9) : 0;
        PartialWeights = [.. plan.Convs.Take(CudaSession.Branches).Select(_ => arena.Reserve(MostPartialWeights, DeviceType.F32))];
        long ofGroup = training ? TileShape.FirstSums : 0;
        long groups = (channels + 31) / 32;
        FirstPartial = arena.Reserve(ofGroup * Math.Max(blocks, groups), DeviceType.F32);
        FirstSums = arena.Reserve(ofGroup * groups, DeviceType.F32);
    }

    /// <summary>Blocks of a multiprocessor that leave sums together, at most.</summary>
    public const int MostBlocks = 4;

    /// <summary>
    /// How many blocks of each group of channels have left their sums, u32; 0 between kernels. Those that use it run one after another:
    /// first_weights, on a branch, when all others have ended.
    /// </summary>
    public DeviceTensor Arrived { get; }

    /// <summary>Sums of the blocks of the running kernel, added up by the last of them.</summary>
    public DeviceTensor Partial { get; }

    /// <summary>Partial sums of gradients of weights, which are computed beside the rest: of each branch.</summary>
    public DeviceTensor[] PartialWeights { get; }

    public long MostPartialWeights { get; }

    /// <summary>Sums that blocks leave for the first layer's parameters. They have room of their own: branches use the rest.</summary>
    public DeviceTensor FirstPartial { get; }

    public DeviceTensor FirstSums { get; }
}
