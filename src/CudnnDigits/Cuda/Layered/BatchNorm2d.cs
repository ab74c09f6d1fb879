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
    public static BatchNormTensors Of(DeviceParameters p, BatchNorm2dLayer layer, bool training)
    {
        (string weight, string bias) = ($"{layer.Name}.weight", $"{layer.Name}.bias");
        return new(
            p.Master(weight), p.Master(bias), training ? p.Gradient(weight) : default, training ? p.Gradient(bias) : default,
            p.Statistic($"{layer.Name}.running_mean"), p.Statistic($"{layer.Name}.running_var"), default, default);
    }
}

/// <summary>
/// Batch normalization over N, H, W by cuDNN, channels last; statistics in float32 whatever the activations are. Training takes
/// cuDNN's persistent mode, as PyTorch does: with channels last the plain one makes the whole step seventeen times as long
/// (docs/performance.md).
/// </summary>
internal sealed unsafe class BatchNorm2d
{
    private readonly CudaSession _session;
    private readonly CudnnDescriptor _x, _parameters;
    private readonly long _count;
    private readonly int _channels;

    /// <param name="session">The device.</param>
    /// <param name="handles">Where its descriptors belong.</param>
    /// <param name="n">Samples.</param>
    /// <param name="shape">Shape of one sample.</param>
    /// <param name="training">Whether it is to be trained.</param>
    public BatchNorm2d(CudaSession session, CudaHandles handles, int n, Shape shape, bool training)
    {
        _session = session;
        (_count, _channels) = ((long)n * shape.Size, shape.C);
        _x = CudnnDescriptor.Tensor(handles, session.Precision == Precision.Bf16 ? TypeBFloat16 : TypeFloat, n, shape.C, shape.H, shape.W);
        _parameters = CudnnDescriptor.Tensor(handles);
        (nint handle, nint x, nint parameters) = (session.Cudnn.Value, _x.Value, _parameters.Value);
        Check(cudnnDeriveBNTensorDescriptor(parameters, x, training ? BatchNormSpatialPersistent : BatchNormSpatial));
        if (training)
        {
            nuint forward, backward, reserve;
            Check(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(handle, BatchNormSpatialPersistent, BatchNormAlone, x, 0, x, parameters, 0, &forward));
            Check(cudnnGetBatchNormalizationBackwardExWorkspaceSize(handle, BatchNormSpatialPersistent, BatchNormAlone, x, 0, x, 0, x, parameters, 0, &backward));
            Check(cudnnGetBatchNormalizationTrainingExReserveSpaceSize(handle, BatchNormSpatialPersistent, BatchNormAlone, 0, x, &reserve));
            (WorkspaceBytes, ReserveBytes) = (Size(Math.Max(forward, backward), "the workspace of a batch norm"), Size(reserve, "the reserve of a batch norm"));
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
            _session.Cudnn.Value, BatchNormSpatialPersistent, BatchNormAlone, &one, &zero, _x.Value, X(x), 0, 0, _x.Value, X(y), _parameters.Value,
            C(t.Gamma), C(t.Beta), BatchNorm2dLayer.Momentum, C(t.RunningMean), C(t.RunningVariance), BatchNorm2dLayer.Epsilon,
            C(t.SavedMean), C(t.SavedInverseDeviation), 0, workspace.Holding(WorkspaceBytes, DeviceType.U8), (nuint)WorkspaceBytes,
            reserve.Holding(ReserveBytes, DeviceType.U8), (nuint)ReserveBytes));
    }

    /// <summary>The same by the running statistics.</summary>
    public void Prediction(DeviceTensor x, DeviceTensor y, in BatchNormTensors t)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationForwardInference(
            _session.Cudnn.Value, BatchNormSpatial, &one, &zero, _x.Value, X(x), _x.Value, X(y), _parameters.Value, C(t.Gamma), C(t.Beta),
            C(t.RunningMean), C(t.RunningVariance), BatchNorm2dLayer.Epsilon));
    }

    /// <summary>The same as part of the convolution before it: weights and a bias that do both.</summary>
    /// <param name="w">The convolution's master weights, (C, …) f32.</param>
    /// <param name="t">Parameters and running statistics.</param>
    /// <param name="folded">Weights in the type of the activations, and a bias, (C) f32.</param>
    public void Fold(DeviceTensor w, in BatchNormTensors t, (DeviceTensor Weights, DeviceTensor Bias) folded)
    {
        string kernel = "fold_batch_norm" + _session.KernelSuffix;
        long threads = KernelSource.Common.Block(kernel).Threads;
        _session.Launch(kernel, (w.Count + threads - 1) / threads, new FoldBatchNorm
        {
            W = w.Holding(w.Count, DeviceType.F32),
            Gamma = C(t.Gamma),
            Beta = C(t.Beta),
            Mean = C(t.RunningMean),
            Variance = C(t.RunningVariance),
            Epsilon = BatchNorm2dLayer.Epsilon,
            Folded = folded.Weights.Holding(w.Count, _session.ActivationType),
            Shift = C(folded.Bias),
            Channels = _channels,
            OfChannel = (int)w.Count / _channels,
        });
    }

    /// <summary>dX, dγ and dβ from dY; dX may not lie where dY does.</summary>
    public void Backward(DeviceTensor x, DeviceTensor dy, DeviceTensor dx, in BatchNormTensors t, DeviceTensor workspace, DeviceTensor reserve)
    {
        float one = 1, zero = 0;
        Check(cudnnBatchNormalizationBackwardEx(
            _session.Cudnn.Value, BatchNormSpatialPersistent, BatchNormAlone, &one, &zero, &one, &zero, _x.Value, X(x), 0, 0, _x.Value, X(dy), 0, 0, _x.Value, X(dx),
            _parameters.Value, C(t.Gamma), 0, C(t.DGamma), C(t.DBeta), BatchNorm2dLayer.Epsilon, C(t.SavedMean), C(t.SavedInverseDeviation),
            0, workspace.Holding(WorkspaceBytes, DeviceType.U8), (nuint)WorkspaceBytes, reserve.Holding(ReserveBytes, DeviceType.U8), (nuint)ReserveBytes));
    }

    private nint X(DeviceTensor tensor) => tensor.Holding(_count, _session.ActivationType);

    private nint C(DeviceTensor tensor) => tensor.Holding(_channels, DeviceType.F32);
}

/// <summary>Parameters of native/kernels/fold_batch_norm.cu.</summary>
internal struct FoldBatchNorm
{
    public nint W, Gamma, Beta, Mean, Variance;
    public double Epsilon;
    public nint Folded, Shift;
    public int Channels, OfChannel;
}
