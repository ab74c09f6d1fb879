using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// One field of <see cref="TrainingOptions"/>. <see cref="All"/> is the only list of them: range checks, command line, run.json, report,
/// <c>tune</c> and the C interface read it.
/// </summary>
/// <param name="Name">Its name in C#.</param>
/// <param name="Title">Its name for people.</param>
/// <param name="Expected">Its range in words.</param>
/// <param name="Text">Its value as files hold it; null for none.</param>
/// <param name="Parse">Sets it from <paramref name="Text"/>; null where the text is no such value. The range is not checked.</param>
/// <param name="Holds">Whether its value is in its range.</param>
internal sealed record TrainingField(
    string Name, string Title, string Expected, Func<TrainingOptions, string?> Text, Func<TrainingOptions, string, TrainingOptions?> Parse,
    Func<TrainingOptions, bool> Holds)
{
    /// <summary>The fact of a run that these fields make together.</summary>
    public const string Augmentation = "augmentation";

    /// <summary>The most epochs and the largest batch that the command line takes.</summary>
    public const int MostEpochs = 100_000, MostBatch = 16_384;

    /// <summary>Options to fill in from a file, with the values that a file means which lacks a field.</summary>
    public static TrainingOptions Unset { get; } = new() { Model = "", Epochs = 0, BatchSize = 0 };

    /// <summary>All fields, in the order in which people see them.</summary>
    public static IReadOnlyList<TrainingField> All { get; } =
    [
        Word(
            "Model", "network", "the name of a network",
            o => o.Model, (o, name) => o with { Model = name }, o => DigitNetworks.Find(o.Model) is not null) with
        {
            Show = o => $"{o.Model}, {DigitNetworks.Find(o.Model)?.Parameters.TrainedCount:N0} parameters",
            IsRequired = true,
        },
        Whole("Epochs", "epochs", 1, int.MaxValue, o => o.Epochs, (o, value) => o with { Epochs = value }, "at least 1")
            .As("--epochs", "N", "Passes over the training digits.") with
        {
            Limit = MostEpochs,
            Default = $"{DigitNetworks.ForEach(network => network.Training.Epochs)}; {GeneratedDigits.DefaultEpochs} on built-in digits",
            IsRequired = true,
        },
        OfOptimizer(
            "LearningRate", "learning rate", double.Epsilon, double.MaxValue,
            spec => spec.LearningRate, (spec, value) => spec with { LearningRate = value }, expected: "a number above 0")
            .As("--lr", "X", "Learning rate: the peak for one-cycle.") with
        {
            Default = "3e-3 for one-cycle, else 1e-3",
            IsRequired = true,
            Search = new(3e-4, 1e-2) { IsLogarithmic = true },
        },
        Whole("BatchSize", "batch size", 1, int.MaxValue, o => o.BatchSize, (o, value) => o with { BatchSize = value }, "at least 1")
            .As("--batch-size", "N", "Digits in a step.") with
        {
            Limit = MostBatch,
            Default = DigitNetworks.ForEach(network => network.Training.BatchSize),
            IsRequired = true,
            Search = new(["32", "64", "128", "256"]),
        },
        Word(
            "Schedule", "schedule", "one of the schedules",
            o => o.Schedule.ToString(), ParseSchedule, o => Enum.IsDefined(o.Schedule))
            .As("--schedule", "", "Schedule of the learning rate.") with
        {
            Default = "one-cycle",
            Choices = ["plateau", "one-cycle", "constant"],
            Show = o => JsonNamingPolicy.KebabCaseLower.ConvertName(o.Schedule.ToString()),
            IsRequired = true,
            Search = new([.. Enum.GetNames<LearningRateSchedule>()]),
        },
        OfOptimizer(
            "WeightDecay", "weight decay", 0, 100, spec => spec.WeightDecay, (spec, value) => spec with { WeightDecay = value })
            .As("--weight-decay", "F", "Decoupled weight decay, as in AdamW: each step subtracts learning rate × F × weight."),
        OfOptimizer("Beta1", "β₁", 0, 1, spec => spec.Beta1, (spec, value) => spec with { Beta1 = value }, includeMost: false)
            .As("--beta1", "F", "Adam's β₁: decay of the mean of the gradients.") with { Fact = "Adam" },
        OfOptimizer("Beta2", "β₂", 0, 1, spec => spec.Beta2, (spec, value) => spec with { Beta2 = value }, includeMost: false)
            .As("--beta2", "F", "Adam's β₂: decay of the mean of the squared gradients.") with { Fact = "Adam" },
        OfOptimizer("Epsilon", "ε", 1e-12, 1, spec => spec.Epsilon, (spec, value) => spec with { Epsilon = value })
            .As("--epsilon", "X", "Adam's ε: added to the root of the mean square.") with { Default = "1e-8", Fact = "Adam" },
        Number(
            "LabelSmoothing", "label smoothing", 0, 1,
            o => o.LabelSmoothing, (o, value) => o with { LabelSmoothing = value }, includeMost: false)
            .As("--label-smoothing", "F", "Share of each label that is spread over all classes, in the training loss only."),
        Number("Ema", "average of the weights", 0, 1, o => o.Ema, (o, value) => o with { Ema = value }, includeMost: false)
            .As(
                "--ema", "F",
                "Decay of an average of the weights over the steps, which is validated and kept in place of the weights; 0 turns it off."),
        Number("Dropout", "dropout", 0, 1, o => o.Dropout, (o, value) => o with { Dropout = value }, includeMost: false)
            .As("--dropout", "F", "Sets every dropout rate; 0 turns dropout off.") with
        {
            Default = "the network's own",
            Show = o => Written(o.Dropout) ?? "the network's own",
            Applies = o => o.CreateNetwork().Layers.OfType<DropoutLayer>().Any(),
            Search = new(0, 0.5),
        },
        OfAugmentation("Rotate", "rotation", 0, 180, spec => spec.Rotate, (spec, value) => spec with { Rotate = value })
            .As("--rotate", "DEG", "Largest rotation, in degrees, both ways.") with
        {
            Default = "that of --augment",
            Unit = "± degrees",
            Show = o => PlusMinus(o.Augmentation.Rotate, "°"),
            Search = new(0, 20) { Digits = 0 },
        },
        OfAugmentation("Shift", "shift", 0, 0.5, spec => spec.Shift, (spec, value) => spec with { Shift = value })
            .As("--shift", "F", "Largest shift along each axis, as a share of the side.") with
        {
            Default = "that of --augment",
            Unit = "± share of the side",
            Show = o => PlusMinus(100 * o.Augmentation.Shift, " %"),
            Search = new(0, 0.15),
        },
        OfAugmentation("Zoom", "zoom", 0, 0.5, spec => spec.Zoom, (spec, value) => spec with { Zoom = value })
            .As("--zoom", "F", "Largest zoom, as a share of the size.") with
        {
            Default = "that of --augment",
            Unit = "± share of the size",
            Show = o => PlusMinus(100 * o.Augmentation.Zoom, " %"),
            Search = new(0, 0.2),
        },
        OfAugmentation("Elastic", "elastic distortion", 0, 4, spec => spec.Elastic, (spec, value) => spec with { Elastic = value })
            .As("--elastic", "PIXELS", "Elastic distortion: largest displacement of the points of a 5×5 grid, in pixels.") with
        {
            Unit = "± pixels",
            Show = o => PlusMinus(o.Augmentation.Elastic, " px"),
        },
        new(
            "Seed", "seed", $"a whole number 0 to {ulong.MaxValue}", o => Written(o.Seed),
            (o, text) => Read<ulong>(text, NumberStyles.None) is { } value ? o with { Seed = value } : null, _ => true)
        {
            Option = "--seed",
            HelpName = "N",
            Help = "Seed of everything random. The same seed gives the same bits; on a GPU only with --deterministic.",
        },
        Number("Validation", "held out", 0, 0.9, o => o.Validation, (o, value) => o with { Validation = value })
            .As("--validation", "F", "Share of each class held out.") with
        {
            Default = "0.2; 0 trains on everything",
            Show = o => o.Folds > 0 ? null : $"{o.Validation:P0} of each class",
        },
        Whole(
            "Folds", "folds", 0, int.MaxValue, o => o.Folds, (o, value) => o with { Folds = value },
            "0, or 2 or more", o => o.Folds != 1) with
        {
            Fact = null,
        },
        Whole(
            "Fold", "fold", 0, int.MaxValue, o => o.Fold, (o, value) => o with { Fold = value },
            "a fold from 1 to Folds, or 0 where there are none", o => o.Fold >= Math.Min(o.Folds, 1) && o.Fold <= o.Folds) with
        {
            Show = o => o.Folds > 0 ? $"{o.Fold} of {o.Folds}" : null,
            Fact = "held out",
        },
        Number(
            "Test", "kept away", 0, 1, o => o.Test, (o, value) => o with { Test = value },
            expected: "0 or more, with Validation less than 1", holds: o => o.Test >= 0 && o.Validation + o.Test < 1) with
        {
            Show = o => o.Test > 0 ? $"{o.Test:P0}" : null,
            Fact = "held out",
        },
        Switch("KeepLast", "weights kept", o => o.KeepLast, (o, value) => o with { KeepLast = value }) with { Fact = null },
        Whole("EarlyStop", "early stop after", 0, 100_000, o => o.EarlyStop, (o, value) => o with { EarlyStop = value })
            .As("--early-stop", "N", "Stop after N epochs without better validation accuracy. Needs held-out digits.") with
        {
            Default = "0, never",
            Show = o => o.EarlyStop > 0 ? $"{o.EarlyStop}" : null,
            Fact = "epochs",
        },
        Switch("Shuffle", "order", o => o.Shuffle, (o, value) => o with { Shuffle = value }) with
        {
            Show = o => o.Shuffle ? "shuffled" : "the file's",
        },
    ];

    /// <summary>Its name in files and in C.</summary>
    public string JsonName { get; } = JsonNamingPolicy.SnakeCaseLower.ConvertName(Name);

    /// <summary>The option of the command line that sets it; null for none of its own.</summary>
    public string? Option { get; private init; }

    /// <summary>What stands for its value in the option's help.</summary>
    public string HelpName { get; private init; } = "";

    /// <summary>What the option's help says, but for the default.</summary>
    public string Help { get; private init; } = "";

    /// <summary>Its default in words, where that is not simply the value which a file without it means.</summary>
    public string? Default { get; init; }

    /// <summary>The only values of the option, where there are few.</summary>
    public string[] Choices { get; init; } = [];

    /// <summary>The greatest value that the option takes, where the library takes more; the least is 1 then.</summary>
    public int? Limit { get; init; }

    /// <summary>The option's range in words.</summary>
    public string OptionExpected => Limit is null ? Expected : $"a whole number 1 to {Limit}";

    /// <summary>Its unit, for the axis of a chart.</summary>
    public string? Unit { get; init; }

    /// <summary>Whether run.json must hold it. A file without another field means the value that new options have.</summary>
    public bool IsRequired { get; init; }

    /// <summary>Whether files hold it as text.</summary>
    public bool IsText { get; init; }

    /// <summary>Whether it is a real number, which C has as a double.</summary>
    public bool IsReal { get; init; }

    /// <summary>Its value as a number, where it is one.</summary>
    public Func<TrainingOptions, double?>? AsNumber { get; init; }

    /// <summary>Its value for people; null where it is off.</summary>
    public Func<TrainingOptions, string?> Show { get; init; } = Text;

    /// <summary>The fact in a run's report that it belongs to; null for none.</summary>
    public string? Fact { get; init; } = Title;

    /// <summary>Whether it means anything for the network.</summary>
    public Func<TrainingOptions, bool> Applies { get; init; } = _ => true;

    /// <summary>What <c>tune</c> tries; null where it does not search.</summary>
    public SearchRange? Search { get; init; }

    /// <summary>Whether a file without it means none.</summary>
    public bool IsNullable => !IsRequired && Text(Unset) is null;

    /// <summary>The option's help, with the default.</summary>
    public string HelpText => $"{Help} Default: {Default ?? Text(Unset)}.";

    /// <summary>The field of a name.</summary>
    public static TrainingField Of(string name) => All.Single(field => field.Name == name);

    /// <summary>What the fields of one fact are, for people: "rotation ±10°, shift ±10 %".</summary>
    /// <param name="fact">The fact.</param>
    /// <param name="options">The options.</param>
    public static string Describe(string fact, TrainingOptions options)
    {
        IEnumerable<string?> shown = All.Where(field => field.Fact == fact && field.Show(options) is not null)
            .Select(field => field.Title == fact ? field.Show(options) : $"{field.Title} {field.Show(options)}");
        return string.Join(", ", shown) is { Length: > 0 } text ? text : "none";
    }

    /// <summary>Whether the value is other than the one that a file without the field means.</summary>
    public bool IsChanged(TrainingOptions options) => IsRequired || Text(options) != Text(Unset);

    /// <summary>Gives it an option of the command line.</summary>
    private TrainingField As(string option, string helpName, string help) => this with { Option = option, HelpName = helpName, Help = help };

    /// <summary>Sets it from what the command line says; null where that is not in its range.</summary>
    public TrainingOptions? TrySet(TrainingOptions options, string text) =>
        Parse(options, text) is { } set && Holds(set) && (Limit is null || AsNumber!(set) <= Limit) ? set : null;

    private static TrainingField Word(
        string name, string title, string expected, Func<TrainingOptions, string?> get, Func<TrainingOptions, string, TrainingOptions?> set,
        Func<TrainingOptions, bool> holds) =>
        new(name, title, expected, get, set, holds) { IsText = true };

    private static TrainingField Switch(
        string name, string title, Func<TrainingOptions, bool> get, Func<TrainingOptions, bool, TrainingOptions> set) => new(
        name, title, "true or false", o => get(o) ? "true" : "false",
        (o, text) => bool.TryParse(text, out bool value) ? set(o, value) : null, _ => true);

    private static TrainingField Whole(
        string name, string title, int least, int most, Func<TrainingOptions, int> get, Func<TrainingOptions, int, TrainingOptions> set,
        string? expected = null, Func<TrainingOptions, bool>? holds = null) =>
        new(
            name, title, expected ?? $"a whole number {least} to {most}", o => Written(get(o)),
            (o, text) => Read<int>(text, NumberStyles.AllowLeadingSign) is { } value ? set(o, value) : null,
            o => get(o) >= least && get(o) <= most && (holds?.Invoke(o) ?? true))
        {
            AsNumber = o => get(o),
        };

    private static TrainingField Number(
        string name, string title, double least, double most,
        Func<TrainingOptions, double?> get, Func<TrainingOptions, double, TrainingOptions> set,
        bool includeMost = true, string? expected = null, Func<TrainingOptions, bool>? holds = null)
    {
        string to = includeMost ? "to" : "up to, but not including,";
        string range = string.Create(CultureInfo.InvariantCulture, $"a number {least} {to} {most}");
        return new(
            name, title, expected ?? range, o => Written(get(o)),
            (o, text) => Read<double>(text, NumberStyles.Float) is { } value ? set(o, value) : null,
            holds ?? (o => get(o) is not { } value || (value >= least && (value < most || (includeMost && value == most)))))
        {
            AsNumber = get,
            IsReal = true,
        };
    }

    private static TrainingField OfOptimizer(
        string name, string title, double least, double most,
        Func<OptimizerSpec, double> get, Func<OptimizerSpec, double, OptimizerSpec> set,
        bool includeMost = true, string? expected = null) => Number(
        name, title, least, most,
        o => get(o.Optimizer), (o, value) => o with { Optimizer = set(o.Optimizer, value) }, includeMost, expected);

    private static TrainingField OfAugmentation(
        string name, string title, double least, double most,
        Func<AugmentationSpec, double> get, Func<AugmentationSpec, double, AugmentationSpec> set) =>
        Number(name, title, least, most, o => get(o.Augmentation), (o, value) => o with { Augmentation = set(o.Augmentation, value) }) with
        {
            Fact = Augmentation,
        };

    /// <summary>Parsed here, because .NET's own default takes 1,5 for 15.</summary>
    private static T? Read<T>(string text, NumberStyles styles)
        where T : struct, System.Numerics.INumber<T> => T.TryParse(text, styles, CultureInfo.InvariantCulture, out T value) ? value : null;

    private static string? Written(IFormattable? value) => value?.ToString(null, CultureInfo.InvariantCulture);

    private static string? PlusMinus(double range, string unit) =>
        range == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"±{Math.Round(range, 3)}{unit}");

    /// <summary>"one-cycle" or, as files have it, "OneCycle".</summary>
    private static TrainingOptions? ParseSchedule(TrainingOptions options, string text) =>
        Enum.TryParse(text.Replace("-", "", StringComparison.Ordinal), ignoreCase: true, out LearningRateSchedule schedule)
            ? options with { Schedule = schedule }
            : null;
}

