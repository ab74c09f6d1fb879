using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda.Layered;

/// <summary>Max-pooling by cuDNN, channels last, window = stride.</summary>
internal sealed unsafe class MaxPool2d
{
    private readonly CudaSession _session;
    private readonly CudnnDescriptor _pooling, _x, _y;
    private readonly long _xCount, _yCount;

    /// <param name="session">The device.</param>
    /// <param name="handles">Where its descriptors belong.</param>
    /// <param name="layer">The window.</param>
    /// <param name="n">Samples.</param>
    /// <param name="input">Shape of one sample.</param>
    public MaxPool2d(CudaSession session, CudaHandles handles, MaxPool2dLayer layer, int n, Shape input)
    {
        _session = session;
        _ = session.Cudnn; // made now: not while something is captured
        int type = session.Precision == Precision.Bf16 ? TypeBFloat16 : TypeFloat;
        Shape output = layer.Infer(input);
        (_xCount, _yCount) = ((long)n * input.Size, (long)n * output.Size);
        _pooling = CudnnDescriptor.MaxPooling(handles, layer.Window, session.Deterministic);
        _x = CudnnDescriptor.Tensor(handles, type, n, input.C, input.H, input.W);
        _y = CudnnDescriptor.Tensor(handles, type, n, output.C, output.H, output.W);
    }

    public void Forward(DeviceTensor x, DeviceTensor y)
    {
        float one = 1, zero = 0;
        Check(cudnnPoolingForward(_session.Cudnn.Value, _pooling.Value, &one, _x.Value, X(x), &zero, _y.Value, Y(y)));
    }

    /// <summary>dX from dY; x and y as they were in the forward pass.</summary>
    public void Backward(DeviceTensor y, DeviceTensor dy, DeviceTensor x, DeviceTensor dx)
    {
        float one = 1, zero = 0;
        Check(cudnnPoolingBackward(
            _session.Cudnn.Value, _pooling.Value, &one, _y.Value, Y(y), _y.Value, Y(dy), _x.Value, X(x), &zero, _x.Value, X(dx)));
    }

    private nint X(DeviceTensor tensor) => tensor.Holding(_xCount, _session.ActivationType);

    private nint Y(DeviceTensor tensor) => tensor.Holding(_yCount, _session.ActivationType);
}
