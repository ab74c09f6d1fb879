using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>Options that several commands share, and the checks of their ranges.</summary>
internal static class CommonOptions
{
    public const int MostThreads = 1024, MostBatch = 16384;

    /// <summary>Batch of evaluation and prediction; the result does not depend on it.</summary>
    public const int InferenceBatch = 256;

    public static Option<string?> Data(string description) => new("--data") { Description = description, HelpName = "PATH" };

    public static Option<string> Weights() => new("--weights") { Description = "Weights of a trained network, such as runs/first/model.safetensors.", HelpName = "FILE", Required = true };

    public static Option<string?> Model()
    {
        Option<string?> option = new("--model") { Description = "The network: simple (225,034 parameters) or improved (870,826).", HelpName = "simple|improved" };
        option.AcceptOnlyFromAmong([.. DigitNetworks.All.Select(network => network.Name)]);
        return option;
    }

    public static Option<string?> Device() => new("--device")
    {
        Description = "Where to run; auto takes CUDA where it works, else the CPU. This version runs on the CPU.",
        HelpName = "auto|cpu|cuda|cuda:N",
    };

    public static Option<int?> Threads() => Ranged("--threads", "N", "CPU threads; results do not depend on it. Default: all processors.", 1, MostThreads);

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON object on standard output, and nothing else." };

    public static Option<int?> Ranged(string name, string helpName, string description, int least, int most)
    {
        Option<int?> option = new(name) { Description = description, HelpName = helpName };
        option.Validators.Add(result => Check<int>(result, value => value >= least && value <= most, $"{least} to {most}"));
        return option;
    }

    public static Option<double?> Ranged(string name, string helpName, string description, double least, double most, bool includeMost = true)
    {
        Option<double?> option = new(name) { Description = description, HelpName = helpName };
        string range = string.Create(CultureInfo.InvariantCulture, $"{least} {(includeMost ? "to" : "up to, but not including,")} {most}");
        option.Validators.Add(result => Check<double>(result, value => value >= least && (value < most || (includeMost && value == most)), range));
        return option;
    }

    /// <summary>A backend for evaluation and prediction, with the weights loaded.</summary>
    public static ITrainingBackend CreateForInference(NetworkWeights weights, string? device, int? threads)
    {
        ITrainingBackend backend = BackendFactory.Create(device ?? "auto", weights.Network, new BackendOptions(InferenceBatch, 0, AugmentationSpec.None, threads ?? 0));
        backend.Load(weights, new AdamState(weights.Network));
        return backend;
    }

    private static void Check<T>(OptionResult result, Func<T, bool> isInRange, string range)
        where T : struct
    {
        if (result.Tokens.Count == 1 && result.GetValueOrDefault<T?>() is { } value && !isInRange(value))
        {
            result.AddError($"{result.Option.Name} is {result.Tokens[0].Value}, expected {range}");
        }
    }
}
