using System.CommandLine;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>How to train, as asked for on the command line: what every command that trains understands alike.</summary>
internal static class TrainingOptionSet
{
    public static readonly Option<string?> Data = CommonOptions.Data($"Labelled digits: {DataSource.Expected}. Default: built-in generated digits.");
    public static readonly Option<string?> Model = CommonOptions.Model();
    public static readonly Option<int?> Epochs = CommonOptions.Ranged(
        "--epochs", "N", $"Passes over the training digits. Default: {DigitNetworks.ForEach(network => network.Training.Epochs)}; {GeneratedDigits.DefaultEpochs} on built-in digits.",
        1, CommonOptions.MostEpochs);
    public static readonly Option<bool> Quiet = new("--quiet") { Description = "No progress, only the result." };
    public static readonly Option<bool> Json = CommonOptions.Json();

    private static readonly Option<int?> BatchSize = CommonOptions.Ranged(
        "--batch-size", "N", $"Digits in a step. Default: {DigitNetworks.ForEach(network => network.Training.BatchSize)}.", 1, CommonOptions.MostBatch);
    private static readonly Option<double?> Rate = CommonOptions.Ranged("--lr", "X", "Adam's learning rate: the peak for one-cycle. Default: 3e-3 for one-cycle, else 1e-3.", 1e-12, 1000);
    private static readonly Option<double?> WeightDecay = CommonOptions.Ranged("--weight-decay", "F", "Decoupled weight decay, as AdamW's: a step takes the learning rate times F off every weight. Default: 0.", 0.0, 100);
    private static readonly Option<string?> Schedule = CommonOptions.Choice("--schedule", "How the learning rate moves. Default: one-cycle.", "plateau", "one-cycle", "constant");
    private static readonly Option<ulong?> Seed = CommonOptions.Seed();
    private static readonly Option<string?> Augment = CommonOptions.Choice(
        "--augment",
        "Random rotation, shift and zoom: standard is ±10°, ±10 %, ±10 %. "
        + $"Default: {DigitNetworks.ForEach(network => network.Training.Augmentation.IsEnabled ? "standard" : "none")}.",
        "none", "standard");
    private static readonly Option<double?> Rotate = CommonOptions.Ranged("--rotate", "DEG", "Rotation, ± degrees.", 0.0, 180);
    private static readonly Option<double?> Shift = CommonOptions.Ranged("--shift", "F", "Shift, ± share of the side.", 0, 0.5);
    private static readonly Option<double?> Zoom = CommonOptions.Ranged("--zoom", "F", "Zoom, ± share of the size.", 0, 0.5);
    private static readonly Option<double?> Dropout = CommonOptions.Ranged("--dropout", "F", "Every dropout rate; 0 turns dropout off. Default: the network's own.", 0, 1, includeMost: false);

    /// <summary>The options that say how to train, for a command's list.</summary>
    public static IReadOnlyList<Option> Training => [Data, Model, Epochs, BatchSize, Rate, WeightDecay, Schedule, Seed, Augment, Rotate, Shift, Zoom, Dropout];

    /// <summary>Reads them; what is not given is the network's default.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="networkOfWeights">The network to take where none is named, or null for the program's default.</param>
    public static TrainingOptions Resolve(ParseResult result, string? networkOfWeights = null)
    {
        LearningRateSchedule? schedule = result.GetValue(Schedule) switch
        {
            "plateau" => LearningRateSchedule.Plateau,
            "constant" => LearningRateSchedule.Constant,
            "one-cycle" => LearningRateSchedule.OneCycle,
            _ => null,
        };
        TrainingOptions defaults = TrainingOptions.For(result.GetValue(Model) ?? networkOfWeights ?? DigitNetworks.Default.Name, schedule);
        AugmentationSpec augmentation = result.GetValue(Augment) switch
        {
            "none" => AugmentationSpec.None,
            "standard" => AugmentationSpec.Standard,
            _ => defaults.Augmentation,
        };
        return defaults with
        {
            Epochs = result.GetValue(Epochs) ?? (result.GetValue(Data) is null ? GeneratedDigits.DefaultEpochs : defaults.Epochs),
            BatchSize = result.GetValue(BatchSize) ?? defaults.BatchSize,
            LearningRate = result.GetValue(Rate) ?? defaults.LearningRate,
            WeightDecay = result.GetValue(WeightDecay) ?? defaults.WeightDecay,
            Seed = result.GetValue(Seed) ?? defaults.Seed,
            Rotate = (float?)result.GetValue(Rotate) ?? augmentation.RotateDegrees,
            Shift = (float?)result.GetValue(Shift) ?? augmentation.ShiftFraction,
            Zoom = (float?)result.GetValue(Zoom) ?? augmentation.ZoomFraction,
            Dropout = result.GetValue(Dropout),
        };
    }

    /// <summary>Adds options that several commands share.</summary>
    public static void AddRange(this Command command, IEnumerable<Option> options)
    {
        foreach (Option option in options)
        {
            command.Add(option);
        }
    }
}
