using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>The meaning of the names of a table's columns.</summary>
internal static partial class ColumnNames
{
    private const int Pixels = DigitDataset.PixelCount;

    private static readonly string[] LabelNames =
    [
        "label", "labels", "class", "classes", "classlabel", "digit", "digits", "target", "targets", "y", "ytrain", "ytest", "number",
        "category", "truelabel", "truth",
    ];

    private static readonly string[] IndexNames =
    [
        "", "index", "id", "imageid", "imgid", "rowid", "row", "rowname", "rownames", "rownumber", "no", "nr", "idx", "level0",
        "indexlevel0",
    ];

    /// <summary>Whether these are the names of all pixels in the picture's order.</summary>
    public static bool AreInOrder(string[] names) => FirstWrongName(names, 0, out _) == Pixels;

    /// <summary>Whether a name is that of an index, a column that numbers the rows.</summary>
    public static bool IsIndex(string name) => Part(name) == false;

    /// <summary>Whether a name is that of a label (true) or an index (false); null for any other name.</summary>
    public static bool? Part(string name)
    {
        string letters = string.Concat(name.Where(char.IsLetterOrDigit)).ToLowerInvariant();
        return LabelNames.Contains(letters) ? true
            : IndexNames.Contains(letters) ? false
            : letters.StartsWith("unnamed", StringComparison.Ordinal) && letters[7..].All(char.IsAsciiDigit) ? false // of pandas
            : null;
    }

    /// <summary>Whether a name of a label may be that of an index as well.</summary>
    public static bool IsNumber(string name) => name.Trim().Equals("number", StringComparison.OrdinalIgnoreCase);

    /// <summary>The first pixel whose name does not count on from the one before, by number or by row and column; else 784.</summary>
    public static int FirstWrongName(string[] names, int firstPixel, out string expected)
    {
        const int Side = DigitDataset.Side;
        (string first, expected) = (names[firstPixel], "pixel0");
        MatchCollection numbers = Number().Matches(first);
        if (numbers.Count == 0 && first.Length > 0)
        {
            return 0;
        }

        bool byRow = numbers.Count > 1 && names[firstPixel + Side] == Name(Side, byRow: true);
        for (int i = 1; i < Pixels; i++)
        {
            expected = Name(i, byRow);
            if (names[firstPixel + i] != expected)
            {
                return i;
            }
        }

        return Pixels;

        string Name(int pixel, bool byRow) => Number().Replace(first, number =>
        {
            int more = number.Index == numbers[^1].Index ? byRow ? pixel % Side : pixel
                : byRow && number.Index == numbers[^2].Index ? pixel / Side : 0;
            int value = int.Parse(number.ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture) + more;
            return value.ToString($"D{number.Length}", CultureInfo.InvariantCulture);
        });
    }

    /// <summary>A name without its digits.</summary>
    public static string Stem(string name) => string.Concat(name.Where(character => !char.IsAsciiDigit(character)));

    [GeneratedRegex("(?<![0-9])[0-9]{1,4}(?![0-9])")]
    private static partial Regex Number();
}
