using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>The part of a set that a file holds, by its name: train of mnist_train.csv.</summary>
internal static partial class SetName
{
    private static readonly string[] Training = ["train", "training"], Test = ["test", "testing", "validation", "valid", "val"];

    /// <summary>The names of a part, the best first; digits to evaluate on are those to train on where there are no others.</summary>
    public static string[] Of(DataPart part) => part switch { DataPart.Training => Training, DataPart.Evaluation => [.. Test, .. Training], _ => Test };

    /// <summary>The name that messages give a part.</summary>
    public static string Main(DataPart part) => (part == DataPart.Prediction ? Test : Training)[0];

    /// <summary>Whether a part is there to train on.</summary>
    public static bool IsTraining(string set) => Training.Contains(set);

    /// <summary>The part that a name speaks of, as one of its words; null where it speaks of none.</summary>
    public static string? In(string name) => Word().Match(name) is { Success: true } word ? word.Value.ToLowerInvariant() : null;

    [GeneratedRegex("(?<![A-Za-z])(?:train|training|test|testing|validation|valid|val)(?![A-Za-z])", RegexOptions.IgnoreCase | RegexOptions.RightToLeft | RegexOptions.CultureInvariant)]
    private static partial Regex Word();
}
