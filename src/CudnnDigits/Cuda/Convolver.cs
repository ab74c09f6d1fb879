using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>Who runs the convolutions and the hidden dense layer.</summary>
internal enum Convolver
{
    /// <summary>cuDNN and cuBLAS for all that they can do: <see cref="CudnnConvolutions"/>, <see cref="Dense"/>. What the others are held against.</summary>
    Cudnn,

    /// <summary>
    /// The same, but for what is faster by kernels of our own: the first convolution (<see cref="FirstConv2d"/>), pooling, bias, ReLU and dropout in one pass
    /// (<see cref="PooledActivation"/>); in predictions convolutions do batch norm's work (<see cref="BatchNorm2d.Fold"/>).
    /// </summary>
    Hybrid,

    /// <summary><see cref="FusedConvolutions"/>, <see cref="FusedDense"/>: no library but the driver.</summary>
    Fused,

    /// <summary>The same, convolutions in training with products by warpgroups (wgmma).</summary>
    Warpgroups,
}

/// <summary>Chooses between them.</summary>
internal static class Convolvers
{
    /// <summary>Chooses where the caller does not.</summary>
    public const string Setting = "CUDNN_DIGITS_CONVOLUTIONS";

    /// <summary>Whether it runs every layer by kernels of our own.</summary>
    public static bool IsFused(this Convolver convolver) => convolver is not (Convolver.Cudnn or Convolver.Hybrid);

    /// <summary>Whether a GPU has the shared memory for the fused kernels.</summary>
    public static bool CanFuse(int device) => SharedBytes(device) >= FusedConvolutions.MostShared;

    /// <summary>Who is to run a network: where nothing is said, the fastest that can (docs/performance.md).</summary>
    /// <param name="device">Ordinal of the GPU.</param>
    /// <param name="precision">Arithmetic.</param>
    /// <param name="network">The network.</param>
    /// <param name="choice">"cudnn", "hybrid", "fused", "warpgroups", or null for what <see cref="Setting"/> says.</param>
    /// <exception cref="InputException">The fused kernels are asked for and cannot, or the choice is none of these.</exception>
    public static Convolver Choose(int device, Precision precision, NetworkSpec network, string? choice)
    {
        Convolver? asked = (choice ?? Environment.GetEnvironmentVariable(Setting)) switch
        {
            null or "" => null,
            "cudnn" => Convolver.Cudnn,
            "hybrid" => Convolver.Hybrid,
            "fused" => Convolver.Fused,
            "warpgroups" => Convolver.Warpgroups,
            string other => throw new InputException($"{Setting}={other}: expected cudnn, hybrid, fused or warpgroups"),
        };
        if (asked is { } withLibraries && !withLibraries.IsFused())
        {
            return withLibraries;
        }

        string? why = precision != Precision.Bf16 ? "compute in bf16; add --precision bf16"
            : !network.WithDropout(0).Layers.SequenceEqual(DigitNetworks.Improved.WithDropout(0).Layers) ? $"run the network 'improved'; this one is '{network.Name}'"
            : !CanFuse(device) ? $"need {FusedConvolutions.MostShared >> 10} KiB of shared memory for a block, and this GPU has {SharedBytes(device) >> 10} (H100, H200 and B200 have enough)"
            : asked == Convolver.Warpgroups && !CudaDevice.IsHopper(device) ? "multiply by warpgroups on GPUs of compute capability 9.0 alone; take 'fused'"
            : null;
        return (asked, why) switch
        {
            (null, null) => CudaDevice.IsHopper(device) ? Convolver.Warpgroups : Convolver.Fused,
            (null, _) => Convolver.Hybrid,
            (_, null) => asked.Value,
            _ => throw new InputException($"{Setting}={asked.Value.ToString().ToLowerInvariant()}: the fused kernels {why}; or leave the setting out"),
        };
    }

    private static int SharedBytes(int device) => CudaDevice.Attribute(device, CudaDriver.AttributeMaxSharedBytesPerBlock);
}
