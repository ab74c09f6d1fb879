using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Convolution of one input channel, 3×3, by our own kernels: cuDNN's take five to six times as long as its output takes to be written or
/// read. Nobody asks for the gradient of its input. Products and sums are float32 in every precision, always in the same order.
/// </summary>
internal sealed class FirstConv2d(CudaSession session, ConvPlan plan, int n) : IConvolution
{
    private const int Side = 3;

    /// <summary>So many fill an H200; each leaves a row of sums of the gradients of weights.</summary>
    private const int MostBlocks = 264;

    private static readonly int Threads = KernelSource.Common.Block("first_convolution_forward_f32").Threads;
    private static readonly int Run = KernelSource.Common["first_convolution_run"]; // pixels that a thread makes at once

    private readonly string _forward = "first_convolution_forward" + session.KernelSuffix;
    private readonly string _backward = "first_convolution_backward_weights" + session.KernelSuffix;
    private readonly Shape _input = plan.Input, _output = plan.Conv.Infer(plan.Input);

    public long WorkspaceBytes => Sums * sizeof(float);

    public string Algorithms => "ours, direct";

    /// <summary>No more than there are runs of pixels for all threads.</summary>
    private long Blocks
    {
        get
        {
            int groups = Threads / (_output.C / 4);
            return Math.Min(((long)n * _output.H * ((_output.W + Run - 1) / Run) + groups - 1) / groups, MostBlocks);
        }
    }

    private int Weights => _output.C * Side * Side;

    private long Sums => Blocks * Weights;

    /// <summary>Whether the kernels are for such a layer: each thread keeps to four output channels.</summary>
    public static bool Fits(ConvPlan plan) =>
        plan.Conv is { InChannels: 1, Kernel: Side } && PooledActivation.FourChannelsEach(plan.Conv.OutChannels, Threads);

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y, DeviceTensor workspace) =>
        session.Launch(_forward, Blocks, new FirstConvolutionForward(
            X(x), w.Holding(Weights, session.ActivationType), Y(y), n, _input.H, _input.W, plan.Conv.Padding, _output.C));

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx, DeviceTensor workspace) =>
        throw new NotSupportedException("the gradient of the network's input");

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw, DeviceTensor workspace)
    {
        DeviceTensor sums = new(workspace.Arena, workspace.Offset, Sums, DeviceType.F32);
        session.Launch(_backward, Blocks, new FirstConvolutionBackwardWeights(
            X(x), Y(dy), workspace.Holding(WorkspaceBytes, DeviceType.U8), n, _input.H, _input.W, plan.Conv.Padding, _output.C));
        ColumnSums.AddUp(session, sums, (int)Blocks, Weights, dw);
    }

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * _input.Size, session.ActivationType);

    private nint Y(DeviceTensor tensor) => tensor.Holding((long)n * _output.Size, session.ActivationType);
}

internal readonly record struct FirstConvolutionForward(
    nint X, nint W, nint Y, int Samples, int Height, int Width, int Padding, int Channels);

internal readonly record struct FirstConvolutionBackwardWeights(
    nint X, nint Dy, nint Sums, int Samples, int Height, int Width, int Padding, int Channels);
