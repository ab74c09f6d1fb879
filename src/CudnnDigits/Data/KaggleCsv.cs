using System.Text;
using CsvHelper;

namespace CudnnDigits.Data;

/// <summary>
/// Kaggle's "Digit Recognizer" layout: a header <c>label,pixel0,…,pixel783</c> (train.csv) or <c>pixel0,…,pixel783</c>
/// (test.csv), then one digit a row, whole numbers, pixels 0 … 255 row by row. Rows in messages are lines of the file, the
/// header being row 1.
/// </summary>
public static class KaggleCsv
{
    private const string LabelColumn = "label";

    /// <summary>785 fields of at most a few characters; a longer record is not this format.</summary>
    private const int MaxRowBytes = 64 * 1024;

    private static readonly CsvReaderOptions Options = new()
    {
        Separator = ',',
        TrackLineNumbers = true,
        MaxRecordSize = MaxRowBytes,
        MalformedData = CsvMalformedDataHandling.Throw,
        BufferSize = 256 * 1024,
    };

    /// <summary>Reads a whole file.</summary>
    /// <param name="csv">The text, UTF-8; disposed of when read.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <returns>Digits, with labels if there is a label column.</returns>
    /// <exception cref="InputException">The text is not in Kaggle's layout, or holds a value out of range.</exception>
    public static DigitDataset Read(Stream csv, string name)
    {
        try
        {
            using CsvReader reader = CsvReader.Create(csv, Options, leaveOpen: false);
            return Read(reader, name);
        }
        catch (CsvFormatException e)
        {
            throw new InputException($"{name}: {Where(e)}not a CSV file: {FirstSentence(e.Message)}; expected Kaggle's layout, label,pixel0,…,pixel783", e);
        }
    }

    /// <summary>Writes digits in Kaggle's layout.</summary>
    /// <param name="writer">Where to.</param>
    /// <param name="data">The digits; a label column is written if they carry labels.</param>
    public static void Write(TextWriter writer, DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(data);
        int first = data.HasLabels ? 1 : 0;
        writer.Write(string.Join(',', Enumerable.Range(0, first + DigitDataset.PixelCount).Select(i => ColumnName(i, data.HasLabels))));
        writer.Write('\n');
        StringBuilder row = new();
        for (int i = 0; i < data.Count; i++)
        {
            row.Clear();
            if (data.HasLabels)
            {
                row.Append(data.Labels[i]).Append(',');
            }

            writer.Write(row.AppendJoin(',', data.Image(i).ToArray()).Append('\n'));
        }
    }

    private static DigitDataset Read(CsvReader reader, string name)
    {
        reader.ReadHeader();
        if (reader.Headers is not { Count: > 0 } headers)
        {
            throw new InputException($"{name}: the file is empty; expected a header label,pixel0,…,pixel783 and one digit a row");
        }

        bool labelled = headers[0] == LabelColumn;
        int columns = DigitDataset.PixelCount + (labelled ? 1 : 0);
        CheckHeader(headers, labelled, columns, name);

        PixelBuffer pixels = new(name);
        List<byte> labels = [];
        while (reader.Read())
        {
            if (reader.FieldCount != columns)
            {
                throw new InputException($"{name}: row {reader.LineNumber} has {reader.FieldCount} columns, expected {columns}; the row is damaged or cut off");
            }

            if (labelled)
            {
                int label = ParseByte(reader.GetSpan(0));
                labels.Add(label is >= 0 and < DigitDataset.Classes ? (byte)label : throw Bad(reader, name, 0, labelled));
            }

            Span<byte> image = pixels.AddImage();
            int first = labelled ? 1 : 0;
            for (int i = 0; i < image.Length; i++)
            {
                int value = ParseByte(reader.GetSpan(first + i));
                image[i] = value >= 0 ? (byte)value : throw Bad(reader, name, first + i, labelled);
            }
        }

        return labels.Count > 0 || pixels.Count > 0
            ? new DigitDataset(name, pixels.ToArray(), labelled ? [.. labels] : null)
            : throw new InputException($"{name}: a header but no digits; expected one digit a row after it");
    }

    private static void CheckHeader(IReadOnlyList<string> headers, bool labelled, int columns, string name)
    {
        for (int i = 0; i < Math.Min(columns, headers.Count); i++)
        {
            if (headers[i] != ColumnName(i, labelled))
            {
                throw new InputException($"{name}: row 1, column {i + 1} is headed '{Shorten(headers[i])}', expected '{ColumnName(i, labelled)}'; the header must be label,pixel0,…,pixel783 (label left out in test.csv)");
            }
        }

        if (headers.Count != columns)
        {
            throw new InputException($"{name}: row 1 has {headers.Count} columns, expected {columns}: label,pixel0,…,pixel783 (label left out in test.csv)");
        }
    }

    /// <summary>The value of one to three digits up to 255, else −1.</summary>
    private static int ParseByte(ReadOnlySpan<byte> text)
    {
        if (text.Length is 0 or > 3)
        {
            return -1;
        }

        int value = 0;
        foreach (byte character in text)
        {
            int digit = character - '0';
            if (digit is < 0 or > 9)
            {
                return -1;
            }

            value = value * 10 + digit;
        }

        return value <= byte.MaxValue ? value : -1;
    }

    private static InputException Bad(CsvReader reader, string name, int column, bool labelled)
    {
        string text = Shorten(Encoding.UTF8.GetString(reader.GetSpan(column)));
        string expected = labelled && column == 0 ? "a digit 0 to 9" : "a whole number 0 to 255";
        string found = text.Length == 0 ? "empty" : $"'{text}'";
        return new InputException($"{name}: row {reader.LineNumber}, column {ColumnName(column, labelled)} is {found}, expected {expected}");
    }

    private static string ColumnName(int column, bool labelled) => (labelled, column) switch
    {
        (true, 0) => LabelColumn,
        (true, _) => $"pixel{column - 1}",
        _ => $"pixel{column}",
    };

    private static string Where(CsvFormatException e) => e.LineNumber > 0 ? $"row {e.LineNumber}: " : "";

    private static string FirstSentence(string message) => Shorten(message.ReplaceLineEndings(" ").Split(". ")[0].TrimEnd('.'), 120);

    private static string Shorten(string text, int most = 24)
    {
        string clean = string.Concat(text.Take(most).Select(c => char.IsControl(c) ? '?' : c));
        return text.Length > most ? clean + "…" : clean;
    }
}
