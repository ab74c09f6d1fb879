using CudnnDigits.Cuda.Device;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Common;

/// <summary>
/// The end of the network by our own kernels (native/kernels/common/hidden_head.cu and logit_head.cu). It begins with the product of a
/// dense layer and computes the logits; in training also the loss, and the gradient of that product.
/// </summary>
internal abstract class Head
{
    /// <summary>Blocks whose sums one block can add up.</summary>
    public static readonly int MostBlocks = KernelSource.Common["head_blocks"];

    private static readonly int Warps = KernelSource.Common.Block("head_training_f32").Threads / 32;

    /// <summary>Makes a head for n samples, whose product comes in parts: sums over a share of its inputs each.</summary>
    protected Head(CudaSession session, HeadTensors tensors, int n, int parts) =>
        (Session, Tensors, N, Parts) = (session, tensors, n, parts);

    protected CudaSession Session { get; }

    protected HeadTensors Tensors { get; }

    protected int N { get; }

    protected int Parts { get; }

    protected int Blocks => Math.Min((N + Warps - 1) / Warps, Math.Min(Session.Multiprocessors, MostBlocks));

    /// <summary>Makes the head that a network's tensors are for.</summary>
    public static Head Make(CudaSession session, HeadTensors tensors, int n, int parts) =>
        tensors.Hidden is { } hidden ? new HiddenHead(session, tensors, hidden, n, parts) : new LogitHead(session, tensors, n, parts);

    /// <summary>Logits, the epoch's sums, dY, and each block's sums of the gradients of the head's parameters.</summary>
    public abstract void Training(DeviceTensor state, ulong seed);

    /// <summary>Logits to where the host, or the caller, will read them.</summary>
    public abstract void Prediction(DeviceTensor state);

    /// <summary>The gradients of the head's parameters, from the sums that <see cref="Training"/> leaves.</summary>
    public void AddUp() => ColumnSums.AddUp(Session, Tensors.Partial, Blocks, (int)Tensors.Gradients.Count, Tensors.Gradients);

    protected nint Product() => Tensors.Y.Holding((long)Parts * N * Tensors.Features, DeviceType.F32);

    protected nint Gradient() => Tensors.DY.Holding((long)N * Tensors.Features, Session.ActivationType);

    protected nint Bias() => Tensors.Bias.Holding(DigitDataset.Classes, DeviceType.F32);

    protected HeadResults Results(DeviceTensor state) => new(
        state.Address, Tensors.Logits.Holding((long)N * DigitDataset.Classes, DeviceType.F32),
        Tensors.Partial.Holding(Blocks * Tensors.Gradients.Count, DeviceType.F32), Tensors.Outcome.Address, Tensors.Arrived.Address, N,
        (int)Tensors.Gradients.Count);
}

/// <summary>A head that begins with the product of the last hidden layer: its bias, ReLU and dropout, and the whole last layer.</summary>
internal sealed class HiddenHead(CudaSession session, HeadTensors tensors, DensePlan hidden, int n, int parts)
    : Head(session, tensors, n, parts)
{
    private readonly string _training = "head_training" + session.KernelSuffix, _prediction = "head_prediction" + session.KernelSuffix;

    public override void Training(DeviceTensor state, ulong seed) => Session.Launch(_training, Blocks, new HeadTraining(
        Results(state), Product(), Parts, HiddenBias(), W(), Bias(), Gradient(), Tensors.Features, PlaceInGradients(Tensors.DW),
        PlaceInGradients(Tensors.DBias), Dropout.Of(hidden.Dropout, hidden.DropoutIndex, seed)));

    public override void Prediction(DeviceTensor state) => Session.Launch(_prediction, Blocks, new HeadPrediction(
        state.Address, Product(), Parts, HiddenBias(), W(), Bias(), N, Tensors.Features));

    private int PlaceInGradients(DeviceTensor gradient) => (int)((gradient.Offset - Tensors.Gradients.Offset) / sizeof(float));

    private nint HiddenBias() => Tensors.HiddenBias.Holding(Tensors.Features, DeviceType.F32);

    private nint W() => Tensors.W.Holding((long)DigitDataset.Classes * Tensors.Features, Session.ActivationType);
}

/// <summary>A head that begins with the product of the last layer: its bias.</summary>
internal sealed class LogitHead(CudaSession session, HeadTensors tensors, int n, int parts) : Head(session, tensors, n, parts)
{
    private readonly string _training = "logit_head_training" + session.KernelSuffix;

    public override void Training(DeviceTensor state, ulong seed) => Session.Launch(_training, Blocks, new LogitHeadTraining(
        Results(state), Product(), Bias(), Gradient()));

