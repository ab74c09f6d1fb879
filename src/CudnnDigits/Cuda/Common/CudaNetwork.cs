using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda.Common;

/// <summary>A network on the device, for the largest batch: parameters, states of steps, input; subclasses add the layers.</summary>
internal abstract unsafe class CudaNetwork
{
    private readonly DeviceArena _arena;
    private readonly long _fixedBytes;

    /// <summary>Reserves what every network has; see <see cref="DeviceParameters"/> for the stages.</summary>
    protected CudaNetwork(
        CudaSession session, DeviceArena arena, NetworkSpec network, int batch, IReadOnlyList<OptimizerBuffer>? kept,
        bool inStages)
    {
        (_arena, Batch, Plan) = (arena, batch, new BlockPlan(network));

        // What training changes comes first and in one piece, so that a warm-up can put it back.
        Parameters = new DeviceParameters(session, arena, network, Plan, kept, inStages);
        TrainingState = arena.Reserve(sizeof(StepState), DeviceType.U8);
        PredictionState = arena.Reserve(sizeof(StepState), DeviceType.U8);
        long changed = PredictionState.Offset + PredictionState.Bytes - Parameters.W.Offset;
        Changed = new DeviceTensor(arena, Parameters.W.Offset, changed, DeviceType.U8);
        Snapshot = arena.Reserve(kept is not null ? changed : 0, DeviceType.U8);
        _fixedBytes = arena.Bytes;
        Input = arena.Reserve((long)batch * network.Input.Size, session.ActivationType);
    }

    public DeviceParameters Parameters { get; }

    /// <summary>Samples in the largest step.</summary>
    public int Batch { get; }

    /// <summary>A <see cref="StepState"/>, of training.</summary>
    public DeviceTensor TrainingState { get; }

    /// <summary>A <see cref="StepState"/>, of prediction, so that a prediction leaves a running epoch as it is.</summary>
    public DeviceTensor PredictionState { get; }

    /// <summary>Everything that a step changes and a warm-up must not, in one piece.</summary>
    public DeviceTensor Changed { get; }

    /// <summary>Room for a copy of <see cref="Changed"/>.</summary>
    public DeviceTensor Snapshot { get; }

    /// <summary>(N, 28, 28, 1).</summary>
    public DeviceTensor Input { get; }

    /// <summary>Logits of the last training step, (N, classes) f32.</summary>
    public abstract DeviceTensor Logits { get; }

    /// <summary>Bytes that one more sample in the batch costs; to be asked before others reserve in the same arena.</summary>
    public long BytesPerSample => (_arena.Bytes - _fixedBytes) / Batch;

    /// <summary>The layers grouped into blocks.</summary>
    protected BlockPlan Plan { get; }

    /// <summary>Makes the layers of a step. The seed keys dropout; they use workspace up to a limit of bytes.</summary>
    public abstract ILayers MakeLayers(CudaHandles handles, int batch, ulong seed, long workspaceLimit);
}
