using System.Text.RegularExpressions;

namespace CudnnDigits.Cli.Datasets;

/// <summary>The parts that a set of digits may come in.</summary>
internal enum PictureSet
{
    Training,
    Test,
    Validation,
}

/// <summary>What a folder's name says of the pictures in it.</summary>
internal static partial class FolderName
{
    private static readonly string[] Digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

    /// <summary>Words beside a number that leave no doubt that it is the class; "part 3" and "writer 3" are something else.</summary>
    private static readonly string[] OfClasses = ["class", "cls", "digit", "label", "number", "num", "category", "n", "c", "d"];

    private static readonly string[] OfTraining = ["train", "training", "trainset", "trainingset"], OfTest = ["test", "testing", "testset"], OfValidation = ["validation", "valid", "val"];

    /// <summary>
    /// The number that is all that a name says: 7 of "7", "07", "seven", "7 - seven", "class_7" and "Digit7". It need be no digit; null
    /// where the name says something else too, or contradicts itself.
    /// </summary>
    public static int? Number(string name)
    {
        string[] words = Words(name);
        string[] said = [.. words.Except(OfClasses)];
        int[] numbers = [.. said.Select(word => Array.IndexOf(Digits, word) is >= 0 and var digit ? digit
            : int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : -1)];
        bool twice = said.Count(word => char.IsAsciiDigit(word[0])) > 1 || said.Length > 2;
        return numbers.Length > 0 && numbers[0] >= 0 && !twice && numbers.All(number => number == numbers[0]) && !name.TrimStart().StartsWith('-') ? numbers[0] : null;
    }

    /// <summary>The part that a name names, alone or among other words: "train", "MNIST - JPG - testing", "trainingSet".</summary>
    public static PictureSet? Set(string name)
    {
        string[] words = Words(name);
        PictureSet[] named = [.. new[] { (OfTraining, PictureSet.Training), (OfTest, PictureSet.Test), (OfValidation, PictureSet.Validation) }
            .Where(set => words.Intersect(set.Item1).Any()).Select(set => set.Item2)];
        return named is [var only] ? only : null;
    }

    /// <summary>Whether a name is nothing but that of a part: "train".</summary>
    public static bool IsSetAlone(string name) => Words(name).Length == 1;

    private static string[] Words(string name) => [.. Word().Matches(name).Select(word => word.Value.ToLowerInvariant())];

    /// <summary>Words written apart, with or without spaces, and numbers.</summary>
    [GeneratedRegex(@"[0-9]+|\p{Lu}?[\p{L}-[\p{Lu}]]+|\p{Lu}+(?!\p{Ll})")]
    private static partial Regex Word();
}
