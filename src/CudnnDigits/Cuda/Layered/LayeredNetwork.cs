using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Buffers of one convolution block, (N, H, W, C) each: its input X, the convolution's output Y, Normal after batch norm, Pooled, and Z
/// after bias, ReLU and dropout. Where a block has no batch norm, Normal is Y; where it has no pooling, Pooled is Normal and Z overwrites
/// it, which loses nothing that the backward pass reads.
/// </summary>
internal sealed record ConvTensors(
    ConvPlan Plan, DeviceTensor X, DeviceTensor Y, DeviceTensor Normal, DeviceTensor Pooled, DeviceTensor Z, BatchNormTensors? Norm);

/// <summary>
/// A network whose layers run one by one, by cuDNN, cuBLAS and small kernels of our own. It runs every network that
/// <see cref="BlockPlan"/> takes, in every precision, and is the reference for the fused kernels.
/// </summary>
internal sealed class LayeredNetwork : CudaNetwork
{
    private readonly CudaSession _session;

    /// <summary>
    /// Reserves everything in the arena; for prediction, where nothing is kept, no gradients, and two activations at a time.
    /// </summary>
    public LayeredNetwork(
        CudaSession session, DeviceArena arena, NetworkSpec network, int batch, IReadOnlyList<OptimizerBuffer>? kept)
        : base(session, arena, network, batch, kept, inStages: false)
    {
        bool training = kept is not null;
        (_session, Trains) = (session, training);
        bool flipped = false;
        DeviceTensor? even = null, odd = null; // prediction: each operation reads one of the two and may write the other
        if (!training)
        {
            long most = (long)batch * network.Outputs.Max(shape => shape.Size);
            (even, odd) = (arena.Reserve(most, session.ActivationType), arena.Reserve(most, session.ActivationType));
        }

        DeviceTensor x = Input;
        long largest = 0;
        foreach (ConvPlan block in Plan.Convs)
        {
            Shape output = block.Conv.Infer(block.Input), pooled = block.Pool?.Infer(output) ?? output;
            DeviceTensor y = Activations(output), normal = block.Norm is null ? y : Activations(output);
            DeviceTensor p = block.Pool is null ? normal : Activations(pooled), z = block.Pool is null ? p : Activations(pooled);
            BatchNormTensors? norm = block.Norm is null ? null : BatchNormTensors.Of(Parameters, block.Norm, training) with
            {
                SavedMean = arena.Reserve(block.Norm.Channels, DeviceType.F32),
                SavedInverseDeviation = arena.Reserve(block.Norm.Channels, DeviceType.F32),
            };
            Convs.Add(new ConvTensors(block, x, y, normal, p, z, norm));
            largest = Math.Max(largest, Math.Max(block.Input.Size, Math.Max(output.Size, pooled.Size)));
            x = z;
        }

        Dense = new DenseChain(session, arena, Plan, Parameters, x, batch, training, Activations, _ => batch);
        GradientA = arena.Reserve(training ? batch * largest : 0, session.ActivationType);
        GradientB = arena.Reserve(training ? batch * largest : 0, session.ActivationType);
        IEnumerable<long> widths =
            [.. Plan.Convs.Select(block => (long)block.Conv.OutChannels), .. Dense.Layers.Select(t => (long)t.Plan.Linear.OutFeatures)];
        Sums = arena.Reserve(training ? Activation.MostSums * widths.DefaultIfEmpty().Max() : 0, DeviceType.F32);

        DeviceTensor Activations(Shape shape)
        {
            flipped = !flipped;
            long count = (long)batch * shape.Size;
            return (flipped ? even : odd)?.Slice(0, count) ?? arena.Reserve(count, session.ActivationType);
        }
    }

    public bool Trains { get; }

    public List<ConvTensors> Convs { get; } = [];

    /// <summary>From the features on.</summary>
    public DenseChain Dense { get; }

    /// <summary>Gradients of activations: each operation of the backward pass reads one of the two and may write the other.</summary>
    public DeviceTensor GradientA { get; }

    public DeviceTensor GradientB { get; }

    /// <summary>Partial sums of a bias gradient, (<see cref="Activation.MostSums"/>, C) f32.</summary>
    public DeviceTensor Sums { get; }

    public override DeviceTensor Logits => Dense.Head.Logits;

    public override ILayers MakeLayers(CudaHandles handles, int batch, ulong seed, long workspaceLimit) =>
        new Layers(_session, handles, this, batch, seed, workspaceLimit);

    private sealed class Layers(
        CudaSession session, CudaHandles handles, LayeredNetwork net, int batch, ulong seed, long workspaceLimit) : ILayers
    {
        private readonly GatherAugment _gather = new(session, batch);
        private readonly LayeredConvolutions _convs = new(session, handles, net, batch, seed, workspaceLimit);
        private readonly DenseLayers _denses =
            new(session, net.Dense, net.Sums, batch, seed, (layer, _) => new Dense(session, batch, layer));

        public long WorkspaceBytes => _convs.WorkspaceBytes;

        public IReadOnlyDictionary<string, string> Algorithms => _convs.Algorithms;

        public void Gather(DeviceTensor state, in Gathering gathering) => _gather.Training(state, net.Input, gathering);

        public void Forward(DeviceTensor state, bool training, DeviceTensor workspace)
        {
            _convs.Forward(state, training, workspace);
            _denses.Forward(state, training);
        }

        public void Backward(DeviceTensor workspace)
        {
            _denses.Backward(net.Convs.Count > 0 ? net.GradientA : null);
            _convs.Backward(workspace);
            session.Join();
        }

        public void PreparePrediction()
        {
            // Batch norm reads its parameters and running statistics themselves.
        }
    }
}
