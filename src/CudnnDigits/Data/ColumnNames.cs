namespace CudnnDigits.Data;

/// <summary>What the names of a table's columns say of them.</summary>
internal static class ColumnNames
{
    private const int Pixels = DigitDataset.PixelCount;

    private static readonly string[] LabelNames =
        ["label", "labels", "class", "classes", "classlabel", "digit", "digits", "target", "targets", "y", "ytrain", "ytest", "number", "category", "truelabel", "truth"];

    private static readonly string[] IndexNames = ["", "index", "id", "imageid", "imgid", "rowid", "row", "rowname", "rownames", "rownumber", "no", "nr", "idx", "level0", "indexlevel0"];

    /// <summary>Whether columns of these names are the pixels, in the picture's order.</summary>
    public static bool AreInOrder(string[] names) => FirstWrongName(names, 0, out _) == Pixels;

    /// <summary>Whether a name is that of a column that numbers the rows.</summary>
    public static bool IsIndex(string name) => Part(name) == false;

    /// <summary>Whether a name is a label's (true) or an index's (false); null where it is neither.</summary>
    public static bool? Part(string name)
    {
        string letters = string.Concat(name.Where(char.IsLetterOrDigit)).ToLowerInvariant();
        return LabelNames.Contains(letters) ? true
            : IndexNames.Contains(letters) || (letters.StartsWith("unnamed", StringComparison.Ordinal) && letters[7..].All(char.IsAsciiDigit)) ? false
            : null;
    }

    /// <summary>Whether a label's name may as well be that of a column that numbers the rows.</summary>
    public static bool IsNumber(string name) => name.Trim().Equals("number", StringComparison.OrdinalIgnoreCase);

    /// <summary>The first pixel, from 0, whose name does not follow from the first one's; 784 where all do.</summary>
    /// <remarks>Names count on by one (pixel0, pixel1, …), or by row and column (1x1, 1x2, …), or are all empty.</remarks>
    public static int FirstWrongName(string[] names, int firstPixel, out string expected)
    {
        const int Side = DigitDataset.Side;
        (string first, expected) = (names[firstPixel], "pixel0");
        List<(int At, int Length, int Value)> numbers = Numbers(first);
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

        string Name(int pixel, bool byRow)
        {
            if (numbers.Count == 0)
            {
                return "";
            }

            (int At, int Length, int Value) last = numbers[^1];
            string tail = Padded(last, byRow ? pixel % Side : pixel) + first[(last.At + last.Length)..];
            if (!byRow)
            {
                return first[..last.At] + tail;
            }

            (int At, int Length, int Value) row = numbers[^2];
            return first[..row.At] + Padded(row, pixel / Side) + first[(row.At + row.Length)..last.At] + tail;
        }

        static string Padded((int At, int Length, int Value) number, int more) => (number.Value + more).ToString($"D{number.Length}", CultureInfo.InvariantCulture);
    }

    /// <summary>The numbers in a name, of up to four digits.</summary>
    private static List<(int At, int Length, int Value)> Numbers(string name)
    {
        List<(int, int, int)> numbers = [];
        for (int at = 0; at < name.Length; at++)
        {
            int length = name.AsSpan(at).IndexOfAnyExceptInRange('0', '9') is >= 0 and int end ? end : name.Length - at;
            if (length is > 0 and <= 4)
            {
                numbers.Add((at, length, int.Parse(name.AsSpan(at, length), NumberStyles.None, CultureInfo.InvariantCulture)));
            }

            at += length;
        }

        return numbers;
    }

    /// <summary>A name without its digits.</summary>
    public static string Stem(string name) => string.Concat(name.Where(character => !char.IsAsciiDigit(character)));
}
