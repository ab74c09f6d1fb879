using CudnnDigits.Model;

namespace CudnnDigits.Cuda;

/// <summary>
/// Convolution of one input channel, 3×3, by our own kernels: cuDNN's take five to six times as long as its output takes to be written or read. Nobody
/// asks for the gradient of its input. Products and sums are float32 in every precision, always in the same order.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="plan">Shapes.</param>
/// <param name="n">Samples.</param>
internal sealed unsafe class FirstConv2d(CudaSession session, ConvPlan plan, int n) : IConvolution
{
    private const int Threads = 256, Side = 3, Run = 4; // pixels that a thread makes at once

    /// <summary>So many fill an H200, each with the layer's weights in its threads' registers; and each leaves a row of sums of their gradients.</summary>
    private const int MostBlocks = 264;

    private readonly string _forward = "first_convolution_forward" + session.KernelSuffix, _backward = "first_convolution_backward_weights" + session.KernelSuffix;
    private readonly Shape _input = plan.Input, _output = plan.Conv.Infer(plan.Input);
    private readonly int _padding = plan.Conv.Padding;

    public long WorkspaceBytes => Sums * sizeof(float);

    public string Algorithms => "ours, direct";

    /// <summary>Whether the kernels are for such a layer: each thread keeps to four output channels.</summary>
    public static bool Fits(ConvPlan plan) => plan.Conv is { InChannels: 1, Kernel: Side, OutChannels: int channels } && channels % 4 == 0 && channels <= Threads && Threads % (channels / 4) == 0;

    public void Forward(DeviceTensor x, DeviceTensor w, DeviceTensor y, DeviceTensor workspace)
    {
        nint xAt = X(x), wAt = W(w), yAt = Y(y);
        (int samples, int height, int width, int padding, int channels) = (n, _input.H, _input.W, _padding, _output.C);
        void** parameters = stackalloc void*[] { &xAt, &wAt, &yAt, &samples, &height, &width, &padding, &channels };
        session.Launch(_forward, (Blocks, 1), (Threads, 1), parameters);
    }

    public void BackwardData(DeviceTensor w, DeviceTensor dy, DeviceTensor dx, DeviceTensor workspace) => throw new NotSupportedException("the gradient of the network's input");

    public void BackwardWeights(DeviceTensor x, DeviceTensor dy, DeviceTensor dw, DeviceTensor workspace)
    {
        DeviceTensor sums = new(workspace.Arena, workspace.Offset, Sums, DeviceType.F32);
        nint xAt = X(x), dyAt = Y(dy), sumsAt = workspace.Holding(WorkspaceBytes, DeviceType.U8);
        (int samples, int height, int width, int padding, int channels) = (n, _input.H, _input.W, _padding, _output.C);
        void** parameters = stackalloc void*[] { &xAt, &dyAt, &sumsAt, &samples, &height, &width, &padding, &channels };
        session.Launch(_backward, (Blocks, 1), (Threads, 1), parameters);
        Activation.AddUp(session, sums, (int)Blocks, Weights, dw);
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
