using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>The parts that a set of digits may have.</summary>
internal enum DigitSet
{
    Training,
    Test,
    Validation,
}

/// <summary>The words in the names of files, folders and arrays that say which part of a set they hold: train of mnist_train.csv.</summary>
internal static partial class SetName
{
    private const string Training = "train|training|trainset|trainingset", Test = "test|testing|testset|t10k";
    private const string Validation = "validation|valid|val";

    /// <summary>Any of the words, as a regular expression.</summary>
    public const string Any = $"{Training}|{Test}|{Validation}";

    /// <summary>The parts that serve a purpose, the best first. Evaluation falls back to the training digits.</summary>
    public static DigitSet[] Wanted(DataPart part) => part switch
    {
        DataPart.Training => [DigitSet.Training],
        DataPart.Evaluation => [DigitSet.Test, DigitSet.Validation, DigitSet.Training],
        _ => [DigitSet.Test, DigitSet.Validation],
    };

    /// <summary>The words for a part, the best first.</summary>
    public static string[] Of(DigitSet set) =>
        (set switch { DigitSet.Training => Training, DigitSet.Test => Test, _ => Validation }).Split('|');

    /// <summary>The words for all parts that serve a purpose, the best first.</summary>
    public static IEnumerable<string> Of(DataPart part) => Wanted(part).SelectMany(Of);

    /// <summary>The name of a part in messages.</summary>
    public static string Main(DataPart part) => part == DataPart.Prediction ? "test" : "train";

    /// <summary>The last word in a name that names a part, in lower case; null if there is none.</summary>
    public static string? In(string name) => Word().Match(name) is { Success: true } word ? word.Value.ToLowerInvariant() : null;

    [GeneratedRegex(
        $"(?<![A-Za-z])({Any})(?![A-Za-z])", RegexOptions.IgnoreCase | RegexOptions.RightToLeft | RegexOptions.CultureInvariant)]
    private static partial Regex Word();
}
