using CudnnDigits.Cuda.Device;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Common;

/// <summary>
/// The end of the network by our own kernel (native/kernels/common/head.cu), for n samples. It begins with the product of the last hidden
/// layer, or of the last one, and computes the logits; in training also the loss, and the gradient of that product. The product comes in
/// parts: sums over a share of its inputs each.
/// </summary>
internal sealed class Head(CudaSession session, HeadTensors tensors, int n, int parts)
{
    /// <summary>Blocks whose sums one block can add up.</summary>
    public static readonly int MostBlocks = KernelSource.Common["head_blocks"];

    private static readonly int Warps = KernelSource.Common.Block("head").Threads / 32;

    private int Blocks => Math.Min((n + Warps - 1) / Warps, Math.Min(session.Multiprocessors, MostBlocks));

    /// <summary>Logits, the epoch's sums, dY, and each block's sums of the gradients of the head's parameters.</summary>
    public void Training(DeviceTensor state, ulong seed) => session.Launch("head", Blocks, Parameters(state) with
    {
        Columns = (int)tensors.Gradients.Count,
        AtWeights = PlaceInGradients(tensors.DW),
        AtBias = PlaceInGradients(tensors.DBias),
        Logits = tensors.Logits.Holding((long)n * DigitDataset.Classes, DeviceType.F32),
        Dy = tensors.DY.Holding((long)n * tensors.Features, session.ActivationType),
        Partial = tensors.Partial.Holding(Blocks * tensors.Gradients.Count, DeviceType.F32),
        Outcome = tensors.Outcome.Address,
        Arrived = tensors.Arrived.Address,
        Dropout = Dropout.Of(tensors.Hidden?.Dropout, tensors.Hidden?.DropoutIndex ?? 0, seed),
    });

    /// <summary>Logits to where the host, or the caller, will read them.</summary>
    public void Prediction(DeviceTensor state) => session.Launch("head", Blocks, Parameters(state));

    /// <summary>The gradients of the head's parameters, from the sums that <see cref="Training"/> leaves.</summary>
    public void AddUp() => ColumnSums.AddUp(session, tensors.Partial, Blocks, (int)tensors.Gradients.Count, tensors.Gradients);

    private HeadParameters Parameters(DeviceTensor state) => new()
    {
        State = state.Address,
        Y = tensors.Y.Holding((long)parts * n * tensors.Features, DeviceType.F32),
        HiddenBias = tensors.Hidden is null ? 0 : tensors.HiddenBias.Holding(tensors.Features, DeviceType.F32),
        W = tensors.Hidden is null ? 0 : tensors.W.Holding((long)DigitDataset.Classes * tensors.Features, session.ActivationType),
        Bias = tensors.Bias.Holding(DigitDataset.Classes, DeviceType.F32),
        Parts = parts,
        Features = tensors.Features,
        Samples = n,
    };

    private int PlaceInGradients(DeviceTensor gradient) => (int)((gradient.Offset - tensors.Gradients.Offset) / sizeof(float));
}

/// <summary>The head's parameters and buffers.</summary>
internal sealed class HeadTensors
{
    /// <summary>Features of a hidden layer that the kernel takes.</summary>
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

/// <summary>Parameters of native/kernels/common/head.cu.</summary>
internal readonly record struct HeadParameters(
    nint State, nint Y, nint HiddenBias, nint W, nint Bias, int Parts, int Features, int Samples, int Columns, int AtWeights, int AtBias,
    nint Logits, nint Dy, nint Partial, nint Outcome, nint Arrived, Dropout Dropout);
