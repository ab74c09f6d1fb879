using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda.Layered;

/// <summary>Max-pooling by cuDNN, channels last, window = stride.</summary>
internal sealed unsafe class MaxPool2d(CudaSession session, CudaHandles handles, MaxPool2dLayer layer, int n, Shape input)
{
    private readonly CudnnHandle _cudnn = session.Cudnn; // made now: not while something is captured
    private readonly CudnnDescriptor _pooling = CudnnDescriptor.MaxPooling(handles, layer.Window, session.Deterministic);
    private readonly CudnnTensor _x = new(session, handles, n, input), _y = new(session, handles, n, layer.Infer(input));

    public void Forward(DeviceTensor x, DeviceTensor y)
    {
        float one = 1, zero = 0;
        Check(cudnnPoolingForward(_cudnn.Value, _pooling.Value, &one, _x.Descriptor, _x.At(x), &zero, _y.Descriptor, _y.At(y)));
    }

    /// <summary>dX from dY; x and y as they were in the forward pass.</summary>
    public void Backward(DeviceTensor y, DeviceTensor dy, DeviceTensor x, DeviceTensor dx)
    {
        float one = 1, zero = 0;
        Check(cudnnPoolingBackward(
            _cudnn.Value, _pooling.Value, &one, _y.Descriptor, _y.At(y), _y.Descriptor, _y.At(dy), _x.Descriptor, _x.At(x), &zero,
            _x.Descriptor, _x.At(dx)));
    }
}
