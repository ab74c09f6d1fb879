using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Fused;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>A way to run a network's layers, chosen once in <see cref="Choose"/>; what it makes never asks which way it is.</summary>
internal readonly record struct NetworkKind(CudaKernels Kernels)
{
    /// <summary>Whether it calls cuDNN or cuBLAS.</summary>
    public bool NeedsLibraries => Kernels is CudaKernels.Layered or CudaKernels.Hybrid;

    /// <summary>The most shared memory that a block takes: of conv2_backward_weights, with 4 KiB of static shared memory.</summary>
    private static int MostShared => KernelSource.Fused["conv2_backward_weights_shared_bytes"] + (4 << 10);

    /// <summary>As asked for, or the fastest way that can (docs/gpu.md); refuses fused kernels that cannot run it here.</summary>
    public static NetworkKind Choose(CudaGpu gpu, Precision precision, NetworkSpec network, CudaKernels kernels)
    {
        bool isHopper = gpu.ComputeCapability == new Version(9, 0);
        NetworkSpec fused = DigitNetworks.Improved;
        string? why = precision != Precision.Bf16 ? "compute in bf16; add --precision bf16"
            : !network.WithDropout(0).Layers.SequenceEqual(fused.WithDropout(0).Layers)
                ? $"run the network '{fused.Name}'; this one is '{network.Name}'"
            : gpu.SharedBytesPerBlock() < MostShared
                ? $"need {MostShared >> 10} KiB of shared memory for a block, and this GPU has {gpu.SharedBytesPerBlock() >> 10} "
                    + "(H100, H200 and B200 have enough)"
            : kernels == CudaKernels.Warpgroups && !isHopper
                ? "multiply by warpgroups on GPUs of compute capability 9.0 alone; take 'fused'"
            : null;
        if (kernels is CudaKernels.Fused or CudaKernels.Warpgroups && why is not null)
        {
            throw new InputException($"--kernels {kernels.ToString().ToLowerInvariant()}: these kernels {why}; or leave --kernels out");
        }

        return new NetworkKind(kernels != CudaKernels.Auto ? kernels
            : why is not null ? CudaKernels.Hybrid
            : isHopper ? CudaKernels.Warpgroups
            : CudaKernels.Fused);
    }

    /// <summary>Reserves a network's tensors for steps of up to a number of samples; prediction alone needs no gradients.</summary>
    public CudaNetwork Make(
        CudaSession session, DeviceArena arena, NetworkSpec network, int batch, IReadOnlyList<OptimizerBuffer>? kept) => NeedsLibraries
        ? new LayeredNetwork(session, arena, network, batch, kept, ownKernels: Kernels == CudaKernels.Hybrid)
        : new FusedNetwork(session, arena, network, batch, kept, warpgroups: Kernels == CudaKernels.Warpgroups);
}
