namespace CudnnDigits.Cuda;

/// <summary>
/// The hidden dense layer of `improved` in bfloat16 by our own kernels (native/kernels/fused/dense.cu). The gradient of the
/// data goes on through what <see cref="FusedConvolutions"/> ends with: it leaves as du of the last convolution.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="tensors">The network's tensors, for at least <paramref name="n"/> samples.</param>
/// <param name="n">Samples.</param>
internal sealed unsafe class FusedDense(CudaSession session, FusedTensors tensors, int n) : IDense
{
    /// <summary>Blocks that leave sums for batch norm, at most: so many fit an H200 at once.</summary>
    public const int MostBlocks = 5 * Pixels;

    private const int Pixels = 49, In = 64 * Pixels, Out = 256;

    /// <summary>So many samples times parts fill an H200; but the head reads every part.</summary>
    private const int Filling = 8192, MostParts = 16;

    // Shared memory of a block, as dense.cu lays it out.
    private const int SharedOfData = Out * (64 + 8) * 2, SharedOfWeights = 2 * 128 * (128 + 8 + 64 + 8) * 2;

    public int Parts => Math.Clamp(Filling / n, 1, MostParts);

    /// <summary>Rows of y in steps of up to so many samples: samples times parts, at most.</summary>
    public static long MostRows(int batch) => Math.Min((long)batch * MostParts, Math.Max(batch, Filling));

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y)
    {
        (string kernel, int samplesOfTile, int outsOfTile) = n <= 512 ? ("hidden_forward_32x64", 32, 64) : ("hidden_forward_64x128", 64, 128);
        long blocks = (long)((n + samplesOfTile - 1) / samplesOfTile) * (Out / outsOfTile) * Parts;
        nint z4 = Features(x), weights = Weights(w), sums = y.Holding((long)Parts * n * Out, DeviceType.F32);
        int samples = n, parts = Parts;
        void** parameters = stackalloc void*[] { &z4, &weights, &sums, &samples, &parts };
        session.LaunchFused(kernel, blocks, parameters, overlapped: true);
    }

    /// <summary>dX is not the gradient of x, but what it becomes through dropout and ReLU: du4 (N, 7, 7, 64). Completes batch norm's gradients.</summary>
    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx)
    {
        const int SamplesOfBlock = 32, Sums = 2 * 64;
        FusedLayer layer = tensors.Layers[^1];
        int blocks = Math.Min((n + SamplesOfBlock - 1) / SamplesOfBlock * Pixels, MostBlocks), samples = n;
        nint gradients = Gradients(dy), weights = Weights(w), pooled4 = Features(tensors.Pooled4), du4 = Features(dx);
        float keepScale = layer.KeepScale;
        FusedBatchNorm norm4 = tensors.BatchNorm(layer, n, blocks * Sums);
        void** parameters = stackalloc void*[] { &gradients, &weights, &pooled4, &keepScale, &du4, &norm4, &samples };
        session.LaunchFused("hidden_backward_data", blocks, parameters, SharedOfData, overlapped: true);
    }

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw)
    {
        const int OutsOfBlock = 128;
        nint gradients = Gradients(dy), z4 = Features(x), to = dw.Holding((long)Out * In, DeviceType.F32);
        int samples = n;
        void** parameters = stackalloc void*[] { &gradients, &z4, &to, &samples };
        session.LaunchFused("hidden_backward_weights", Pixels * (Out / OutsOfBlock), parameters, SharedOfWeights);
    }

    private nint Features(DeviceTensor tensor) => tensor.Holding((long)n * In, DeviceType.Bf16);

    private nint Gradients(DeviceTensor tensor) => tensor.Holding((long)n * Out, DeviceType.Bf16);

    private static nint Weights(DeviceTensor tensor) => tensor.Holding((long)Out * In, DeviceType.Bf16);
}
