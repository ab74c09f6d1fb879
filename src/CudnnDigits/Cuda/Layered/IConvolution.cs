using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Layered;

/// <summary>One convolution: cuDNN's (<see cref="Conv2d"/>), or our own of one input channel (<see cref="FirstConv2d"/>).</summary>
internal interface IConvolution
{
    /// <summary>Bytes of workspace that the passes need.</summary>
    long WorkspaceBytes { get; }

    /// <summary>What computes each pass.</summary>
    string Algorithms { get; }

    /// <summary>y = x ∗ w; x (N, H, W, C), w (K, R, S, C), y (N, H', W', K).</summary>
    void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y, DeviceTensor workspace);

    /// <summary>dX from dY.</summary>
    void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx, DeviceTensor workspace);

    /// <summary>dW from x and dY, in the type of the activations.</summary>
    void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw, DeviceTensor workspace);
}
