using System.Numerics;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// One field of <see cref="TrainingOptions"/>. <see cref="All"/> is the only list of them: range checks, command line, run.json, report,
/// <c>tune</c> and the C interface read it. Title and Expected, its range, are words for people. Text is its value as files hold it, null
/// for none. Parse sets it from such a text, without a check of the range; null where the text is no such value. Holds checks the range.
/// </summary>
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
        Number(
            "LearningRate", "learning rate", double.Epsilon, double.MaxValue,
            o => o.Optimizer.LearningRate, (o, value) => Of(o, o.Optimizer with { LearningRate = value }), "a number above 0")
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
        Word("Schedule", "schedule", "one of the schedules", o => o.Schedule.ToString(), ParseSchedule, o => Enum.IsDefined(o.Schedule))
            .As("--schedule", "", "Schedule of the learning rate.") with
        {
            Default = "one-cycle",
            Choices = [.. Enum.GetNames<LearningRateSchedule>().Select(JsonNamingPolicy.KebabCaseLower.ConvertName)],
            Show = o => JsonNamingPolicy.KebabCaseLower.ConvertName(o.Schedule.ToString()),
            IsRequired = true,
            Search = new(Enum.GetNames<LearningRateSchedule>()),
        },
        Number(
            "WeightDecay", "weight decay", 0, 100,
            o => o.Optimizer.WeightDecay, (o, value) => Of(o, o.Optimizer with { WeightDecay = value }))
            .As("--weight-decay", "F", "Decoupled weight decay, as in AdamW: each step subtracts learning rate × F × weight."),
        Share("Beta1", "β₁", o => o.Optimizer.Beta1, (o, value) => Of(o, o.Optimizer with { Beta1 = value }))
            .As("--beta1", "F", "Adam's β₁: decay of the mean of the gradients.") with { Fact = "Adam" },
        Share("Beta2", "β₂", o => o.Optimizer.Beta2, (o, value) => Of(o, o.Optimizer with { Beta2 = value }))
            .As("--beta2", "F", "Adam's β₂: decay of the mean of the squared gradients.") with { Fact = "Adam" },
        Number("Epsilon", "ε", 1e-12, 1, o => o.Optimizer.Epsilon, (o, value) => Of(o, o.Optimizer with { Epsilon = value }))
            .As("--epsilon", "X", "Adam's ε: added to the root of the mean square.") with { Default = "1e-8", Fact = "Adam" },
        Share("LabelSmoothing", "label smoothing", o => o.LabelSmoothing, (o, value) => o with { LabelSmoothing = value })
            .As("--label-smoothing", "F", "Share of each label that is spread over all classes, in the training loss only."),
        Share("Ema", "average of the weights", o => o.Ema, (o, value) => o with { Ema = value })
            .As("--ema", "F", "Decay of an average of the weights, which is validated and kept in their place; 0 turns it off.") with
        {
            Show = o => o.Ema > 0 ? Exact(o.Ema) : "off",
        },
        Share("Dropout", "dropout", o => o.Dropout, (o, value) => o with { Dropout = value })
            .As("--dropout", "F", "Sets every dropout rate; 0 turns dropout off.") with
        {
            Default = "the network's own",
            Show = o => Exact(o.Dropout) ?? "the network's own",
            Applies = o => o.CreateNetwork().Layers.OfType<DropoutLayer>().Any(),
            Search = new(0, 0.5),
        },
        OfAugmentation("Rotate", "rotation", 180, spec => spec.Rotate, (spec, x) => spec with { Rotate = x }, "degrees", "°")
            .As("--rotate", "DEG", "Largest rotation, in degrees, both ways.") with { Search = new(0, 20) { Digits = 0 } },
        OfAugmentation("Shift", "shift", 0.5, spec => spec.Shift, (spec, x) => spec with { Shift = x }, "share of the side", " %")
            .As("--shift", "F", "Largest shift along each axis, as a share of the side.") with { Search = new(0, 0.15) },
        OfAugmentation("Zoom", "zoom", 0.5, spec => spec.Zoom, (spec, x) => spec with { Zoom = x }, "share of the size", " %")
            .As("--zoom", "F", "Largest zoom, as a share of the size.") with { Search = new(0, 0.2) },
        OfAugmentation("Elastic", "elastic distortion", 4, spec => spec.Elastic, (spec, x) => spec with { Elastic = x }, "pixels", " px")
            .As("--elastic", "PIXELS", "Elastic distortion: largest displacement of the points of a 5×5 grid, in pixels."),
        Whole("Seed", "seed", 0UL, ulong.MaxValue, o => o.Seed, (o, value) => o with { Seed = value })
            .As("--seed", "N", "Seed of everything random. The same seed gives the same bits; through cuDNN only with --deterministic."),
        Number("Validation", "held out", 0, 0.9, o => o.Validation, (o, value) => o with { Validation = value })
            .As("--validation", "F", "Share of each class held out.") with
        {
            Default = "0.2; 0 trains on everything",
            Show = o => o.Folds > 0 ? null : $"{o.Validation:P0} of each class",
        },
        Whole("Folds", "folds", 0, int.MaxValue, o => o.Folds, (o, value) => o with { Folds = value }, "0, or 2 or more") with
        {
            Holds = o => o.Folds is 0 or > 1,
            Fact = null,
        },
        Whole(
            "Fold", "fold", 0, int.MaxValue,
            o => o.Fold, (o, value) => o with { Fold = value }, "a fold from 1 to Folds, or 0 where there are none") with
        {
            Holds = o => o.Fold >= Math.Min(o.Folds, 1) && o.Fold <= o.Folds,
            Show = o => o.Folds > 0 ? $"{o.Fold} of {o.Folds}" : null,
            Fact = "held out",
        },
        Number("Test", "kept away", 0, 1, o => o.Test, (o, value) => o with { Test = value }, "0 or more, with Validation less than 1") with
        {
            Holds = o => o.Test >= 0 && o.Validation + o.Test < 1,
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

    /// <summary>The option's help, with the default.</summary>
    public string HelpText => $"{Help} Default: {Default ?? Text(Unset)}.";

    /// <summary>The only values of the option, where there are few.</summary>
    public string[] Choices { get; private init; } = [];

    /// <summary>The option's range in words.</summary>
    public string OptionExpected => Limit is null ? Expected : $"a whole number 1 to {Limit}";

    /// <summary>Its unit, for the axis of a chart.</summary>
    public string? Unit { get; private init; }

    /// <summary>Whether run.json must hold it. A file without another field means the value that new options have.</summary>
    public bool IsRequired { get; private init; }

    /// <summary>Whether files hold it as text.</summary>
    public bool IsText { get; private init; }

    /// <summary>Whether it is a real number, which C has as a double.</summary>
    public bool IsReal { get; private init; }

    /// <summary>Its value as a number, where it is one that a double holds.</summary>
    public Func<TrainingOptions, double?>? AsNumber { get; private init; }

    /// <summary>Its value for people; null where it is off.</summary>
    public Func<TrainingOptions, string?> Show { get; private init; } = Text;

    /// <summary>The fact in a run's report that it belongs to; null for none.</summary>
    public string? Fact { get; private init; } = Title;

    /// <summary>Whether it means anything for the network.</summary>
    public Func<TrainingOptions, bool> Applies { get; private init; } = _ => true;

    /// <summary>What <c>tune</c> tries; null where it does not search.</summary>
    public SearchRange? Search { get; private init; }

    /// <summary>Whether a file without it means none.</summary>
    public bool IsNullable => !IsRequired && Text(Unset) is null;

    private string Help { get; init; } = "";

    /// <summary>The default in words, where it is not simply the value which a file without the field means.</summary>
    private string? Default { get; init; }

    /// <summary>The greatest value that the option takes, where the library takes more; the least is 1 then.</summary>
    private int? Limit { get; init; }

    public static TrainingField Of(string name) => All.Single(field => field.Name == name);

    /// <summary>What the fields of one fact are, for people: "rotation ±10°, shift ±10 %".</summary>
    public static string Describe(string fact, TrainingOptions options)
    {
        IEnumerable<string?> shown = All.Where(field => field.Fact == fact && field.Show(options) is not null)
            .Select(field => field.Title == fact ? field.Show(options) : $"{field.Title} {field.Show(options)}");
        return string.Join(", ", shown) is { Length: > 0 } text ? text : "none";
    }

    /// <summary>Whether the value is other than the one that a file without the field means.</summary>
    public bool IsChanged(TrainingOptions options) => IsRequired || Text(options) != Text(Unset);

    /// <summary>Sets it from what the command line says; null where that is not in its range.</summary>
    public TrainingOptions? TrySet(TrainingOptions options, string text) =>
        Parse(options, text) is { } set && Holds(set) && (Limit is null || AsNumber!(set) <= Limit) ? set : null;

    private TrainingField As(string option, string helpName, string help) =>
        this with { Option = option, HelpName = helpName, Help = help };

    private static TrainingOptions Of(TrainingOptions options, OptimizerSpec spec) => options with { Optimizer = spec };

    private static TrainingField Word(
        string name, string title, string expected, Func<TrainingOptions, string?> get, Func<TrainingOptions, string, TrainingOptions?> set,
        Func<TrainingOptions, bool> holds) =>
        new(name, title, expected, get, set, holds) { IsText = true };

    private static TrainingField Switch(
        string name, string title, Func<TrainingOptions, bool> get, Func<TrainingOptions, bool, TrainingOptions> set) =>
        new(
            name, title, "true or false", o => get(o) ? "true" : "false",
            (o, text) => bool.TryParse(text, out bool value) ? set(o, value) : null, _ => true);

    private static TrainingField Whole<T>(
        string name, string title, T least, T most, Func<TrainingOptions, T> get, Func<TrainingOptions, T, TrainingOptions> set,
        string? expected = null)
        where T : struct, IBinaryInteger<T> =>
        new(
            name, title, expected ?? $"a whole number {least} to {most}", o => get(o).ToString(null, CultureInfo.InvariantCulture),
            (o, text) => Read<T>(text, NumberStyles.AllowLeadingSign) is { } value ? set(o, value) : null,
            o => get(o) >= least && get(o) <= most)
        {
            AsNumber = typeof(T) == typeof(int) ? o => double.CreateChecked(get(o)) : null,
        };

    private static TrainingField Number(
        string name, string title, double least, double most, Func<TrainingOptions, double?> get,
        Func<TrainingOptions, double, TrainingOptions> set, string? expected = null) =>
        new(
            name, title, expected ?? string.Create(CultureInfo.InvariantCulture, $"a number {least} to {most}"), o => Exact(get(o)),
            (o, text) => Read<double>(text, NumberStyles.Float) is { } value ? set(o, value) : null,
            o => get(o) is not { } value || (value >= least && value <= most))
        {
            AsNumber = get,
            IsReal = true,
        };

    /// <summary>A number less than 1.</summary>
    private static TrainingField Share(
        string name, string title, Func<TrainingOptions, double?> get, Func<TrainingOptions, double, TrainingOptions> set) =>
        Number(name, title, 0, Math.BitDecrement(1.0), get, set, "a number from 0 to below 1");

    /// <summary>A range of random changes, both ways. A share of the digit is shown in percent.</summary>
    private static TrainingField OfAugmentation(
        string name, string title, double most, Func<AugmentationSpec, double> get, Func<AugmentationSpec, double, AugmentationSpec> set,
        string unit, string symbol) =>
        Number(name, title, 0, most, o => get(o.Augmentation), (o, value) => o with { Augmentation = set(o.Augmentation, value) }) with
        {
            Default = get(AugmentationSpec.Standard) > 0 ? "that of --augment" : null,
            Unit = $"± {unit}",
            Show = o => get(o.Augmentation) is > 0 and var range
                ? string.Create(CultureInfo.InvariantCulture, $"±{Math.Round(symbol == " %" ? 100 * range : range, 3)}{symbol}")
                : null,
            Fact = Augmentation,
        };

    /// <summary>Parsed here, because .NET's own default takes 1,5 for 15.</summary>
    private static T? Read<T>(string text, NumberStyles styles)
        where T : struct, INumber<T> => T.TryParse(text, styles, CultureInfo.InvariantCulture, out T value) ? value : null;

    /// <summary>The shortest exact form of a number, without an exponent if 28 decimals suffice.</summary>
    internal static string? Exact(double? value)
    {
        string? text = value?.ToString(CultureInfo.InvariantCulture);
        return text?.Contains('E', StringComparison.Ordinal) == true
            && decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal exact) && (double)exact == value
                ? exact.ToString(CultureInfo.InvariantCulture)
                : text;
    }

    /// <summary>"one-cycle" or, as files have it, "OneCycle".</summary>
    private static TrainingOptions? ParseSchedule(TrainingOptions options, string text) =>
        Enum.TryParse(text.Replace("-", "", StringComparison.Ordinal), ignoreCase: true, out LearningRateSchedule schedule)
            ? options with { Schedule = schedule }
            : null;
}

/// <summary>What <c>tune</c> tries of a field: a range, or one of the choices where there are some.</summary>
internal sealed record SearchRange(double Least, double Most, string[]? Choices = null)
{
    public SearchRange(string[] choices)
        : this(0, 0, choices)
    {
    }

    /// <summary>Decimals of a value.</summary>
    public int Digits { get; init; } = 2;

    /// <summary>Whether values are drawn evenly on a logarithmic scale. Such values have two significant digits.</summary>
    public bool IsLogarithmic { get; init; }

    /// <summary>The value that a random word stands for, as text.</summary>
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
