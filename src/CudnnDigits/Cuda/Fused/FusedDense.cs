using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The products of the hidden dense layer of `improved`, for n samples in bfloat16, by our own kernels (native/kernels/fused/dense.cu).
/// The head adds the bias.
/// </summary>
internal sealed class FusedDense(CudaSession session, FusedTensors tensors, int n)
{
    /// <summary>Blocks that leave sums for batch norm, at most: so many fit an H200 at once.</summary>
    public const int MostBlocks = 5 * Pixels;

    private const int Pixels = 49, In = 64 * Pixels, Out = 256;

    /// <summary>So many samples times parts fill an H200; but the head reads every part.</summary>
    private const int Filling = 8192, MostParts = 16;

    /// <summary>In how many parts y comes: sums over a share of the inputs each, which the head adds up.</summary>
    public int Parts { get; } = Math.Clamp(Filling / n, 1, MostParts);

    /// <summary>Rows of y in steps of up to so many samples: samples times parts, at most.</summary>
    public static long MostRows(int batch) => Math.Min((long)batch * MostParts, Math.Max(batch, Filling));

    /// <summary>y (Parts, N, 256) f32 = x (N, 3136) · wᵀ, w (256, 3136).</summary>
    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y)
    {
        (string kernel, int samples, int outs) = n <= 512 ? ("hidden_forward_32x64", 32, 64) : ("hidden_forward_64x128", 64, 128);
        long blocks = (long)((n + samples - 1) / samples) * (Out / outs) * Parts;
        HiddenForward parameters = new(Features(x), Weights(w), y.Holding((long)Parts * n * Out, DeviceType.F32), n, Parts);
        session.Launch(session.FusedKernels, kernel, blocks, parameters, overlapped: true);
    }

    /// <summary>
    /// <see cref="FusedTensors.Du4"/>, the gradient of the features before dropout and ReLU, from dY (N, 256); and the gradients of the
    /// last batch norm's parameters.
    /// </summary>
    public void BackwardData(DeviceTensor w, DeviceTensor dy)
    {
        FusedLayer layer = tensors.Layers[^1];
        int samplesOfBlock = KernelSource.Fused["hidden_backward_data_samples"];
        int blocks = Math.Min((n + samplesOfBlock - 1) / samplesOfBlock * Pixels, MostBlocks);
        HiddenBackwardData parameters = new(
            Gradients(dy), Weights(w), Features(tensors.Pooled4), Features(tensors.Du4), tensors.BatchNorm(layer, n, blocks * 2 * 64),
            layer.Dropout(0).KeepScale, n);
        session.Launch(session.FusedKernels, "hidden_backward_data", blocks, parameters, overlapped: true);
    }

    /// <summary>dW (256, 3136) f32 = dYᵀ · x.</summary>
    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw)
    {
        int blocks = Pixels * (Out / KernelSource.Fused["hidden_backward_weights_outs"]);
        HiddenBackwardWeights parameters = new(Gradients(dy), Features(x), dw.Holding((long)Out * In, DeviceType.F32), n);
        session.Launch(session.FusedKernels, "hidden_backward_weights", blocks, parameters);
    }

    private nint Features(DeviceTensor tensor) => tensor.Holding((long)n * In, DeviceType.Bf16);

    private nint Gradients(DeviceTensor tensor) => tensor.Holding((long)n * Out, DeviceType.Bf16);

    private static nint Weights(DeviceTensor tensor) => tensor.Holding((long)Out * In, DeviceType.Bf16);
}
