using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>Who runs the convolutions and the hidden dense layer.</summary>
internal enum Convolver
{
    /// <summary>cuDNN and cuBLAS: <see cref="CudnnConvolutions"/>, <see cref="Dense"/>.</summary>
    Cudnn,

    /// <summary><see cref="FusedConvolutions"/>, <see cref="FusedDense"/>: no library but the driver.</summary>
    Fused,

    /// <summary>The same, each kernel beginning before the one before it has ended.</summary>
    Overlapped,
}

/// <summary>Chooses between them.</summary>
internal static class Convolvers
{
    /// <summary>Chooses where the caller does not.</summary>
    public const string Setting = "CUDNN_DIGITS_CONVOLUTIONS";

    /// <summary>Who is asked for.</summary>
    /// <param name="choice">"cudnn", "fused", "overlapped", or null for what <see cref="Setting"/> says; cuDNN where it says nothing.</param>
    /// <exception cref="InputException">None of these.</exception>
    public static Convolver Asked(string? choice) => (choice ?? Environment.GetEnvironmentVariable(Setting)) switch
    {
        null or "" or "cudnn" => Convolver.Cudnn,
        "fused" => Convolver.Fused,
        "overlapped" => Convolver.Overlapped,
        string other => throw new InputException($"{Setting}={other}: expected cudnn, fused or overlapped"),
    };

    /// <summary>Who is to run a network.</summary>
    /// <param name="session">The device and precision.</param>
    /// <param name="network">The network.</param>
    /// <param name="choice">As <see cref="Asked"/> takes it.</param>
    /// <exception cref="InputException">The fused kernels are asked for and cannot, or the choice is none of these.</exception>
    public static Convolver Choose(CudaSession session, NetworkSpec network, string? choice)
    {
        const int OverlapInGraphs = 12030; // the first version of CUDA that captures it
        Convolver asked = Asked(choice);
        if (asked == Convolver.Cudnn)
        {
            return asked;
        }

        int shared = CudaDevice.Attribute(session.Context.Device, CudaDriver.AttributeMaxSharedBytesPerBlock);
        string? why = session.Precision != Precision.Bf16 ? "compute in bf16; add --precision bf16"
            : !network.WithDropout(0).Layers.SequenceEqual(DigitNetworks.Improved.WithDropout(0).Layers) ? $"run the network 'improved'; this one is '{network.Name}'"
            : shared < FusedConvolutions.MostShared ? $"need {FusedConvolutions.MostShared >> 10} KiB of shared memory for a block, and this GPU has {shared >> 10} (Hopper and newer have enough)"
            : asked == Convolver.Overlapped && CudaDevice.DriverVersion() < OverlapInGraphs ? $"overlap with a driver for CUDA {CudaDevice.FormatVersion(OverlapInGraphs)} or newer; take 'fused'"
            : null;
        return why is null ? asked : throw new InputException($"{Setting}={asked.ToString().ToLowerInvariant()}: the fused kernels {why}; or leave the setting out");
    }
}
