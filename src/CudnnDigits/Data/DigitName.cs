using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>The meaning of the names that people give to classes and to the folders of their pictures.</summary>
internal static partial class DigitName
{
    private static readonly string[] Digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

    /// <summary>Words beside a number that make it a class; "part 3" and "writer 3" are something else.</summary>
    private static readonly string[] OfClasses = ["class", "cls", "digit", "label", "number", "num", "category", "n", "c", "d"];

    /// <summary>The only number that a name states: 7 of "7", "07", "seven", "class_7" and "Digit7"; it need not be a digit.</summary>
    public static int? Number(string name)
    {
        string[] said = [.. Words(name).Except(OfClasses)];
        int[] numbers = [.. said.Select(word => Array.IndexOf(Digits, word) is >= 0 and var digit ? digit
            : int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : -1)];
        bool isTwice = said.Count(word => char.IsAsciiDigit(word[0])) > 1 || said.Length > 2;
        return numbers.Distinct().ToArray() is [>= 0 and var only] && !isTwice && !name.TrimStart().StartsWith('-') ? only : null;
    }

    /// <summary>The part of a set that a name names, alone or among other words: "train", "MNIST - JPG - testing", "trainingSet".</summary>
    public static DigitSet? Set(string name)
    {
        DigitSet[] named = [.. Enum.GetValues<DigitSet>().Where(set => Words(name).Intersect(SetName.Of(set)).Any())];
        return named is [var only] ? only : null;
    }

    public static bool IsSetAlone(string name) => Words(name).Length == 1;

    private static string[] Words(string name) => [.. Word().Matches(name).Select(word => word.Value.ToLowerInvariant())];

    /// <summary>A number, or a word, which may begin with a capital within another word.</summary>
    [GeneratedRegex(@"[0-9]+|\p{Lu}?[\p{L}-[\p{Lu}]]+|\p{Lu}+(?!\p{Ll})")]
    private static partial Regex Word();
}
