using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// A network by kernels of our own, most of which span several layers, in every precision. It needs no library but the driver, and a GPU
/// of compute capability 8.0 or newer. Channels and features are multiples of eight.
/// </summary>
internal sealed class FusedNetwork : CudaNetwork
{
    /// <summary>Rows of so many images, zeros between them included, are divided exactly: Divisor in tall.cuh.</summary>
    public const int MostSamples = 1 << 17;

    /// <summary>Sixteen threads go along a row in pairs of columns: UnitOfThread in native/kernels/fused/fill.cuh.</summary>
    private const int MostColumns = 32;

    private readonly CudaSession _session;
    private readonly DeviceTensor _dFeatures, _sums;
    private readonly DenseChain _dense;

    /// <summary>Reserves everything in the arena; nothing is kept for prediction.</summary>
    public FusedNetwork(CudaSession session, DeviceArena arena, NetworkSpec network, int batch, IReadOnlyList<OptimizerBuffer>? kept)
        : base(session, arena, network, batch, kept, inStages: true)
    {
        if (batch > MostSamples)
        {
            throw new InputException($"the fused kernels take batches of up to {MostSamples} digits, not {batch}; choose a smaller batch");
        }

        _ = session.FusedKernels.Of("product" + session.KernelSuffix); // all have it: a driver that cannot compile it says so now
        bool training = kept is not null;
        DeviceType type = session.ActivationType;
        _session = session;
        Buffers = new FusedBuffers(arena, Plan, session.Multiprocessors, training);
        Layers = [.. Plan.Convs.Select((plan, i) => new FusedLayer(
            arena, Parameters, plan, isLast: i == Plan.Convs.Count - 1, type, batch, training))];
        Features = Layers.Length > 0 ? arena.Reserve((long)batch * Plan.Features.Size, type) : Input;
        _dFeatures = arena.Reserve(training && Layers.Length > 0 ? Features.Count : 0, type);
        _dense = new DenseChain(
            session, arena, Plan, Parameters, Features, batch, training,
            shape => arena.Reserve((long)batch * shape.Size, type), layer => Products.MostRows(session, batch, layer.OutFeatures));
        int widest = _dense.Layers.Select(t => t.Plan.Linear.OutFeatures).DefaultIfEmpty().Max();
        _sums = arena.Reserve(training ? Activation.MostSums * widest : 0, DeviceType.F32);
    }

    public FusedBuffers Buffers { get; }

    /// <summary>The convolutions, each with all that follows it.</summary>
    public FusedLayer[] Layers { get; }

    /// <summary>What the first dense layer reads: the last convolution's layer after ReLU and dropout, or the input.</summary>
    public DeviceTensor Features { get; }

    public override DeviceTensor Logits => _dense.Head.Logits;

    /// <summary>Why these kernels do not run a network: what they do alone, or null.</summary>
    public static string? WhyNot(NetworkSpec network)
    {
        BlockPlan plan = new(network);
        return plan.Convs.Any(block => block.Conv.OutChannels is > 256 || block.Conv.OutChannels % 8 != 0)
                ? "have channels in multiples of 8, up to 256"
            : plan.Convs.Any(block => block.Conv.Infer(block.Input).W > MostColumns) ? $"have images of up to {MostColumns} columns"
            : plan.Convs.Any(block => block.Pool is { Window: not 2 }) ? "pool two by two"
            : plan.Convs.Any(block => block.Conv.Kernel is not (3 or 5)) ? "have windows of three by three or five by five"
            : plan.Denses.SkipLast(1).Any(dense => dense.Linear.OutFeatures % 8 != 0) ? "have hidden features in multiples of 8"
            : plan.Denses is not [.., { Linear.OutFeatures: int hidden }, _] || hidden > HeadTensors.MostFeatures
                ? $"end with a hidden layer of {HeadTensors.MostFeatures} features at most"
            : null;
    }

    public override ILayers MakeLayers(CudaHandles handles, int batch, ulong seed, long workspaceLimit) =>
        new Steps(_session, this, batch, seed);

    private sealed class Steps(CudaSession session, FusedNetwork net, int n, ulong seed) : ILayers
    {
        private readonly GatherAugment _gather = new(session, n);
        private readonly FusedConvolutions _convs = new(session, net, n, seed);
        private readonly DenseLayers _denses = new(
            session, net._dense, net._sums, n, seed,
            (layer, isLast) => new Products(session, n, layer.InFeatures, layer.OutFeatures, inParts: isLast));

        public long WorkspaceBytes => 0;

        public IReadOnlyDictionary<string, string> Algorithms => _convs.Algorithms;

        public void Gather(DeviceTensor state, in Gathering gathering) => _gather.Training(state, net.Input, gathering);

        public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
        {
            _convs.Forward(state, training);
            _denses.Forward(state, training);
        }

        public void Backward(DeviceTensor workspace)
        {
            _denses.Backward(net.Layers.Length > 0 ? net._dFeatures : null);
            _convs.Backward(net._dFeatures);
            session.Join();
        }

        public void PreparePrediction() => _convs.PreparePrediction();
    }
}
