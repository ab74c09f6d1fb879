using CsvHelper;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>
/// Tables of digits: one digit a row, a label 0 … 9 and 784 pixels, row by row. They are written in the layout of Kaggle's "Digit
/// Recognizer": a header <c>label,pixel0,…,pixel783</c> (train.csv) or <c>pixel0,…,pixel783</c> (test.csv), then whole numbers 0 …
/// 255. They are read in that layout and in variants of it: without a header; the label first or last, by any usual name; an index
/// before it; separated by semicolons, tabs or spaces; pixels as 255.0, or as 0 … 1; WEKA's ARFF. Rows in messages are lines of the
/// file, from 1.
/// </summary>
public static class DigitCsv
{
    /// <summary>A row has 785 numbers of at most two dozen characters; a longer one is no digit.</summary>
    internal const int MaxRowBytes = 64 * 1024;

    /// <summary>So many bytes are looked at first to find the layout.</summary>
    internal const int FirstLook = 64 * 1024;

    private static readonly CsvReaderOptions Options = new()
    {
        HasHeader = false,
        TrackLineNumbers = true,
        MaxRecordSize = MaxRowBytes,
        MalformedData = CsvMalformedDataHandling.Throw,
        BufferSize = 256 * 1024,
    };

    /// <summary>Reads a whole file.</summary>
    /// <param name="csv">The text, UTF-8, or UTF-16 with a byte order mark; closed by this method.</param>
    /// <param name="name">The name to use in messages.</param>
    /// <returns>Digits in the order of the file, with labels if there is a label column.</returns>
    /// <exception cref="InputException">The text is no table of digits, is ambiguous, or holds a value out of range.</exception>
    public static DigitDataset Read(Stream csv, string name)
    {
        ArgumentNullException.ThrowIfNull(csv);
        return Read(csv, name, DataPart.Training);
    }

    /// <summary>Like <see cref="Read(Stream, string)"/>, but digits to predict may have hidden labels, such as -1 or ?.</summary>
    internal static DigitDataset Read(Stream csv, string name, DataPart part) => Read(csv, name, (text, layout) =>
    {
        using CsvReader reader = CsvReader.Create(text, Options with { Separator = layout.Separator }, leaveOpen: true);
        return Read(reader, layout, name, part);
    });

    /// <summary>Whether there is a column of labels, judged by the first rows.</summary>
    internal static bool IsLabelled(Stream csv, string name) => Read(csv, name, (_, layout) => layout.Label >= 0);

    private static T Read<T>(Stream csv, string name, Func<InputFile, CsvLayout, T> read)
    {
        try
        {
            using InputFile text = ToUtf8(csv, name);
            ArffTable.MakeCsv(text, name);
            return read(text, CsvLayout.Of(text, Options, name));
        }
        catch (CsvFormatException e)
        {
            throw new InputException(
                $"{name}: {(e.LineNumber > 0 ? $"row {e.LineNumber}: " : "")}a quotation mark is out of place or never closed, "
                    + $"or the line is longer than {MaxRowBytes >> 10} KiB; the row is damaged, or this is no table of digits", e);
        }
    }

    /// <summary>The text in UTF-8, with one space between columns that are aligned by spaces.</summary>
    private static InputFile ToUtf8(Stream csv, string name)
    {
        InputFile text = csv as InputFile ?? InputFile.Of(name, csv);
        Encoding? other = text.Peek(2) switch { [0xFF, 0xFE] => Encoding.Unicode, [0xFE, 0xFF] => Encoding.BigEndianUnicode, _ => null };
        text = other is null ? text : InputFile.Of(name, Encoding.CreateTranscodingStream(text, other, Encoding.UTF8));
        return SingleSpaces.AreNeeded(text.Peek(FirstLook)) ? InputFile.Of(name, new SingleSpaces(text)) : text;
    }

    /// <summary>Writes digits in Kaggle's layout.</summary>
    /// <param name="writer">The writer to write to.</param>
    /// <param name="data">The digits; a label column is written if they carry labels.</param>
    public static void Write(TextWriter writer, DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(data);
        writer.Write(string.Join(',', CsvLayout.KaggleNames(data.HasLabels)));
        writer.Write('\n');
        for (int i = 0; i < data.Count; i++)
        {
            byte[] row = data.HasLabels ? [data.Labels[i], .. data.Image(i)] : data.Image(i).ToArray();
            writer.Write(string.Join(',', row));
            writer.Write('\n');
        }
    }

    /// <summary>Parses a number without a sign: 12.0, 2.55e+02, " 7". A comma that does not separate fields is a decimal point.</summary>
    internal static bool TryParseNumber(ReadOnlySpan<byte> text, char separator, out double value)
    {
        Span<byte> copy = stackalloc byte[32];
        value = 0;
        if (text.Length > copy.Length || text.Contains((byte)0)) // .NET ignores NULs at the end
        {
            return false;
        }

        text.CopyTo(copy);
        copy.Replace((byte)',', (byte)(separator == ',' ? ',' : '.'));
        return double.TryParse(copy[..text.Length], NumberStyle, CultureInfo.InvariantCulture, out value) && double.IsFinite(value);
    }

    /// <summary>Whether the name of a column is a number.</summary>
    internal static bool IsNumber(string text) => double.TryParse(text, NumberStyle, CultureInfo.InvariantCulture, out _);

    private const NumberStyles NumberStyle =
        NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent | NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite;

