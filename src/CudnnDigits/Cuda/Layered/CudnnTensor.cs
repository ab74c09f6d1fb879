using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda.Layered;

/// <summary>The shape of n samples of an activation, channels last, as cuDNN is told of it.</summary>
internal sealed class CudnnTensor(CudaSession session, CudaHandles handles, int n, Shape shape)
{
    private readonly CudnnDescriptor _descriptor =
        CudnnDescriptor.Tensor(handles, TypeOf(session), n, shape.C, shape.H, shape.W);

    /// <summary>The descriptor's handle.</summary>
    public nint Descriptor => _descriptor.Value;

    /// <summary>cuDNN's name for the type of activations and of the weights that multiply them.</summary>
    public static int TypeOf(CudaSession session) => session.Precision == Precision.Bf16 ? TypeBFloat16 : TypeFloat;

    /// <summary>The address of a tensor of this shape.</summary>
    public nint At(DeviceTensor tensor) => tensor.Holding((long)n * shape.Size, session.ActivationType);
}
