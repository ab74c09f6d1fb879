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

    /// <param name="session">The device.</param>
    /// <param name="n">Samples.</param>
    /// <param name="shape">Shape of one sample.</param>
    public BatchNorm2d(CudaSession session, int n, Shape shape)
    {
        _session = session;
        _x = CudnnDescriptor.Tensor(session.Context, session.Precision == Precision.Bf16 ? TypeBFloat16 : TypeFloat, n, shape.C, shape.H, shape.W);
        _parameters = CudnnDescriptor.Tensor(session.Context);
        Check(cudnnDeriveBNTensorDescriptor(_parameters.Value, _x.Value, BatchNormSpatial));
    }

    /// <summary>y = γ (x − mean) / σ + β by the batch's statistics, which also move the running ones.</summary>
    public void Forward(DeviceTensor x, DeviceTensor y, in BatchNormTensors t)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationForwardTraining(
            _session.Cudnn.Value, BatchNormSpatial, &one, &zero, _x.Value, x.Address, _x.Value, y.Address, _parameters.Value, t.Gamma.Address, t.Beta.Address,
            BatchNorm2dLayer.Momentum, t.RunningMean.Address, t.RunningVariance.Address, BatchNorm2dLayer.Epsilon, t.SavedMean.Address, t.SavedInverseDeviation.Address));
    }

    /// <summary>The same by the running statistics.</summary>
    public void Predict(DeviceTensor x, DeviceTensor y, in BatchNormTensors t)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationForwardInference(
            _session.Cudnn.Value, BatchNormSpatial, &one, &zero, _x.Value, x.Address, _x.Value, y.Address, _parameters.Value, t.Gamma.Address, t.Beta.Address,
            t.RunningMean.Address, t.RunningVariance.Address, BatchNorm2dLayer.Epsilon));
    }

    /// <summary>dX, dγ and dβ from dY; dX may not lie where dY does.</summary>
    public void Backward(DeviceTensor x, DeviceTensor dy, DeviceTensor dx, in BatchNormTensors t)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationBackward(
            _session.Cudnn.Value, BatchNormSpatial, &one, &zero, &one, &zero, _x.Value, x.Address, _x.Value, dy.Address, _x.Value, dx.Address,
            _parameters.Value, t.Gamma.Address, t.DGamma.Address, t.DBeta.Address, BatchNorm2dLayer.Epsilon, t.SavedMean.Address, t.SavedInverseDeviation.Address));
    }

    public void Dispose()
    {
        _x.Dispose();
        _parameters.Dispose();
    }
}
