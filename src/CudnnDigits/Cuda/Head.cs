using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda;

/// <summary>
/// What follows the hidden dense layer's product, in one kernel of our own: its bias, ReLU and dropout, the last dense layer,
/// softmax, cross-entropy, and in training the way back to the gradient of that product.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="tensors">Its tensors.</param>
/// <param name="n">Samples.</param>
/// <param name="parts">In how many parts the product comes: <see cref="IDense.Parts"/>.</param>
internal sealed unsafe class Head(CudaSession session, HeadTensors tensors, int n, int parts)
{
    /// <summary>Features that a warp holds in its registers.</summary>
    public const int MostFeatures = 256;

    /// <summary>Blocks that one of them adds up, at most.</summary>
    public const int MostBlocks = 256;

    private const int Warps = 8, Threads = 32 * Warps;

    private readonly string _training = "head_training" + session.KernelSuffix, _prediction = "head_prediction" + session.KernelSuffix;

    private int Features => tensors.Hidden.Linear.OutFeatures;

    private int Blocks => Math.Min((n + Warps - 1) / Warps, Math.Min(session.Multiprocessors, MostBlocks));

    /// <summary>Logits, the epoch's sums, dY, and each block's sums of the gradients of the parameters.</summary>
    /// <param name="state">Labels and sums.</param>
    /// <param name="seed">Keys dropout.</param>
    public void Training(DeviceTensor state, ulong seed)
    {
        DropoutLayer? dropout = tensors.Hidden.Dropout is { Rate: > 0 } layerWithRate ? layerWithRate : null;
        nint stateAt = state.Address, y = Y(), hiddenBias = HiddenBias(), w = W(), bias = Bias(), dy = tensors.DY.Holding((long)n * Features, session.ActivationType);
        nint logits = tensors.Logits.Holding((long)n * DigitDataset.Classes, DeviceType.F32), partial = tensors.Partial.Holding(Blocks * tensors.Gradients.Count, DeviceType.F32);
        nint outcome = tensors.Outcome.Address, arrived = tensors.Arrived.Address;
        int ofProduct = parts, samples = n, features = Features, columns = (int)tensors.Gradients.Count;
        int atWeights = (int)((tensors.DW.Offset - tensors.Gradients.Offset) / sizeof(float)), atBias = (int)((tensors.DBias.Offset - tensors.Gradients.Offset) / sizeof(float));
        uint threshold = dropout?.Threshold ?? 0, layer = (uint)tensors.Hidden.DropoutIndex;
        float keepScale = dropout is null ? 1 : (float)(1 / (1 - dropout.Rate));
        void** parameters = stackalloc void*[]
        {
            &stateAt, &y, &ofProduct, &hiddenBias, &w, &bias, &dy, &logits, &partial, &outcome, &arrived, &samples, &features, &atWeights, &atBias, &columns, &threshold, &keepScale, &seed, &layer,
        };
        session.Launch(_training, (Blocks, 1), (Threads, 1), parameters);
    }

    /// <summary>The gradients of both biases and the last layer's weights, once <see cref="Training"/> has left its sums.</summary>
    public void AddUp() => Activation.AddUp(session, tensors.Partial, Blocks, (int)tensors.Gradients.Count, tensors.Gradients);

    /// <summary>Logits to where the host, or the caller, will read them.</summary>
    /// <param name="state">Says which rows these are, and where they go.</param>
    public void Prediction(DeviceTensor state)
    {
        nint stateAt = state.Address, y = Y(), hiddenBias = HiddenBias(), w = W(), bias = Bias();
        int ofProduct = parts, samples = n, features = Features;
        void** parameters = stackalloc void*[] { &stateAt, &y, &ofProduct, &hiddenBias, &w, &bias, &samples, &features };
        session.Launch(_prediction, (Blocks, 1), (Threads, 1), parameters);
    }

    private nint Y() => tensors.Y.Holding((long)parts * n * Features, DeviceType.F32);

    private nint HiddenBias() => tensors.HiddenBias.Holding(Features, DeviceType.F32);

    private nint W() => tensors.W.Holding((long)DigitDataset.Classes * Features, session.ActivationType);