    private static DigitDataset Read(CsvReader reader, CsvLayout layout, string name, DataPart part)
    {
        string? hidden = null;
        PixelBuffer pixels = new(name);
        List<byte> labels = [];
        byte[] row = new byte[layout.Names.Length];
        if (layout.HasHeader)
        {
            reader.Read();
        }

        while (reader.Read())
        {
            if (reader.FieldCount != row.Length)
            {
                throw new InputException(
                    $"{name}: row {reader.LineNumber} has {reader.FieldCount} columns, expected {row.Length}; it is damaged or cut off");
            }

            bool areBytes = !layout.IsScaled && TryParseBytes(reader.RawRecord, (byte)layout.Separator, row);
            if (layout.Label >= 0)
            {
                bool isDigit = areBytes && row[layout.Label] < DigitDataset.Classes;
                labels.Add(isDigit ? row[layout.Label] : Label(reader, layout, name, part, ref hidden));
            }

            Span<byte> image = pixels.AddImage();
            if (areBytes)
            {
                row.AsSpan(layout.FirstPixel, image.Length).CopyTo(image);
            }
            else
            {
                ReadFields(reader, layout, name, image);
            }
        }

        return pixels.Count == 0
            ? throw new InputException($"{name}: a header but no digits; expected one digit a row after it")
            : new DigitDataset(name, pixels.ToArray(), layout.Label >= 0 && hidden is null ? [.. labels] : null)
            {
                Found = hidden is null ? layout.Description : $"{layout.Description ?? "a table"}, {hidden}",
            };
    }

    /// <summary>Parses a row of whole numbers 0 to 255, as Kaggle's are; false if the row holds anything else.</summary>
    /// <remarks>One pass over the bytes takes 0.7 times as long as parsing field by field. Most programs read one file, so this method is
    /// compiled with full optimization before the first call.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool TryParseBytes(ReadOnlySpan<byte> record, byte separator, Span<byte> values)
    {
        int at = 0;
        for (int i = 0; i < values.Length; i++)
        {
            int value = at < record.Length ? record[at++] - '0' : -1;
            if ((uint)value > 9)
            {
                return false;
            }

            while (at < record.Length && record[at++] is var next && next != separator)
            {
                int digit = next - '0';
                value = value * 10 + digit;
                if ((uint)digit > 9 || value > byte.MaxValue)
                {
                    return false;
                }
            }

            values[i] = (byte)value;
        }

        return at == record.Length;
    }

    /// <summary>Parses pixels in other notations: as 12.0, in quotes, or as 0 … 1.</summary>
    private static void ReadFields(CsvReader reader, CsvLayout layout, string name, Span<byte> image)
    {
        for (int i = 0; i < image.Length; i++)
        {
            int column = layout.FirstPixel + i, value = Parse(reader.GetSpan(column), layout.Separator, layout.IsScaled);
            image[i] = value >= 0 ? (byte)value : throw Bad(reader, layout, name, column);
        }
    }

    /// <summary>Parses a label in another notation. For a hidden label it returns 0, and <paramref name="hidden"/> tells why.</summary>
    private static byte Label(CsvReader reader, CsvLayout layout, string name, DataPart part, ref string? hidden)
    {
        ReadOnlySpan<byte> text = reader.GetSpan(layout.Label);
        ReadOnlySpan<byte> digit = text.TrimStart((byte)'b') is [(byte)'\'', .. var quoted, (byte)'\''] ? quoted : text; // '7', b'7'
        int label = Parse(digit, layout.Separator, isScaled: false);
        label = label < 0 ? InWords(digit) ?? label : label;
        if (label is >= 0 and < DigitDataset.Classes)
        {
            return (byte)label;
        }

        bool isHidden = part == DataPart.Prediction && Encoding.UTF8.GetString(text).Trim().ToLowerInvariant()
            is "" or "?" or "-1" or "-1.0" or "-" or "nan" or "na" or "n/a" or "<na>" or "null" or "none";
        if (!isHidden)
        {
            throw Bad(reader, layout, name, layout.Label);
        }

        hidden ??= $"labels passed over, since that of row {reader.LineNumber} is {Quoted(reader, layout.Label)}";
        return 0;
    }

    /// <summary>The digit that a label states as a folder's name does: seven, class_7.</summary>
    internal static int? InWords(ReadOnlySpan<byte> label) =>
        label.ContainsAnyInRange((byte)0, (byte)31) ? null : DigitName.Number(Encoding.UTF8.GetString(label));

    /// <summary>A number in any notation as a byte; −1 if it is not one.</summary>
    private static int Parse(ReadOnlySpan<byte> text, char separator, bool isScaled) =>
        !TryParseNumber(text, separator, out double value) ? -1
            : isScaled ? PixelScale.ToByte(value)
            : value <= byte.MaxValue && value == Math.Floor(value) ? (int)value : -1;

    private static InputException Bad(CsvReader reader, CsvLayout layout, string name, int column)
    {
        string expected = column == layout.Label ? "a digit 0 to 9"
            : layout.IsScaled ? "a number 0 to 1, as in the first rows" : "a whole number 0 to 255";
        string where = layout.Names[column].Length > 0 ? CsvLayout.Shorten(layout.Names[column]) : $"{column + 1}";
        return new InputException($"{name}: row {reader.LineNumber}, column {where} is {Quoted(reader, column)}, expected {expected}");
    }

    private static string Quoted(CsvReader reader, int column) =>
        CsvLayout.Shorten(Encoding.UTF8.GetString(reader.GetSpan(column))) is { Length: > 0 } text ? $"'{text}'" : "empty";
}
