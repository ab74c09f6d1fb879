using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary><c>info</c>: what this program and this machine are.</summary>
internal static class InfoCommand
{
    private static readonly Option<bool> Json = CommonOptions.Json();

    public static Command Create()
    {
        Command command = new("info", "Show version, processor, devices and networks.") { Json };
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        InfoResult info = new(
            Checkpoint.Version,
            RuntimeInformation.FrameworkDescription,
            RuntimeInformation.OSDescription,
            RuntimeInformation.ProcessArchitecture.ToString(),
            Environment.ProcessorCount,
            BackendFactory.CpuInstructionSet,
            "not in this version",
            [.. DigitNetworks.All.Select(network => new NetworkInfo(network.Name, network.Parameters.TrainedCount))]);
        Console.Out.WriteLine(result.GetValue(Json)
            ? JsonSerializer.Serialize(info, CliJson.Default.InfoResult)
            : $"""
              cudnn-digits  {info.Version}
              runtime       {info.Runtime}
              system        {info.System}, {info.Architecture}
              processors    {info.Processors}
              cpu backend   {info.CpuInstructionSet}, fp32
              cuda          {info.Cuda}
              networks      {string.Join(", ", info.Networks.Select(n => $"{n.Name} ({n.Parameters:N0} parameters)"))}
              """);
        return ExitCode.Done;
    }
}
