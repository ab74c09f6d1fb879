using CudnnDigits.Model;

namespace CudnnDigits.Cuda;

/// <summary>
/// Buffers of one convolution block. Where a block has no batch norm, Normal is Y; where it has no pooling, Pooled is
/// Normal and Z overwrites it: nothing that the backward pass reads is lost by that. Where pooling and activation are one pass, Pooled is Z.
/// </summary>
/// <param name="Plan">The layers.</param>
/// <param name="X">Input, (N, H, W, C).</param>
/// <param name="Y">The convolution's output, (N, H', W', K).</param>
/// <param name="Normal">After batch norm, (N, H', W', K).</param>
/// <param name="Pooled">After pooling, (N, H'', W'', K).</param>
/// <param name="Z">After bias, ReLU and dropout, (N, H'', W'', K).</param>
/// <param name="Norm">Batch norm's own tensors, or null.</param>
/// <param name="First">Whether <see cref="FirstConv2d"/> is to run its convolution.</param>
/// <param name="OnePass">Whether <see cref="PooledActivation"/> is to run it, from Normal to Z.</param>
/// <param name="Folded">Weights and a bias that do for predictions what convolution and batch norm do; null where there is none, or cuDNN is to do it.</param>
internal sealed record ConvTensors(
    ConvPlan Plan, DeviceTensor X, DeviceTensor Y, DeviceTensor Normal, DeviceTensor Pooled, DeviceTensor Z, BatchNormTensors? Norm, bool First, bool OnePass, (DeviceTensor Weights, DeviceTensor Bias)? Folded);

/// <summary>A network's tensors on the device, sized for the largest batch; steps of any smaller batch share them.</summary>
internal sealed class CudaNetwork
{
    /// <summary>Reserves everything in the arena.</summary>
    /// <param name="session">The device.</param>
    /// <param name="arena">Where to reserve.</param>
    /// <param name="network">The network.</param>
    /// <param name="batch">Samples in the largest step.</param>
    /// <param name="training">Whether it is to be trained; prediction alone needs no gradients, and two activations at a time.</param>
    /// <param name="convolver">Who runs its layers.</param>
    /// <exception cref="NotSupportedException">It has other dense layers than <see cref="HeadTensors"/> is for.</exception>
    public CudaNetwork(CudaSession session, DeviceArena arena, NetworkSpec network, int batch, bool training, Convolver convolver)
    {
        bool fused = convolver.IsFused();
        BlockPlan plan = new(network);

        // What training changes comes first and in one piece, so that a warm-up can put it back.
        Parameters = new DeviceParameters(session, arena, network, plan, training, fused);
        TrainingState = arena.Reserve(ByteSize, DeviceType.U8);
        PredictionState = arena.Reserve(ByteSize, DeviceType.U8);
        long changed = PredictionState.Offset + PredictionState.Bytes - Parameters.W.Offset;
        Changed = new DeviceTensor(arena, Parameters.W.Offset, changed, DeviceType.U8);
        Snapshot = arena.Reserve(training ? changed : 0, DeviceType.U8);

        long fixedBytes = arena.Bytes;
        bool flipped = false;
        DeviceTensor? even = null, odd = null; // prediction: each operation reads one of the two and may write the other
        if (!training && !fused)
        {
            long most = (long)batch * network.Outputs.Max(shape => shape.Size);
            (even, odd) = (arena.Reserve(most, session.ActivationType), arena.Reserve(most, session.ActivationType));
        }

        Input = arena.Reserve((long)batch * network.Input.Size, session.ActivationType);
        DeviceTensor x = Input;
        long largest = plan.Features.Size;
        if (fused)
        {
            Fused = new FusedTensors(session, arena, plan, Parameters, Input, batch, training) { UsesWarpgroups = convolver == Convolver.Warpgroups };
            x = Fused.Z4;
        }

        foreach (ConvPlan block in fused ? [] : plan.Convs)
        {
            Shape output = block.Conv.Infer(block.Input), pooled = block.Pool?.Infer(output) ?? output;
            bool hybrid = convolver == Convolver.Hybrid, folds = hybrid && block.Norm is not null, first = hybrid && FirstConv2d.Fits(block), onePass = hybrid && PooledActivation.Fits(block);
            DeviceTensor y = Activations(output), normal = block.Norm is null || (folds && !training) ? y : Activations(output);
            DeviceTensor p = block.Pool is null ? normal : Activations(pooled), z = block.Pool is null || onePass ? p : Activations(pooled);
            BatchNormTensors? norm = block.Norm is { } layer
                ? new BatchNormTensors(
                    Parameters.Master($"{layer.Name}.weight"), Parameters.Master($"{layer.Name}.bias"), Parameters.Gradient($"{layer.Name}.weight"), Parameters.Gradient($"{layer.Name}.bias"),
                    Parameters.Statistic($"{layer.Name}.running_mean"), Parameters.Statistic($"{layer.Name}.running_var"),
                    arena.Reserve(layer.Channels, DeviceType.F32), arena.Reserve(layer.Channels, DeviceType.F32))
                : null;
            DeviceTensor w = Parameters.Master(block.Conv.WeightName);
            Convs.Add(new ConvTensors(block, x, y, normal, p, z, norm, first, onePass, folds ? (arena.Reserve(w.Count, session.ActivationType), arena.Reserve(block.Conv.OutChannels, DeviceType.F32)) : null));
            largest = Math.Max(largest, Math.Max(block.Input.Size, output.Size));
            x = z;
        }

        Features = x;
        Head = new HeadTensors(session, arena, plan, Parameters, batch, fused ? FusedDense.MostRows(batch) : batch, training);
        GradientA = arena.Reserve(training ? batch * largest : 0, session.ActivationType);
        GradientB = arena.Reserve(training ? batch * largest : 0, session.ActivationType);
        BytesPerSample = (arena.Bytes - fixedBytes) / batch;
        Sums = arena.Reserve(training ? Activation.MostSums * plan.Convs.Max(block => (long)block.Conv.OutChannels) : 0, DeviceType.F32);

        DeviceTensor Activations(Shape shape)
        {
            flipped = !flipped;
            return (flipped ? even : odd)?.Slice(0, (long)batch * shape.Size) ?? arena.Reserve((long)batch * shape.Size, session.ActivationType);
        }
    }

