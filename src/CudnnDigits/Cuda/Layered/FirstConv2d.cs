using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Convolution of one input channel, 3×3, by our own kernels: cuDNN's take five to six times as long as its output takes to be written or
/// read. Nobody
/// asks for the gradient of its input. Products and sums are float32 in every precision, always in the same order.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="plan">Shapes.</param>
/// <param name="n">Samples.</param>
internal sealed unsafe class FirstConv2d(CudaSession session, ConvPlan plan, int n) : IConvolution
{
    private const int Side = 3;

    /// <summary>
    /// So many fill an H200, each with the layer's weights in its threads' registers; and each leaves a row of sums of their gradients.
    /// </summary>
    private const int MostBlocks = 264;

    private static readonly int Threads = KernelSource.Common.Block("first_convolution_forward_f32").Threads, Run = KernelSource.Common["first_convolution_run"]; // pixels that a thread makes at once
    private readonly string _forward = "first_convolution_forward" + session.KernelSuffix, _backward = "first_convolution_backward_weights" + session.KernelSuffix;
    private readonly Shape _input = plan.Input, _output = plan.Conv.Infer(plan.Input);
    private readonly int _padding = plan.Conv.Padding;

    public long WorkspaceBytes => Sums * sizeof(float);

    public string Algorithms => "ours, direct";

    /// <summary>Whether the kernels are for such a layer: each thread keeps to four output channels.</summary>
    public static bool Fits(ConvPlan plan) => plan.Conv is { InChannels: 1, Kernel: Side, OutChannels: int channels } && channels % 4 == 0 && channels <= Threads && Threads % (channels / 4) == 0;

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y, DeviceTensor workspace)
    {
        session.Launch(_forward, Blocks, new FirstConvolutionForward
        {
            X = X(x),
            W = W(w),
            Y = Y(y),
            Samples = n,
            Height = _input.H,
            Width = _input.W,
            Padding = _padding,
            Channels = _output.C,
        });
    }

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx, DeviceTensor workspace) => throw new NotSupportedException("the gradient of the network's input");

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw, DeviceTensor workspace)
    {
        DeviceTensor sums = new(workspace.Arena, workspace.Offset, Sums, DeviceType.F32);
        session.Launch(_backward, Blocks, new FirstConvolutionBackwardWeights
        {
            X = X(x),
            Dy = Y(dy),
            Sums = sums.Holding(Sums, DeviceType.F32),
            Samples = n,
            Height = _input.H,
            Width = _input.W,
            Padding = _padding,
            Channels = _output.C,
        });
        ColumnSums.AddUp(session, sums, (int)Blocks, Weights, dw);
    }

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

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * _input.Size, session.ActivationType);

    private nint W(DeviceTensor tensor) => tensor.Holding(Weights, session.ActivationType);

    private nint Y(DeviceTensor tensor) => tensor.Holding((long)n * _output.Size, session.ActivationType);
}

/// <summary>Parameters of first_convolution_forward in native/kernels/first_convolution.cu.</summary>
internal struct FirstConvolutionForward
{
    public nint X, W, Y;
    public int Samples, Height, Width, Padding, Channels;
}

/// <summary>Parameters of first_convolution_backward_weights in native/kernels/first_convolution.cu.</summary>
internal struct FirstConvolutionBackwardWeights
{
    public nint X, Dy, Sums;
    public int Samples, Height, Width, Padding, Channels;
}
