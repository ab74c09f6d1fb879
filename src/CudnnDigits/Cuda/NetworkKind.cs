using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>
/// A way to run a network's layers. It is chosen once, in <see cref="Choose"/>; what it makes never asks which way it is.
/// </summary>
/// <param name="NeedsLibraries">Whether it calls cuDNN or cuBLAS.</param>
/// <param name="Make">Reserves a network's tensors.</param>
internal sealed record NetworkKind(bool NeedsLibraries, NetworkKind.Maker Make)
{
    /// <summary>Reserves a network's tensors.</summary>
    /// <param name="session">The device.</param>
    /// <param name="arena">Where to reserve.</param>
    /// <param name="network">The network.</param>
    /// <param name="batch">Samples in the largest step.</param>
    /// <param name="training">Whether it is trained; prediction alone needs no gradients.</param>
    /// <param name="averages">Whether an average of the weights is trained too.</param>
    public delegate CudaNetwork Maker(
        CudaSession session, DeviceArena arena, NetworkSpec network, int batch, bool training, bool averages = false);

    /// <summary>The most shared memory that a block takes: of conv2_backward_weights, with 4 KiB of static shared memory.</summary>
    private static int MostShared => KernelSource.Fused["conv2_backward_weights_shared_bytes"] + (4 << 10);

    /// <summary>How to run a network: as asked for, or the fastest way that can (docs/performance.md).</summary>
    /// <param name="gpu">The GPU.</param>
    /// <param name="precision">Arithmetic.</param>
    /// <param name="network">The network.</param>
    /// <param name="kernels">What is asked for.</param>
    /// <exception cref="InputException">Fused kernels are asked for, and they cannot run this network here.</exception>
    public static NetworkKind Choose(CudaGpu gpu, Precision precision, NetworkSpec network, CudaKernels kernels)
    {
        bool isHopper = gpu.ComputeCapability == new Version(9, 0);
        string? why = precision != Precision.Bf16 ? "compute in bf16; add --precision bf16"
            : !network.WithDropout(0).Layers.SequenceEqual(DigitNetworks.Improved.WithDropout(0).Layers)
                ? $"run the network 'improved'; this one is '{network.Name}'"
            : gpu.SharedBytesPerBlock() < MostShared ? $"need {MostShared >> 10} KiB of shared memory for a block, and this GPU has {gpu.SharedBytesPerBlock() >> 10} "
                + "(H100, H200 and B200 have enough)"
            : kernels == CudaKernels.Warpgroups && !isHopper
                ? "multiply by warpgroups on GPUs of compute capability 9.0 alone; take 'fused'"
            : null;
        if (kernels is CudaKernels.Fused or CudaKernels.Warpgroups && why is not null)
        {
            throw new InputException($"--kernels {kernels.ToString().ToLowerInvariant()}: these kernels {why}; or leave --kernels out");
        }

        CudaKernels chosen = kernels != CudaKernels.Auto ? kernels
            : why is not null ? CudaKernels.Hybrid
            : isHopper ? CudaKernels.Warpgroups
            : CudaKernels.Fused;
        return chosen switch
        {
            CudaKernels.Layered => Layered(ownKernels: false),
            CudaKernels.Hybrid => Layered(ownKernels: true),
            CudaKernels.Fused => Fused(warpgroups: false),
            _ => Fused(warpgroups: true),
        };

        static NetworkKind Layered(bool ownKernels) =>
            new(true, (session, arena, spec, batch, training, averages) =>
                new LayeredNetwork(session, arena, spec, batch, training, ownKernels, averages));

        static NetworkKind Fused(bool warpgroups) =>
            new(false, (session, arena, spec, batch, training, averages) =>
                new FusedNetwork(session, arena, spec, batch, training, warpgroups, averages));
    }
}