    private nint Bias() => tensors.Bias.Holding(DigitDataset.Classes, DeviceType.F32);
}

/// <summary>The head's parameters and buffers.</summary>
internal sealed class HeadTensors
{
    /// <summary>Reserves the buffers.</summary>
    /// <param name="session">The device.</param>
    /// <param name="arena">Where to reserve.</param>
    /// <param name="plan">The network.</param>
    /// <param name="parameters">Its parameters.</param>
    /// <param name="batch">Samples in the largest step.</param>
    /// <param name="rows">Of the product, at most: samples times the parts in which it comes.</param>
    /// <param name="training">Whether there are to be gradients.</param>
    /// <exception cref="NotSupportedException">The network has other dense layers than a head is for.</exception>
    public HeadTensors(CudaSession session, DeviceArena arena, BlockPlan plan, DeviceParameters parameters, int batch, long rows, bool training)
    {
        if (plan.Denses is not [{ Relu: not null, Linear.OutFeatures: <= Head.MostFeatures } hidden, { Linear.OutFeatures: DigitDataset.Classes } last] || hidden.Linear.OutFeatures % 4 != 0)
        {
            throw new NotSupportedException(
                $"on CUDA a network ends in two dense layers, the first with a ReLU and at most {Head.MostFeatures} features, a multiple of 4, the last with {DigitDataset.Classes}");
        }

        Hidden = hidden;
        (HiddenBias, W, Bias) = (parameters.Master(hidden.Linear.BiasName), parameters.Operand(last.Linear.WeightName), parameters.Master(last.Linear.BiasName));
        Y = arena.Reserve(rows * hidden.Linear.OutFeatures, DeviceType.F32);
        if (training)
        {
            (DW, DBias) = (parameters.Gradient(last.Linear.WeightName), parameters.Gradient(last.Linear.BiasName));
            DeviceTensor first = parameters.Gradient(hidden.Linear.BiasName);
            Gradients = first with { Count = (DBias.Offset + DBias.Bytes - first.Offset) / sizeof(float) };
            DY = arena.Reserve((long)batch * hidden.Linear.OutFeatures, session.ActivationType);
            Logits = arena.Reserve((long)batch * DigitDataset.Classes, DeviceType.F32);
            int blocks = Math.Min(session.Multiprocessors, Head.MostBlocks);
            Partial = arena.Reserve(blocks * Gradients.Count, DeviceType.F32);
            Outcome = arena.Reserve(2L * blocks * (sizeof(double) / sizeof(float)), DeviceType.F32);
            Arrived = arena.Reserve(1, DeviceType.F32);
        }
    }

    /// <summary>The layer before.</summary>
    public DensePlan Hidden { get; }

    /// <summary>(features) f32.</summary>
    public DeviceTensor HiddenBias { get; }

    /// <summary>(classes, features).</summary>
    public DeviceTensor W { get; }

    /// <summary>(classes) f32.</summary>
    public DeviceTensor Bias { get; }

    /// <summary>The hidden layer's product without its bias, (parts, N, features) f32: to be added up.</summary>
    public DeviceTensor Y { get; }

    /// <summary>Its gradient, (N, features).</summary>
    public DeviceTensor DY { get; }

    /// <summary>(N, classes) f32, of training.</summary>
    public DeviceTensor Logits { get; }

    /// <summary>Gradient of <see cref="W"/>, f32.</summary>
    public DeviceTensor DW { get; }

    /// <summary>Gradient of <see cref="Bias"/>, f32.</summary>
    public DeviceTensor DBias { get; }

    /// <summary>All gradients of the head as they lie beside each other: hidden bias, weights, bias, with the padding between them.</summary>
    public DeviceTensor Gradients { get; }

    /// <summary>The same from each block, (blocks, <see cref="Gradients"/>) f32; zero where the padding is.</summary>
    public DeviceTensor Partial { get; }

    /// <summary>Loss and hits of each block, (blocks, 2) of double.</summary>
    public DeviceTensor Outcome { get; }

    /// <summary>How many blocks have left their sums, u32; 0 between kernels.</summary>
    public DeviceTensor Arrived { get; }
}