    public DeviceParameters Parameters { get; }

    /// <summary>A <see cref="StepState"/>, of training.</summary>
    public DeviceTensor TrainingState { get; }

    /// <summary>A <see cref="StepState"/>, of prediction, so that an epoch goes on as it was.</summary>
    public DeviceTensor PredictionState { get; }

    /// <summary>Everything that a step changes and a warm-up must not, in one piece.</summary>
    public DeviceTensor Changed { get; }

    /// <summary>Room for a copy of <see cref="Changed"/>.</summary>
    public DeviceTensor Snapshot { get; }

    /// <summary>(N, 28, 28, 1).</summary>
    public DeviceTensor Input { get; }

    /// <summary>First to last; none where there is <see cref="Fused"/>.</summary>
    public List<ConvTensors> Convs { get; } = [];

    /// <summary>What the fused kernels have instead, or null.</summary>
    public FusedTensors? Fused { get; }

    /// <summary>What the convolutions leave: the hidden dense layer's input.</summary>
    public DeviceTensor Features { get; }

    /// <summary>From the hidden dense layer's product on.</summary>
    public HeadTensors Head { get; }

    /// <summary>Gradients of the convolutions' activations: each operation of the backward pass reads one of the two and may write the other.</summary>
    public DeviceTensor GradientA { get; }

    /// <summary>See <see cref="GradientA"/>.</summary>
    public DeviceTensor GradientB { get; }

    /// <summary>What one more sample in the batch costs.</summary>
    public long BytesPerSample { get; }

    /// <summary>Partial sums of a convolution's bias gradient, (<see cref="Activation.MostSums"/>, C) f32.</summary>
    public DeviceTensor Sums { get; }

    private static unsafe int ByteSize => sizeof(StepState);
}