/// <summary>What <c>tune</c> tries of a field.</summary>
/// <param name="Least">The least value.</param>
/// <param name="Most">The greatest value.</param>
/// <param name="Choices">The values in place of a range; null for a range.</param>
internal sealed record SearchRange(double Least, double Most, string[]? Choices = null)
{
    public SearchRange(string[] choices)
        : this(0, choices.Length - 1, choices)
    {
    }

    /// <summary>Decimals of a value.</summary>
    public int Digits { get; init; } = 2;

    /// <summary>Whether values are drawn evenly on a logarithmic scale. Such values have two significant digits.</summary>
    public bool IsLogarithmic { get; init; }

    /// <summary>A value, as text.</summary>
    /// <param name="word">A random word.</param>
    public string Draw(uint word)
    {
        if (Choices is not null)
        {
            return Choices[Numerics.Philox.ToIndex(word, Choices.Length)];
        }

        double uniform = Numerics.Philox.ToUniform(word);
        double value = IsLogarithmic ? Least * Math.Pow(Most / Least, uniform) : Least + (Most - Least) * uniform;
        double unit = IsLogarithmic ? Math.Pow(10, Math.Floor(Math.Log10(value)) - 1) : Math.Pow(10, -Digits);
        return Math.Round(Math.Round(value / unit) * unit, 12).ToString(CultureInfo.InvariantCulture);
    }
}
