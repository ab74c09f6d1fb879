using CudnnDigits.Cpu;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>The only place that decides between devices.</summary>
public static class BackendFactory
{
    /// <summary>Instruction set of the CPU backend on this machine, for people: "AVX-512".</summary>
    public static string CpuInstructionSet => CpuDevice.InstructionSet(CpuDevice.VectorBits);

    /// <summary>Creates a backend.</summary>
    /// <param name="device">"auto", "cpu", "cuda" or "cuda:N".</param>
    /// <param name="network">The network, with the dropout rates to train with.</param>
    /// <param name="options">Batch size, seed, augmentation, threads.</param>
    /// <exception cref="InputException">There is no such device.</exception>
    public static ITrainingBackend Create(string device, NetworkSpec network, BackendOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        CheckDevice(device);
        try
        {
            return CpuDevice.Create(network, options, CpuDevice.VectorBits);
        }
        catch (OutOfMemoryException e)
        {
            throw new InputException($"a batch of {options.BatchSize} does not fit this machine's memory; choose a smaller --batch-size", e);
        }
    }

    /// <summary>Checks a device's name without making anything.</summary>
    /// <param name="device">"auto", "cpu", "cuda" or "cuda:N".</param>
    /// <exception cref="InputException">There is no such device.</exception>
    public static void CheckDevice(string device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (device is "auto" or "cpu")
        {
            return;
        }

        bool cuda = device == "cuda" || (device.StartsWith("cuda:", StringComparison.Ordinal) && uint.TryParse(device.AsSpan(5), out _));
        throw new InputException(cuda
            ? $"--device {device}: this version trains on the CPU only; choose --device cpu or auto"
            : $"--device {device}: no such device; choose auto, cpu, cuda or cuda:N");
    }

    /// <summary>Why "auto" came down to the CPU, in one line; null where the device was asked for by name.</summary>
    /// <param name="device">As given.</param>
    public static string? WhyCpu(string device) => device == "auto" ? "this version trains on the CPU only" : null;
}
