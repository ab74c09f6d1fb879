using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda.Layered;

/// <summary>What one batch-norm layer keeps on the device, each (C) f32.</summary>
internal readonly record struct BatchNormTensors(
    DeviceTensor Gamma, DeviceTensor Beta, DeviceTensor DGamma, DeviceTensor DBeta,
    DeviceTensor RunningMean, DeviceTensor RunningVariance, DeviceTensor SavedMean, DeviceTensor SavedInverseDeviation)
{
    /// <summary>A layer's parameters, gradients (where it is trained) and running statistics; the saved statistics are left out.</summary>
    public static BatchNormTensors Of(DeviceParameters p, BatchNorm2dLayer layer, bool training) => new(
        p.Master(layer.WeightName), p.Master(layer.BiasName),
        training ? p.Gradient(layer.WeightName) : default, training ? p.Gradient(layer.BiasName) : default,
        p.Statistic($"{layer.Name}.running_mean"), p.Statistic($"{layer.Name}.running_var"), default, default);
}

/// <summary>
/// Batch normalization over N, H, W by cuDNN, channels last; statistics in float32 whatever the activations are. Training takes
/// cuDNN's persistent mode, as PyTorch does: with channels last the plain one makes the whole step seventeen times as long (H100).
/// </summary>
internal sealed unsafe class BatchNorm2d
{
    private readonly CudnnHandle _cudnn;
    private readonly CudnnTensor _x;
    private readonly CudnnDescriptor _parameters;
    private readonly int _channels;

    public BatchNorm2d(CudaSession session, CudaHandles handles, int n, Shape shape, bool training)
    {
        (_cudnn, _channels) = (session.Cudnn, shape.C);
        _x = new CudnnTensor(session, handles, n, shape);
        _parameters = CudnnDescriptor.Tensor(handles);
        (nint handle, nint x, nint parameters) = (_cudnn.Value, _x.Descriptor, _parameters.Value);
        Check(cudnnDeriveBNTensorDescriptor(parameters, x, training ? BatchNormSpatialPersistent : BatchNormSpatial));
        if (training)
        {
            nuint forward, backward, reserve;
            Check(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
                handle, BatchNormSpatialPersistent, BatchNormAlone, x, 0, x, parameters, 0, &forward));
            Check(cudnnGetBatchNormalizationBackwardExWorkspaceSize(
                handle, BatchNormSpatialPersistent, BatchNormAlone, x, 0, x, 0, x, parameters, 0, &backward));
            Check(cudnnGetBatchNormalizationTrainingExReserveSpaceSize(
                handle, BatchNormSpatialPersistent, BatchNormAlone, 0, x, &reserve));
            WorkspaceBytes = Size(Math.Max(forward, backward), "the workspace of a batch norm");
            ReserveBytes = Size(reserve, "the reserve of a batch norm");
        }
    }

    /// <summary>Bytes that a training pass uses while it runs.</summary>
    public long WorkspaceBytes { get; }

    /// <summary>Bytes that the forward pass leaves for the backward pass.</summary>
    public long ReserveBytes { get; }

    /// <summary>y = γ (x − mean) / σ + β by the batch's statistics, which also move the running ones.</summary>
    public void Training(DeviceTensor x, DeviceTensor y, in BatchNormTensors t, DeviceTensor workspace, DeviceTensor reserve)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationForwardTrainingEx(
            _cudnn.Value, BatchNormSpatialPersistent, BatchNormAlone, &one, &zero, _x.Descriptor, _x.At(x), 0, 0, _x.Descriptor, _x.At(y),
            _parameters.Value, C(t.Gamma), C(t.Beta), BatchNorm2dLayer.Momentum, C(t.RunningMean), C(t.RunningVariance),
            BatchNorm2dLayer.Epsilon, C(t.SavedMean), C(t.SavedInverseDeviation), 0, Workspace(workspace), (nuint)WorkspaceBytes,
            Reserve(reserve), (nuint)ReserveBytes));
    }

    /// <summary>The same by the running statistics.</summary>
    public void Prediction(DeviceTensor x, DeviceTensor y, in BatchNormTensors t)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationForwardInference(
            _cudnn.Value, BatchNormSpatial, &one, &zero, _x.Descriptor, _x.At(x), _x.Descriptor, _x.At(y), _parameters.Value,
            C(t.Gamma), C(t.Beta), C(t.RunningMean), C(t.RunningVariance), BatchNorm2dLayer.Epsilon));
    }

    /// <summary>dX, dγ and dβ from dY; dX may not lie where dY does.</summary>
    public void Backward(
        DeviceTensor x, DeviceTensor dy, DeviceTensor dx, in BatchNormTensors t, DeviceTensor workspace, DeviceTensor reserve)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationBackwardEx(
            _cudnn.Value, BatchNormSpatialPersistent, BatchNormAlone, &one, &zero, &one, &zero, _x.Descriptor, _x.At(x), 0, 0,
            _x.Descriptor, _x.At(dy), 0, 0, _x.Descriptor, _x.At(dx), _parameters.Value, C(t.Gamma), 0, C(t.DGamma), C(t.DBeta),
            BatchNorm2dLayer.Epsilon, C(t.SavedMean), C(t.SavedInverseDeviation), 0, Workspace(workspace), (nuint)WorkspaceBytes,
            Reserve(reserve), (nuint)ReserveBytes));
    }

    private nint C(DeviceTensor tensor) => tensor.Holding(_channels, DeviceType.F32);

    private nint Workspace(DeviceTensor tensor) => tensor.Holding(WorkspaceBytes, DeviceType.U8);

    private nint Reserve(DeviceTensor tensor) => tensor.Holding(ReserveBytes, DeviceType.U8);
}
