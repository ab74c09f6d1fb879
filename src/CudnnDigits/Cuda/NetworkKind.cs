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
    public bool NeedsLibraries => Kernels == CudaKernels.Layered;

    /// <summary>As asked for, or the first that can run it here (docs/gpu.md); refuses kernels and precisions that cannot.</summary>
    public static NetworkKind Choose(CudaGpu gpu, Precision precision, NetworkSpec network, CudaKernels kernels)
    {
        const string Resuming = ", or, with --resume, add --device cpu";
        if (precision == Precision.Bf16 && gpu.ComputeCapability.Major < 8)
        {
            throw new InputException($"--precision bf16: needs a GPU of compute capability 8.0 or newer, and this one has "
                + $"{gpu.ComputeCapability}; leave --precision out{Resuming}");
        }

        string? whyNotFused = gpu.ComputeCapability.Major < 8 ? "need a GPU of compute capability 8.0 or newer"
            : FusedNetwork.WhyNot(network) is { } others ? $"run networks that {others}; '{network.Name}' does not"
            : null;
        if (kernels == CudaKernels.Fused && whyNotFused is not null)
        {
            throw new InputException($"--kernels fused: these kernels {whyNotFused}; leave --kernels out{Resuming}");
        }

        return new NetworkKind(kernels != CudaKernels.Auto ? kernels : whyNotFused is null ? CudaKernels.Fused : CudaKernels.Layered);
    }

    /// <summary>Reserves a network's tensors for steps of up to a number of samples; prediction alone needs no gradients.</summary>
    public CudaNetwork Make(
        CudaSession session, DeviceArena arena, NetworkSpec network, int batch, IReadOnlyList<OptimizerBuffer>? kept) => NeedsLibraries
        ? new LayeredNetwork(session, arena, network, batch, kept)
        : new FusedNetwork(session, arena, network, batch, kept);
}
