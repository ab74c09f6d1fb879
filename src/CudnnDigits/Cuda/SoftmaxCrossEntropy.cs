namespace CudnnDigits.Cuda;

/// <summary>The last bias, softmax, cross-entropy and its gradients in one kernel, which also adds to the epoch's sums.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
/// <param name="classes">Classes.</param>
internal sealed unsafe class SoftmaxCrossEntropy(CudaSession session, int n, int classes)
{
    /// <summary>One block; the kernel's source says why.</summary>
    private const int Threads = 512;

    private readonly string _backward = "softmax_cross_entropy" + session.KernelSuffix;

    /// <param name="state">Labels and sums.</param>
    /// <param name="logits">(N, classes) f32; the bias is added in place.</param>
    /// <param name="bias">(classes) f32.</param>
    /// <param name="dLogits">(N, classes), the gradient of the batch's mean loss.</param>
    /// <param name="dBias">(classes) f32.</param>
    public void Backward(DeviceTensor state, DeviceTensor logits, DeviceTensor bias, DeviceTensor dLogits, DeviceTensor dBias)
    {
        nint stateAt = state.Address, logitsAt = Logits(logits), biasAt = Bias(bias), dLogitsAt = dLogits.Holding((long)n * classes, session.ActivationType), dBiasAt = Bias(dBias);
        int samples = n, width = classes;
        void** parameters = stackalloc void*[] { &stateAt, &logitsAt, &biasAt, &dLogitsAt, &dBiasAt, &samples, &width };
        session.Launch(_backward, (1, 1), (Threads, 1), parameters);
    }

    /// <summary>Logits and bias to where the host will read them.</summary>
    /// <param name="state">Says which rows these are, and where they go.</param>
    /// <param name="logits">(N, classes) f32, without the bias.</param>
    /// <param name="bias">(classes) f32.</param>
    public void Store(DeviceTensor state, DeviceTensor logits, DeviceTensor bias)
    {
        const int StoreThreads = 256;
        nint stateAt = state.Address, logitsAt = Logits(logits), biasAt = Bias(bias);
        int samples = n, width = classes;
        void** parameters = stackalloc void*[] { &stateAt, &logitsAt, &biasAt, &samples, &width };
        session.Launch("store_logits", (((long)n * classes + StoreThreads - 1) / StoreThreads, 1), (StoreThreads, 1), parameters);
    }

    private nint Logits(DeviceTensor tensor) => tensor.Holding((long)n * classes, DeviceType.F32);

    private nint Bias(DeviceTensor tensor) => tensor.Holding(classes, DeviceType.F32);
}
