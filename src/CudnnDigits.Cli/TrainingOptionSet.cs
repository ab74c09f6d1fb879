namespace CudnnDigits.Cli;

/// <summary>How to train, as asked for on the command line: what every command that trains understands alike.</summary>
internal static class TrainingOptionSet
{
    public static readonly Option<string?> Data = CommonOptions.Data("Labelled digits", otherwise: "built-in generated digits");

    public static readonly Option<string?> Model = CommonOptions.Model;
    public static readonly Option<bool> Quiet = CommonOptions.Quiet, Json = CommonOptions.Json;

    private static readonly Option<string?> Augment = CommonOptions.Choice(
        "--augment",
        "Random rotation, shift and zoom: standard is ±10°, ±10 %, ±10 %. "
        + $"Default: {DigitNetworks.ForEach(network => network.Training.Augmentation.IsEnabled ? "standard" : "none")}.",
        "none", "standard");
    private static readonly Dictionary<TrainingField, Option<string?>> Fields =
        TrainingField.All.Where(field => field.Option is not null).ToDictionary(field => field, OptionOf);

    public static Option<string?> Epochs => Of(nameof(TrainingOptions.Epochs));

    public static Option<string?> Seed => Of(nameof(TrainingOptions.Seed));

    /// <summary>The options that say how to train, for a command's list; <c>train</c> alone has a few more.</summary>
    public static IReadOnlyList<Option> Training => [Data, Model, .. Fields.Values.Where(option => !TrainOnly.Contains(option)), Augment];

    /// <summary>The options that only <c>train</c> has: studies hold out digits in their own ways.</summary>
    public static IReadOnlyList<Option> TrainOnly => [Of(nameof(TrainingOptions.Validation)), Of(nameof(TrainingOptions.EarlyStop))];

    public static Option<string?> Of(string name) => Fields[TrainingField.Of(name)];

    /// <summary>Reads the options. The network, if none is named, is that of the weights to start from; its defaults hold.</summary>
    public static TrainingOptions Resolve(ParseResult result, string? networkOfWeights = null)
    {
        string model = result.GetValue(Model) ?? networkOfWeights ?? DigitNetworks.Default.Name;
        TrainingOptions options = TrainingOptions.For(model, Given(TrainingField.Unset, nameof(TrainingOptions.Schedule)).Schedule);
        options = options with
        {
            Epochs = result.GetValue(Data) is null ? GeneratedDigits.DefaultEpochs : options.Epochs,
            Augmentation = result.GetValue(Augment) switch
            {
                "none" => AugmentationSpec.None,
                "standard" => AugmentationSpec.Standard,
                _ => options.Augmentation,
            },
        };
        return Fields.Keys.Aggregate(options, (all, field) => Given(all, field.Name));

        TrainingOptions Given(TrainingOptions all, string name) =>
            result.GetValue(Of(name)) is { } text ? TrainingField.Of(name).TrySet(all, text)! : all;
    }

    private static Option<string?> OptionOf(TrainingField field) => field.Choices.Length > 0
        ? CommonOptions.Choice(field.Option!, field.HelpText, field.Choices)
        : CommonOptions.Value(field.Option!, field.HelpName, field.HelpText).Refusing(
            text => field.TrySet(TrainingField.Unset, text) is null ? $"{field.Option} is {text}, expected {field.OptionExpected}" : null);
}