    public override void Prediction(DeviceTensor state) => Session.Launch("logit_head_prediction", Blocks, new LogitHeadPrediction(
        state.Address, Product(), Bias(), N));
}

/// <summary>The head's parameters and buffers.</summary>
internal sealed class HeadTensors
{
    /// <summary>Features that a warp of the kernel holds in its registers.</summary>
    public static readonly int MostFeatures = KernelSource.Common["head_features"];

    /// <summary>Reserves the buffers, with room for so many rows of a layer's product: samples times the parts in which it comes.</summary>
    public HeadTensors(
        CudaSession session, DeviceArena arena, BlockPlan plan, DeviceParameters parameters, int batch, Func<LinearLayer, long> rows,
        bool training)
    {
        LinearLayer last = plan.Denses[^1].Linear;
        Hidden = plan.Denses is [.., { Linear.OutFeatures: int features } hidden, _] && features <= MostFeatures && features % 4 == 0
            ? hidden
            : null;
        Features = (Hidden?.Linear ?? last).OutFeatures;
        (W, Bias) = (parameters.Operand(last.WeightName), parameters.Master(last.BiasName));
        HiddenBias = Hidden is null ? default : parameters.Master(Hidden.Linear.BiasName);
        Y = arena.Reserve(rows(Hidden?.Linear ?? last) * Features, DeviceType.F32);
        if (training)
        {
            (DW, DBias) = (parameters.Gradient(last.WeightName), parameters.Gradient(last.BiasName));
            DeviceTensor first = Hidden is null ? DBias : parameters.Gradient(Hidden.Linear.BiasName);
            Gradients = first with { Count = (DBias.Offset + DBias.Bytes - first.Offset) / sizeof(float) };
            DY = arena.Reserve((long)batch * Features, session.ActivationType);
            Logits = arena.Reserve((long)batch * DigitDataset.Classes, DeviceType.F32);
            int blocks = Math.Min(session.Multiprocessors, Head.MostBlocks);
            Partial = arena.Reserve(blocks * Gradients.Count, DeviceType.F32);
            Outcome = arena.Reserve(2L * blocks * (sizeof(double) / sizeof(float)), DeviceType.F32);
            Arrived = arena.Reserve(1, DeviceType.F32);
        }
    }

    /// <summary>The last hidden layer, if the head begins with it: a multiple of 4 features, at most <see cref="MostFeatures"/>.</summary>
    public DensePlan? Hidden { get; }

    public int Features { get; }

    public DeviceTensor HiddenBias { get; }

    /// <summary>Weights of the last layer, (classes, its inputs).</summary>
    public DeviceTensor W { get; }

    public DeviceTensor Bias { get; }

    /// <summary>The product without its bias, (parts, N, features) f32: the sum of the parts counts.</summary>
    public DeviceTensor Y { get; }

    /// <summary>Gradient of the product, (N, features).</summary>
    public DeviceTensor DY { get; }

    /// <summary>(N, classes) f32, of training.</summary>
    public DeviceTensor Logits { get; }

    public DeviceTensor DW { get; }

    public DeviceTensor DBias { get; }

    /// <summary>The gradients that the head computes, one after another: hidden bias, weights, bias, with padding between them.</summary>
    public DeviceTensor Gradients { get; }

    /// <summary>The same from each block, (blocks, <see cref="Gradients"/>) f32; zero where the padding is.</summary>
    public DeviceTensor Partial { get; }

    /// <summary>Loss and hits of each block, (blocks, 2) of double.</summary>
    public DeviceTensor Outcome { get; }

    /// <summary>How many blocks have left their sums, u32; 0 between kernels.</summary>
    public DeviceTensor Arrived { get; }
}

/// <summary>Where the training of both heads leaves its results; HeadResults in native/kernels/common/head.cuh.</summary>
internal readonly record struct HeadResults(
    nint State, nint Logits, nint Partial, nint Outcome, nint Arrived, int Samples, int Columns);

internal readonly record struct HeadTraining(
    HeadResults Results, nint Y, int Parts, nint HiddenBias, nint W, nint Bias, nint Dy, int Features, int AtWeights, int AtBias,
    Dropout Dropout);

internal readonly record struct HeadPrediction(
    nint State, nint Y, int Parts, nint HiddenBias, nint W, nint Bias, int Samples, int Features);

internal readonly record struct LogitHeadTraining(HeadResults Results, nint Y, nint Bias, nint Dy);

internal readonly record struct LogitHeadPrediction(nint State, nint Y, nint Bias, int Samples);
