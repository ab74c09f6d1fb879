using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Max-pooling of 2×2, bias, ReLU and dropout in one pass over an activation, by our own kernels; and the gradient of a bias.
/// </summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
/// <param name="input">Shape of one sample before pooling, channels last.</param>
/// <param name="dropout">Dropout after the ReLU, or null.</param>
/// <param name="dropoutIndex">Which dropout layer of the network it is, from 0.</param>
internal sealed unsafe class PooledActivation(CudaSession session, int n, Shape input, DropoutLayer? dropout, int dropoutIndex)
{
    private const int Window = 2;

    private static readonly int Threads = KernelSource.Common.Block("pool_activation_forward_f32").Threads;
    private readonly string _forward = "pool_activation_forward" + session.KernelSuffix, _backward = "pool_activation_backward" + session.KernelSuffix;
    private readonly float _keepScale = dropout is { Rate: > 0 } ? (float)(1 / (1 - dropout.Rate)) : 1;

    /// <summary>Whether the kernels are for such a block: each thread keeps to four channels.</summary>
    public static bool Fits(ConvPlan block) => block.Pool is { Window: Window } && block.Conv.OutChannels % 4 == 0 && Threads % (block.Conv.OutChannels / 4) == 0 && block.Conv.OutChannels <= Threads;

    /// <summary>z = dropout(relu(max(x) + bias)).</summary>
    /// <param name="state">Says which samples these are, for dropout.</param>
    /// <param name="x">(N, H, W, C).</param>
    /// <param name="bias">(C) f32, or null.</param>
    /// <param name="z">(N, H / 2, W / 2, C).</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="training">False leaves dropout out.</param>
    public void Forward(DeviceTensor state, DeviceTensor x, DeviceTensor? bias, DeviceTensor z, ulong seed, bool training)
    {
        uint threshold = training && dropout is { Rate: > 0 } ? dropout.Threshold : 0;
        float keepScale = training ? _keepScale : 1;
        session.Launch(_forward, Blocks, new PoolActivationForward
        {
            State = state.Address,
            X = X(x),
            Bias = bias?.Holding(input.C, DeviceType.F32) ?? 0,
            Z = Z(z),
            Samples = n,
            Height = input.H,
            Width = input.W,
            Channels = input.C,
            Threshold = threshold,
            KeepScale = keepScale,
            Seed = seed,
            Layer = (uint)dropoutIndex,
        });
    }

    /// <summary>dX from dZ, and the gradient of the bias where there is one.</summary>
    /// <param name="x">As it was in the forward pass.</param>
    /// <param name="z">What forward gave.</param>
    /// <param name="dz">(N, H / 2, W / 2, C).</param>
    /// <param name="dx">(N, H, W, C).</param>
    /// <param name="sums">Room for (<see cref="Activation.MostSums"/>, C) f32, or null without a bias.</param>
    /// <param name="dBias">(C) f32, or null without a bias.</param>
    public void Backward(DeviceTensor x, DeviceTensor z, DeviceTensor dz, DeviceTensor dx, DeviceTensor? sums, DeviceTensor? dBias)
    {
        session.Launch(_backward, Blocks, new PoolActivationBackward
        {
            X = X(x),
            Z = Z(z),
            Dz = Z(dz),
            Dx = X(dx),
            Sums = sums?.Holding(Blocks * input.C, DeviceType.F32) ?? 0,
            Samples = n,
            Height = input.H,
            Width = input.W,
            Channels = input.C,
            KeepScale = _keepScale,
        });
        if (sums is { } left && dBias is { } total)
        {
            ColumnSums.AddUp(session, left, (int)Blocks, input.C, total);
        }
    }

    /// <summary>Each has many windows, one after the other; the windows that there are, left-over rows and columns among them.</summary>
    private long Blocks
    {
        get
        {
            long windows = (long)n * ((input.H + 1) / Window) * ((input.W + 1) / Window), atOnce = Threads / (input.C / 4);
            return Math.Min((windows + atOnce - 1) / atOnce, Activation.MostSums);
        }
    }

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * input.Size, session.ActivationType);

    private nint Z(DeviceTensor tensor) => tensor.Holding((long)n * (input.H / Window) * (input.W / Window) * input.C, session.ActivationType);
}

/// <summary>Parameters of pool_activation_forward in native/kernels/pool_activation.cu.</summary>
internal struct PoolActivationForward
{
    public nint State, X, Bias, Z;
    public int Samples, Height, Width, Channels;
    public uint Threshold;
    public float KeepScale;
    public ulong Seed;
    public uint Layer;
}

/// <summary>Parameters of pool_activation_backward in native/kernels/pool_activation.cu.</summary>
internal struct PoolActivationBackward
{
    public nint X, Z, Dz, Dx, Sums;
    public int Samples, Height, Width, Channels;
    public float KeepScale;
}
