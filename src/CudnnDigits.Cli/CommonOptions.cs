using System.CommandLine;
using System.Numerics;
using CudnnDigits.Cli.Datasets;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>Options that several commands share, and the checks of their ranges.</summary>
internal static class CommonOptions
{
    public const int MostBatch = TrainingField.MostBatch, MostEpochs = TrainingField.MostEpochs, MostSeeds = 1000, MostFolds = 100, MostBudget = 10_000_000;

    public static Option<string?> Data(string description) => new("--data") { Description = description, HelpName = "PATH" };

    public static Option<string> Weights() => new("--weights") { Description = "Weights of a trained network: the folder of a run, such as runs/first, a safetensors file or an ONNX file.", HelpName = "FILE", Required = true };

    /// <summary>The folder that a command writes.</summary>
    public static Option<string?> OutFolder(string description)
    {
        Option<string?> option = new("--out") { Description = description, HelpName = "DIR" };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: OutputFile.StandardOutput }])
            {
                result.AddError($"--out {OutputFile.StandardOutput} is standard output, which cannot hold a folder; give the name of a folder");
            }
        });
        return option;
    }

    public static Option<string?> Model()
    {
        IEnumerable<string> networks = DigitNetworks.All.Select(network => $"{network.Name} ({network.Parameters.TrainedCount:N0} parameters)");
        return Choice("--model", $"The network: {string.Join(", ", networks)}. Default: {DigitNetworks.Default.Name}.", DigitNetworks.Names);
    }

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON object on standard output, and nothing else." };

    public static Option<int?> Ranged(string name, string helpName, string description, int least, int most) =>
        Number<int>(name, helpName, description, NumberStyles.AllowLeadingSign, value => value >= least && value <= most, $"a whole number {least} to {most}");

    public static Option<double?> Ranged(string name, string helpName, string description, double least, double most, bool includeMost = true)
    {
        string range = string.Create(CultureInfo.InvariantCulture, $"a number {least} {(includeMost ? "to" : "up to, but not including,")} {most}");
        return Number<double>(name, helpName, description, NumberStyles.Float, value => value >= least && (value < most || (includeMost && value == most)), range);
    }

    public static Option<ulong?> Seed() =>
        Number<ulong>("--seed", "N", "Seed of everything random. The same seed gives the same bits; on a GPU only with --deterministic. Default: 0.", NumberStyles.None, _ => true, $"a whole number 0 to {ulong.MaxValue}");

    public static Option<string?> Choice(string name, string description, params string[] choices)
    {
        Option<string?> option = new(name) { Description = description, HelpName = string.Join('|', choices) };
        option.CompletionSources.Add(choices);
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: string value }] && !choices.Contains(value))
            {
                result.AddError($"{name} is {value}, expected {string.Join(" or ", choices)}");
            }
        });
        return option;
    }

    /// <summary>Digits to train on: those at a path, or without one the built-in generated digits.</summary>
    public static DigitDataset LoadTraining(string? path, bool quiet)
    {
        using StartUp.Phase phase = StartUp.Measure("data");
        return path is null ? GeneratedDigits.Create() : OpenData(path, DataPart.Training, quiet);
    }

    /// <summary>
    /// Digits at a path. Standard error is told what they were found in, unless quiet or in Kaggle's own table, and of digits that are
    /// not upright, or faint.
    /// </summary>
    public static DigitDataset OpenData(string path, DataPart part, bool quiet = false)
    {
        Orientation.Prepare();
        DigitDataset data = DataSource.Open(path, part);
        if (data.Found is { } found && !quiet)
        {
            Console.Error.WriteLine($"found     {found}");
        }

        foreach (string warning in new[] { data.Warning, Orientation.Warning(data), PixelScale.Warning(data) }.OfType<string>())
        {
            Console.Error.WriteLine($"warning   {warning}");
        }

        return data;
    }

    /// <summary>A folder under runs/ that is not there yet.</summary>
    public static string NewFolder(string what, DateTime now)
    {
        string stem = Path.Combine("runs", $"{what}-{now:yyyyMMdd-HHmmss}"), folder = stem;
        for (int i = 2; Directory.Exists(folder); i++)
        {
            folder = $"{stem}-{i}";
        }

        return folder;
    }

    /// <summary>Makes the folder of an --out, where it is not there.</summary>
    public static void CreateFolder(string path)
    {
        try
        {
            Directory.CreateDirectory(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be made: {e.Message}; choose another --out", e);
        }
    }

    /// <summary>
    /// Why "auto" came down to the CPU, in brackets. Where there is no GPU or no driver, that is how most machines are: a few words, and
    /// nothing that reads as an order; <c>info</c> says it all. Where something is wrong with a GPU's software: what, and what to do.
    /// </summary>
    public static string WhyCpu(string why)
    {
        const string None = "there is no NVIDIA ";
        return why.StartsWith(None, StringComparison.Ordinal) ? $"(no NVIDIA {why[None.Length..].Split(' ', ':', ';', ',')[0]}; see info)" : $"({why})";
    }

    /// <summary>One line on standard error that says why "auto" came down to the CPU; nothing where there is nothing to say.</summary>
    public static void NoteCpu(string? why)
    {
        if (why is not null)
        {
            Console.Error.WriteLine($"device    CPU {WhyCpu(why)}");
        }
    }

    /// <summary>Parsed here, because the library's own words name .NET types and its parser takes 1,5 for 15.</summary>
    private static Option<T?> Number<T>(string name, string helpName, string description, NumberStyles styles, Func<T, bool> isInRange, string expected)
        where T : struct, INumber<T> => new(name)
        {
            Description = description,
            HelpName = helpName,
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                if (T.TryParse(text, styles, CultureInfo.InvariantCulture, out T value) && isInRange(value))
                {
                    return value;
                }

                result.AddError($"{name} is {text}, expected {expected}");
                return null;
            },
        };
}
