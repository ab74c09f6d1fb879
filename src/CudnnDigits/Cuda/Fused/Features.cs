using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// From a convolution's output, (N, H, W, C), to what the next layer reads, and back from its gradient, for n samples. Channels
/// are a multiple of eight, at most 256. A thread has sixteen bytes of them.
/// </summary>
internal sealed class Features
{
    private const string ForwardKernel = "features_forward", BackwardKernel = "features_backward";

    private readonly CudaSession _session;
    private readonly int _rows, _pixels, _channels; // rows: pixels of all samples
    private readonly long _blocks;
    private readonly (long X, long Y) _gradientBlocks;

    public Features(CudaSession session, Shape y, int n)
    {
        (_session, _rows, _pixels, _channels) = (session, n * y.H * y.W, y.H * y.W, y.C);
        int channels = KernelSource.Fused["features_backward_channels"], groups = (y.C + channels - 1) / channels; // of a block, of all
        _blocks = Blocks(ForwardKernel, y.C, 4 * session.Multiprocessors);
        _gradientBlocks = (Blocks(BackwardKernel, Math.Min(y.C, channels), session.Multiprocessors / groups), groups);
        Sums = _gradientBlocks.X * groups * 2 * channels;
    }

    /// <summary>Sums that blocks of <see cref="Backward"/> leave, f32.</summary>
    public long Sums { get; }

    /// <summary>
    /// z = dropout(relu(scale · y + shift)). marked: y, with marks where dropout took it, for the next convolution and
    /// <see cref="Backward"/>. Either may be left out; without marked, y has the marks.
    /// </summary>
    public void Forward(DeviceTensor state, DeviceTensor y, in Affine affine, DeviceTensor? marked, DeviceTensor? z, in Dropout dropout) =>
        _session.LaunchFused(ForwardKernel, (_blocks, 1), null, new FeaturesForward(
            state.Address, Of(y), affine, OrNone(marked), OrNone(z), dropout, _rows, _pixels, _channels), overlapped: true);

    /// <summary>du, the gradient before ReLU and dropout; and the gradients of batch norm's parameters, or of the bias.</summary>
    public void Backward(DeviceTensor dz, DeviceTensor marked, in Affine affine, DeviceTensor du, in ChannelNorm norm, float keepScale) =>
        _session.LaunchFused(BackwardKernel, _gradientBlocks, null, new FeaturesBackward(
            Of(dz), Of(marked), affine, Of(du), norm, keepScale, _rows), overlapped: true);

    /// <summary>A layer's coefficients from its running statistics, for prediction.</summary>
    public static void UseRunningStatistics(CudaSession session, in ChannelNorm norm)
    {
        const string Kernel = "use_running_statistics";
        session.LaunchFused(Kernel, KernelSource.Fused.Blocks(Kernel, norm.Channels), new RunningStatistics(norm));
    }

    /// <summary>So many blocks as there is work for, each with so many channels of its rows.</summary>
    private long Blocks(string kernel, int channels, int most)
    {
        int units = channels * (int)_session.ActivationType / 16;
        int rowsOfBlock = KernelSource.Fused.Block(kernel + _session.KernelSuffix).Threads / units;
        return Math.Clamp((_rows + rowsOfBlock - 1) / rowsOfBlock, 1, Math.Max(most, 1));
    }

    private nint OrNone(DeviceTensor? features) => features is { } some ? Of(some) : 0;

    private nint Of(DeviceTensor features) => features.Holding((long)_rows * _channels, _session.ActivationType);
}

/// <summary>Parameters of native/kernels/fused/features.cu.</summary>
internal readonly record struct FeaturesForward(
    nint State, nint Y, Affine Affine, nint Marked, nint Z, Dropout Dropout, int Rows, int Pixels, int Channels);

/// <summary>Parameters of features_backward in native/kernels/fused/features.cu.</summary>
internal readonly record struct FeaturesBackward(
    nint Dz, nint Marked, Affine Affine, nint Du, ChannelNorm Norm, float KeepScale, int Rows);

/// <summary>Parameters of native/kernels/fused/normalize.cu.</summary>
internal readonly record struct RunningStatistics(ChannelNorm Norm);
