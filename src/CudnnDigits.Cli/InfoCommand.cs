using CudnnDigits.Cpu;
using CudnnDigits.Cuda;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cli;

internal static class InfoCommand
{
    public static Command Create() => CommonOptions.NewCommand(
        "info", "Show version, processor, GPUs, NVIDIA's libraries and networks.", [CommonOptions.Json], result =>
        {
            InfoResult info = new(
                Checkpoint.Version, RuntimeInformation.FrameworkDescription, RuntimeInformation.OSDescription,
                RuntimeInformation.ProcessArchitecture.ToString(), Environment.ProcessorCount,
                CpuDevice.InstructionSet(CpuDevice.VectorBits), CudaDevice.Info(),
                [.. DigitNetworks.All.Select(network => new NetworkInfo(network.Name, network.Parameters.TrainedCount))]);
            CliJson.Print(result, info, Format(info), mustArrive: true);
        });

    private static string Format(InfoResult info)
    {
        StringBuilder text = new();
        Line("cudnn-digits", info.Version);
        Line("runtime", info.Runtime);
        Line("system", $"{info.System}, {info.Architecture}");
        Line("processors", $"{info.Processors}");
        Line("cpu backend", $"{info.CpuInstructionSet}, fp32");
        string precisions = info.Cuda.Gpus is [{ ComputeCapability.Major: >= 8 }, ..] ? "bf16, tf32, fp32" : "tf32, fp32";
        Line("cuda backend", info.Cuda switch
        {
            { WhyNot: null } => precisions,
            { DriverAlone.Count: > 0 } => $"{precisions}; not --kernels layered: {info.Cuda.WhyNot}",
            _ => $"not on this machine: {info.Cuda.WhyNot}",
        });
        foreach (CudaGpu gpu in info.Cuda.Gpus)
        {
            Line($"  cuda:{gpu.Ordinal}", $"{gpu.Name}, {gpu.MemoryBytes >> 20:N0} MiB, compute capability {gpu.ComputeCapability}, "
                + $"{gpu.Multiprocessors} multiprocessors");
        }

        foreach (CudaLibrary library in info.Cuda.Libraries)
        {
            string name = library.Name == "cuda" ? "driver" : library.Name;
            Line($"  {name}", library.Version is null ? $"{library.Path}" : $"{library.Version}, {library.Path}");
        }

        Line("  kernels", info.Cuda.Kernels);
        foreach (string tried in info.Cuda.Tried)
        {
            Line("  tried", tried);
        }

        Line("networks", string.Join(", ", info.Networks.Select(n => $"{n.Name} ({n.Parameters:N0} parameters)")));
        return text.ToString().TrimEnd();

        void Line(string name, string value) => text.AppendLine($"{name,-13} {value}");
    }
}
