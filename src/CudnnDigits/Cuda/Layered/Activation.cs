using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>Bias, ReLU and dropout in one pass over an activation, by our own kernels; and the gradient of a bias.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
/// <param name="shape">Shape of one sample, channels last.</param>
/// <param name="dropout">Dropout after the ReLU, or null.</param>
/// <param name="dropoutIndex">Which dropout layer of the network it is, from 0.</param>
internal sealed unsafe class Activation(CudaSession session, int n, Shape shape, DropoutLayer? dropout, int dropoutIndex)
{
    /// <summary>Rows of partial sums of a bias gradient, at most.</summary>
    public const int MostSums = 512;

    private const int Lanes = 32;

    private readonly string _forward = "activation_forward" + session.KernelSuffix, _backward = "activation_backward" + session.KernelSuffix;
    private readonly float _keepScale = dropout is { Rate: > 0 } ? (float)(1 / (1 - dropout.Rate)) : 1;

    /// <summary>z = dropout(relu(y + bias)); z may be y.</summary>
    /// <param name="state">Says which samples these are, for dropout.</param>
    /// <param name="y">(N, H, W, C).</param>
    /// <param name="bias">(C) f32, or null.</param>
    /// <param name="z">(N, H, W, C).</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="training">False leaves dropout out.</param>
    public void Forward(DeviceTensor state, DeviceTensor y, DeviceTensor? bias, DeviceTensor z, ulong seed, bool training)
    {
        uint threshold = training && dropout is { Rate: > 0 } ? dropout.Threshold : 0;
        float keepScale = training ? _keepScale : 1;
        long quads = (long)n * ((shape.Size + 3) / 4), threads = KernelSource.Common.Block(_forward).Threads;
        session.Launch(_forward, (quads + threads - 1) / threads, new ActivationForward
        {
            State = state.Address,
            Y = Z(y),
            Bias = bias?.Holding(shape.C, DeviceType.F32) ?? 0,
            Z = Z(z),
            Samples = n,
            Size = shape.Size,
            Channels = shape.C,
            Threshold = threshold,
            KeepScale = keepScale,
            Seed = seed,
            Layer = (uint)dropoutIndex,
        });
    }

    /// <summary>dZ to dY in place, and the gradient of the bias where there is one.</summary>
    /// <param name="z">What forward gave.</param>
    /// <param name="dz">(N, H, W, C), overwritten by dY.</param>
    /// <param name="sums">Room for (<see cref="MostSums"/>, C) f32, or null without a bias.</param>
    /// <param name="dBias">(C) f32, or null without a bias.</param>
    public void Backward(DeviceTensor z, DeviceTensor dz, DeviceTensor? sums, DeviceTensor? dBias)
    {
        session.Launch(_backward, (ColumnSums.Blocks(shape.C), Chunks), new ActivationBackward
        {
            Z = Z(z),
            Dz = Z(dz),
            Sums = sums is { } room ? Sums(room) : 0,
            Rows = n * shape.H * shape.W,
            Channels = shape.C,
            KeepScale = _keepScale,
        });
        if (sums is { } left && dBias is { } total)
        {
            ColumnSums.AddUp(session, left, Chunks, shape.C, total);
        }
    }

    private int Chunks => Math.Min((n * shape.H * shape.W + Lanes - 1) / Lanes, MostSums);

    private nint Sums(DeviceTensor tensor) => tensor.Holding((long)Chunks * shape.C, DeviceType.F32);

    private nint Z(DeviceTensor tensor) => tensor.Holding((long)n * shape.Size, session.ActivationType);
}

/// <summary>Parameters of activation_forward in native/kernels/activation.cu.</summary>
internal struct ActivationForward
{
    public nint State, Y, Bias, Z;
    public int Samples, Size, Channels;
    public uint Threshold;
    public float KeepScale;
    public ulong Seed;
    public uint Layer;
}

/// <summary>Parameters of activation_backward in native/kernels/activation.cu.</summary>
internal struct ActivationBackward
{
    public nint Z, Dz, Sums;
    public int Rows, Channels;
    public float KeepScale;
}
