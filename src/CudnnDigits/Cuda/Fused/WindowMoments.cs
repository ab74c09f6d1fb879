using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Fused;

/// <summary>
/// The beginning of a training step of n samples, where the first layer has batch norm: they become the network's input, (N, 28, 28), and
/// the layer's statistics follow from the moments of the input's windows; the state moves on.
/// </summary>
internal sealed class WindowMoments(CudaSession session, Conv2dLayer conv, int n)
{
    private readonly int _blocks = Math.Min(n, 4 * session.Multiprocessors); // so many fit at once

    /// <summary>How many moments there are, in double; native/kernels/family/moments.cuh says which lies where.</summary>
    public int Count { get; } = KernelSource.Family[$"moments_of_{conv.Kernel * conv.Kernel}_taps"];

    /// <summary>Sums that blocks leave, f32.</summary>
    public int Sums => _blocks * Count;

    /// <summary>w: the layer's weights, (K, kernel, kernel), stored as x.</summary>
    public void Gather(DeviceTensor state, DeviceTensor x, in Gathering gathering, DeviceTensor w, in ChannelNorm norm, DeviceTensor moments)
    {
        uint rounding = session.Precision switch { Precision.Bf16 => 2u, Precision.Tf32 => 1u, _ => 0u };
        session.Launch(session.FamilyKernels, "gather_moments", _blocks, new GatherMoments(
            state.Address, x.Holding((long)n * DigitDataset.PixelCount, session.ActivationType), gathering,
            w.Holding((long)conv.OutChannels * conv.Kernel * conv.Kernel, session.ActivationType), norm,
            moments.Holding(Count * (sizeof(double) / sizeof(float)), DeviceType.F32), n, conv.Kernel, conv.Padding, rounding));
    }
}

/// <summary>Parameters of native/kernels/family/gather.cu.</summary>
internal readonly record struct GatherMoments(
    nint State, nint X, Gathering Gathering, nint W, ChannelNorm Norm, nint Moments, int Samples, int Side, int Padding, uint Rounding);
