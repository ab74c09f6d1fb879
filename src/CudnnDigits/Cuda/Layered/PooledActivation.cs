using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Max-pooling of 2×2, bias, ReLU and dropout in one pass over an activation of n samples (channels last), by our own kernels; and the
/// gradient of a bias.
/// </summary>
internal sealed class PooledActivation(CudaSession session, int n, Shape input, Dropout dropout)
{
    private const int Window = 2;

    private static readonly int Threads = KernelSource.Common.Block("pool_activation_forward_f32").Threads;

    private readonly string _forward = "pool_activation_forward" + session.KernelSuffix;
    private readonly string _backward = "pool_activation_backward" + session.KernelSuffix;

    /// <summary>Each has many windows, one after the other, left-over rows and columns among them.</summary>
    private long Blocks
    {
        get
        {
            long windows = (long)n * ((input.H + 1) / Window) * ((input.W + 1) / Window), atOnce = Threads / (input.C / 4);
            return Math.Min((windows + atOnce - 1) / atOnce, Activation.MostSums);
        }
    }

    /// <summary>Whether the kernels are for such a block: each thread keeps to four channels.</summary>
    public static bool Fits(ConvPlan block) => block.Pool is { Window: Window } && FourChannelsEach(block.Conv.OutChannels, Threads);

    /// <summary>Whether so many threads can have four channels each of one pixel or several.</summary>
    public static bool FourChannelsEach(int channels, int threads) =>
        channels % 4 == 0 && channels <= threads && threads % (channels / 4) == 0;

    /// <summary>z = dropout(relu(max(x) + bias)), without dropout in prediction. The bias is (C) f32, or null.</summary>
    public void Forward(DeviceTensor state, DeviceTensor x, DeviceTensor? bias, DeviceTensor z, bool training) =>
        session.Launch(_forward, Blocks, new PoolActivationForward(
            state.Address, X(x), bias?.Holding(input.C, DeviceType.F32) ?? 0, Z(z), n, input.H, input.W, input.C,
            training ? dropout : Dropout.None));

    /// <summary>dX from dZ; x and z as in the forward pass. For the sums and the gradient of a bias see <see cref="Activation"/>.</summary>
    public void Backward(DeviceTensor x, DeviceTensor z, DeviceTensor dz, DeviceTensor dx, DeviceTensor? sums, DeviceTensor? dBias)
    {
        session.Launch(_backward, Blocks, new PoolActivationBackward(
            X(x), Z(z), Z(dz), X(dx), sums?.Holding(Blocks * input.C, DeviceType.F32) ?? 0, n, input.H, input.W, input.C,
            dropout.KeepScale));
        if (sums is { } left && dBias is { } total)
        {
            ColumnSums.AddUp(session, left, (int)Blocks, input.C, total);
        }
    }

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * input.Size, session.ActivationType);

    private nint Z(DeviceTensor tensor) =>
        tensor.Holding((long)n * (input.H / Window) * (input.W / Window) * input.C, session.ActivationType);
}

internal readonly record struct PoolActivationForward(
    nint State, nint X, nint Bias, nint Z, int Samples, int Height, int Width, int Channels, Dropout Dropout);

internal readonly record struct PoolActivationBackward(
    nint X, nint Z, nint Dz, nint Dx, nint Sums, int Samples, int Height, int Width, int Channels, float KeepScale);
