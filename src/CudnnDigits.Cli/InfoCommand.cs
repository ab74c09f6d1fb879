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
        bool isAmpereOrNewer = info.Cuda.Gpus is [{ ComputeCapability.Major: >= 8 }, ..];
        string fused = isAmpereOrNewer ? "; --kernels fused needs the driver alone" : "";
        Line("cuda backend", info.Cuda switch
        {
            { WhyNot: null } => isAmpereOrNewer ? "bf16, tf32, fp32" : "tf32, fp32",
            { DriverAlone: { Count: > 0 } alone } => $"{string.Join(", ", alone.Select(name => $"'{name}'"))} in bf16 alone, which needs "
                + $"no library but the driver; for all else {info.Cuda.WhyNot}{fused}",
            _ => $"not on this machine: {info.Cuda.WhyNot}{fused}",
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
