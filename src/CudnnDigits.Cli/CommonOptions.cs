using CudnnDigits.Cli.Datasets;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

/// <summary>Options that several commands share, and what commands do alike.</summary>
internal static class CommonOptions
{
    public const int MostBatch = TrainingField.MostBatch, MostEpochs = TrainingField.MostEpochs, MostSeeds = 1000, MostFolds = 100,
        MostBudget = 10_000_000;

    public static readonly Option<string> Weights = new("--weights")
    {
        Description = "Weights of a trained network: the folder of a run, such as runs/first, a safetensors file or an ONNX file.",
        HelpName = "FILE",
        Required = true,
    };

    public static readonly Option<string?> Model = Choice(
        "--model",
        $"The network: {string.Join(", ", DigitNetworks.All.Select(one => $"{one.Name} ({one.Parameters.TrainedCount:N0} parameters)"))}. "
            + $"Default: {DigitNetworks.Default.Name}.",
        DigitNetworks.Names);

    public static readonly Option<bool> Quiet = Flag("--quiet", "No progress, only the result."),
        Json = Flag("--json", "Print one JSON object on standard output, and nothing else.");

    public static Command NewCommand(string name, string description, IEnumerable<Symbol> symbols, Action<ParseResult> run)
    {
        Command command = new(name, description);
        command.SetAction(run);
        symbols.OfType<Argument>().ToList().ForEach(command.Add);
        symbols.OfType<Option>().ToList().ForEach(command.Add);
        return command;
    }

    /// <summary>The option for digits; without a default it is required. The help of "data show" alone lists all forms.</summary>
    public static Option<string?> Data(string what, string? otherwise = null) => new("--data")
    {
        Description = $"{what}: CSV, IDX, NumPy, Parquet, or folders of pictures; data show --help lists all forms."
            + (otherwise is null ? "" : $" Default: {otherwise}."),
        HelpName = "PATH",
        Required = otherwise is null,
    };

    public static Option<string?> Value(string name, string helpName, string description) =>
        new(name) { Description = description, HelpName = helpName };

    public static Option<bool> Flag(string name, string description) => new(name) { Description = description };

    public static Option<string> OutFile(string description, string otherwise) =>
        new("--out") { Description = description, HelpName = "FILE", DefaultValueFactory = _ => otherwise };

    public static Option<string?> OutFolder(string description) =>
        Value("--out", "DIR", description).Refusing(value => value == OutputFile.StandardOutput
            ? $"--out {value} is standard output, which cannot hold a folder; give the name of a folder" : null);

    /// <summary>Checked here, because the library's own words name .NET types and its parser takes 1,5 for 15.</summary>
    public static Option<int?> Ranged(string name, string helpName, string description, int least, int most) =>
        new Option<int?>(name) { Description = description, HelpName = helpName }.Refusing(text =>
            int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int number)
                && number >= least && number <= most ? null : $"{name} is {text}, expected a whole number {least} to {most}");

    public static Option<string?> Choice(string name, string description, params string[] choices)
    {
        Option<string?> option = Value(name, string.Join('|', choices), description);
        option.CompletionSources.Add(choices);
        return option.Refusing(value => choices.Contains(value) ? null : $"{name} is {value}, expected {InputException.OneOf(choices)}");
    }

    /// <summary>Adds a check of the value, which returns what is wrong with it, or null.</summary>
    public static Option<T> Refusing<T>(this Option<T> option, Func<string, string?> whatIsWrong)
    {
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: string value }] && whatIsWrong(value) is { } error)
            {
                result.AddError(error);
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

    /// <summary>Digits at a path. Standard error is told of their kind, unless quiet, and of digits not upright, or faint.</summary>
    public static DigitDataset OpenData(string path, DataPart part, bool quiet = false)
    {
        Orientation.Prepare();
        DigitDataset data = DataSource.Open(path, part);
        Note("found", quiet ? null : data.Found);
        Note("warning", data.Warning);
        Note("warning", Orientation.Warning(data));
        Note("warning", PixelScale.Warning(data));
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

    /// <summary>A line on standard error; none without a text.</summary>
    public static void Note(string label, string? text)
    {
        if (text is not null)
        {
            Console.Error.WriteLine(Screen.Fit($"{label,-9} {text}", Screen.ErrorWidth));
        }
    }

    /// <summary>Says that a run or a study goes on with other kernels than it was begun with, because those are gone.</summary>
    public static void NoteGoneKernels(string what, string? gone) => Note("note", gone is null ? null
        : $"this {what} was begun with --kernels {gone}, which no longer exists; it goes on with auto");
}
