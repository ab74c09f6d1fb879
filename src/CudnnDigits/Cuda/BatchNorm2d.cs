using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using CudnnDigits.Training;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda;

/// <summary>What one batch-norm layer keeps on the device, each (C) f32.</summary>
internal readonly record struct BatchNormTensors(
    DeviceTensor Gamma, DeviceTensor Beta, DeviceTensor DGamma, DeviceTensor DBeta,
    DeviceTensor RunningMean, DeviceTensor RunningVariance, DeviceTensor SavedMean, DeviceTensor SavedInverseDeviation);

/// <summary>Batch normalization over N, H, W by cuDNN, channels last; statistics in float32 whatever the activations are.</summary>
internal sealed unsafe class BatchNorm2d : IDisposable
{
    private readonly CudaSession _session;
    private readonly CudnnDescriptor _x, _parameters;
    private readonly long _count;
    private readonly int _channels;

    /// <param name="session">The device.</param>
    /// <param name="n">Samples.</param>
    /// <param name="shape">Shape of one sample.</param>
    public BatchNorm2d(CudaSession session, int n, Shape shape)
    {
        _session = session;
        (_count, _channels) = ((long)n * shape.Size, shape.C);
        _x = CudnnDescriptor.Tensor(session.Context, session.Precision == Precision.Bf16 ? TypeBFloat16 : TypeFloat, n, shape.C, shape.H, shape.W);
        _parameters = CudnnDescriptor.Tensor(session.Context);
        Check(cudnnDeriveBNTensorDescriptor(_parameters.Value, _x.Value, BatchNormSpatial));
    }

    /// <summary>y = γ (x − mean) / σ + β: in training by the batch's statistics, which also move the running ones; else by the running ones.</summary>
    public void Forward(DeviceTensor x, DeviceTensor y, in BatchNormTensors t, bool training)
    {
        float one = 1, zero = 0;
        if (training)
        {
            Check(cudnnBatchNormalizationForwardTraining(
                _session.Cudnn.Value, BatchNormSpatial, &one, &zero, _x.Value, X(x), _x.Value, X(y), _parameters.Value, C(t.Gamma), C(t.Beta),
                BatchNorm2dLayer.Momentum, C(t.RunningMean), C(t.RunningVariance), BatchNorm2dLayer.Epsilon, C(t.SavedMean), C(t.SavedInverseDeviation)));
        }
        else
        {
            Check(cudnnBatchNormalizationForwardInference(
                _session.Cudnn.Value, BatchNormSpatial, &one, &zero, _x.Value, X(x), _x.Value, X(y), _parameters.Value, C(t.Gamma), C(t.Beta),
                C(t.RunningMean), C(t.RunningVariance), BatchNorm2dLayer.Epsilon));
        }
    }

    /// <summary>dX, dγ and dβ from dY; dX may not lie where dY does.</summary>
    public void Backward(DeviceTensor x, DeviceTensor dy, DeviceTensor dx, in BatchNormTensors t)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationBackward(
            _session.Cudnn.Value, BatchNormSpatial, &one, &zero, &one, &zero, _x.Value, X(x), _x.Value, X(dy), _x.Value, X(dx),
            _parameters.Value, C(t.Gamma), C(t.DGamma), C(t.DBeta), BatchNorm2dLayer.Epsilon, C(t.SavedMean), C(t.SavedInverseDeviation)));
    }

    public void Dispose()
    {
        _x.Dispose();
        _parameters.Dispose();
    }

    private nint X(DeviceTensor tensor) => tensor.Holding(_count, _session.ActivationType);

    private nint C(DeviceTensor tensor) => tensor.Holding(_channels, DeviceType.F32);
}
