using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Layered;

/// <summary>
/// Bias, ReLU and dropout in one pass over an activation of n samples (channels last), by our own kernels; and the gradient of a bias.
/// </summary>
internal sealed class Activation(CudaSession session, int n, Shape shape, Dropout dropout)
{
    /// <summary>Rows of partial sums of a bias gradient, at most.</summary>
    public const int MostSums = 512;

    private const int Lanes = 32;

    private int Chunks => Math.Min((n * shape.H * shape.W + Lanes - 1) / Lanes, MostSums);

    /// <summary>z = dropout(relu(y + bias)), without dropout in prediction; z may be y. The bias is (C) f32, or null.</summary>
    public void Forward(DeviceTensor state, DeviceTensor y, DeviceTensor? bias, DeviceTensor z, bool training)
    {
        const string Kernel = "activation_forward";
        session.Launch(Kernel, KernelSource.Common.Blocks(Kernel, (long)n * ((shape.Size + 3) / 4)), new ActivationForward(
            state.Address, Z(y), bias?.Holding(shape.C, DeviceType.F32) ?? 0, Z(z), n, shape.Size, shape.C,
            training ? dropout : Dropout.None));
    }

    /// <summary>
    /// dZ to dY in place; and where there is a bias, its gradient, (C) f32, with room for the sums, (<see cref="MostSums"/>, C) f32.
    /// </summary>
    public void Backward(DeviceTensor z, DeviceTensor dz, DeviceTensor? sums, DeviceTensor? dBias)
    {
        session.Launch("activation_backward", (ColumnSums.Blocks(shape.C), Chunks), new ActivationBackward(
            Z(z), Z(dz), sums?.Holding((long)Chunks * shape.C, DeviceType.F32) ?? 0, n * shape.H * shape.W, shape.C, dropout.KeepScale));
        if (sums is { } left && dBias is { } total)
        {
            ColumnSums.AddUp(session, left, Chunks, shape.C, total);
        }
    }

    private nint Z(DeviceTensor tensor) => tensor.Holding((long)n * shape.Size, session.ActivationType);
}

internal readonly record struct ActivationForward(
    nint State, nint Y, nint Bias, nint Z, int Samples, int Size, int Channels, Dropout Dropout);

internal readonly record struct ActivationBackward(nint Z, nint Dz, nint Sums, int Rows, int Channels, float KeepScale);
