namespace CudnnDigits.Cuda;

/// <summary>
/// The products of the hidden dense layer: by cuBLAS (<see cref="Dense"/>), or by fused kernels of our own
/// (<see cref="FusedDense"/>), which the first is the reference for. Its bias is added by the head.
/// </summary>
internal interface IDense
{
    /// <summary>In how many parts y comes: sums over a share of the inputs each, which the head adds up.</summary>
    int Parts { get; }

    /// <summary>y (Parts, N, Out) f32 = x (N, In) · wᵀ, w (Out, In).</summary>
    void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y);

    /// <summary>dX (N, In) = dY (N, Out) · w.</summary>
    void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx);

    /// <summary>dW (Out, In) f32 = dYᵀ · x.</summary>
    void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw);
}
