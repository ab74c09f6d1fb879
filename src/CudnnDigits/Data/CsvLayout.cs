using CsvHelper;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>The layout of a table of digits, found from its header and first rows.</summary>
/// <param name="Separator">The character between two fields.</param>
/// <param name="HasHeader">Whether the first line names the columns.</param>
/// <param name="Names">The columns' names; empty strings if there is no header.</param>
/// <param name="Label">The column of the labels, from 0; −1 if there is none.</param>
/// <param name="FirstPixel">The column of the first of the 784 pixels, from 0.</param>
/// <param name="IsScaled">Whether pixels are 0 … 1 instead of 0 … 255.</param>
internal sealed record CsvLayout(char Separator, bool HasHeader, string[] Names, int Label, int FirstPixel, bool IsScaled)
{
    private const int Pixels = DigitDataset.PixelCount;

    /// <summary>The most columns beside the pixels: a label, and the indexes that pandas adds at every save.</summary>
    private const int MostOthers = 8;

    /// <summary>A description of the layout for messages; null for Kaggle's own.</summary>
    public string? Description
    {
        get
        {
            if (Separator == ',' && HasHeader && !IsScaled && Names.AsSpan().SequenceEqual(KaggleNames(Label == 0)))
            {
                return null;
            }

            string separator = Separator switch { '\t' => "tabs", ' ' => "spaces", ';' => "semicolons", _ => $"'{Separator}'" };
            string first = Shorten(Names[FirstPixel]), last = Shorten(Names[FirstPixel + Pixels - 1]);
            IEnumerable<int> unused = Outside(Names.Length, FirstPixel).Where(column => column != Label);
            string?[] parts =
            [
                Separator == ',' ? null : $"separated by {separator}",
                HasHeader ? null : "no header",
                Label < 0 ? "no labels" : $"label in {Column(Label)}",
                $"pixels in columns {FirstPixel + 1} to {FirstPixel + Pixels}{(first.Length == 0 ? "" : $" ('{first}' to '{last}')")}",
                IsScaled ? "pixels are 0 to 1, taken times 255" : null,
                unused.Any() ? $"{string.Join(" and ", unused.Select(Column))} passed over" : null,
            ];
            return $"a table: {string.Join(", ", parts.OfType<string>())}";
        }
    }

    /// <summary>The header of Kaggle's tables: label, pixel0, …, pixel783; without label in test.csv.</summary>
    public static string[] KaggleNames(bool labelled) =>
        [.. labelled ? ["label"] : Array.Empty<string>(), .. Enumerable.Range(0, Pixels).Select(i => $"pixel{i}")];

    /// <summary>"column 785 ('class')".</summary>
    private string Column(int column) => $"column {column + 1}{(Names[column].Length == 0 ? "" : $" ('{Shorten(Names[column])}')")}";

    /// <summary>Finds the layout of a table of which nothing has been read yet. The options lack only the separator.</summary>
    /// <exception cref="InputException">It is no table of digits, or is ambiguous.</exception>
    public static CsvLayout Of(Lookahead text, CsvReaderOptions options, string name)
    {
        if (FindKaggle(text.Seen) is { } kaggle)
        {
            return kaggle;
        }

        while (true)
        {
            if (text.Seen.Length - text.Lines.Length > DigitCsv.MaxRowBytes)
            {
                int row = Math.Max(text.Lines.Span.Count((byte)'\n'), text.Lines.Span.Count((byte)'\r')) + 1;
                throw new InputException($"{name}: row {row} is longer than {DigitCsv.MaxRowBytes >> 10} KiB, "
                    + $"more than the {Pixels} pixels of a digit take; is this a table of digits?");
            }

            Sample sample = Sample.Of(text.Lines, options);
            if (sample.Rows.Count < 2 && text.LookFurther())
            {
                continue;
            }

            (CsvLayout? found, string? problem) = Find(sample);
            if (found is not null)
            {
                return found;
            }

            if (problem is not null || !text.LookFurther())
            {
                throw new InputException($"{name}: {problem ?? Ambiguous(sample)}");
            }
        }
    }

    /// <summary>Kaggle's own layout, recognized at once by its header and a row of whole numbers, some over 9; otherwise null.</summary>
    private static CsvLayout? FindKaggle(ReadOnlySpan<byte> seen)
    {
        string[] lines = Encoding.Latin1.GetString(seen[..Math.Min(seen.Length, DigitCsv.MaxRowBytes)]).Split('\n', 3);
        bool labelled = lines[0].StartsWith("label,", StringComparison.Ordinal);
        string[] names = KaggleNames(labelled);
        return lines.Length == 3 && lines[0].TrimEnd('\r') == string.Join(',', names)
            && lines[1].TrimEnd('\r').Split(',') is var row && row.Length == names.Length
            && row.All(field => field.All(char.IsAsciiDigit)) && row.Any(field => field.TrimStart('0').Length > 1)
            ? new CsvLayout(',', HasHeader: true, names, labelled ? 0 : -1, labelled ? 1 : 0, IsScaled: false)
            : null;
    }

    /// <summary>The layout; or what is wrong; or neither if more rows are needed to tell.</summary>
    private static (CsvLayout? Found, string? Problem) Find(Sample sample)
    {
        string[] first = sample.First;
        if (first.Length == 0)
        {
            return (null, "the file is empty; expected one digit a row, best under a header label,pixel0,…,pixel783");
        }

        if (!IsHeader(first))
        {
            return Assign(sample, first.Length, null);
        }

        SampleRow[] rows = [.. sample.Rows.Skip(1)];
        int below = rows.Length > 0 && Array.TrueForAll(rows, row => row.Count == rows[0].Count) ? rows[0].Count : first.Length;
        if (below == first.Length || !IsDigits(below))
        {
            return Assign(sample, first.Length, first);
        }

        if (below == first.Length + 1)
        {
            // R writes row names without a name for their column.
            if (Edge.Of(sample, 0, 1, below).MayBeIndex && Assign(sample, below, ["", .. first]) is { Found: not null } nameless)
            {
                return nameless;
            }

            // Each row ends in a separator, but the header does not.
            if (Array.TrueForAll(rows, row => double.IsNegativeInfinity(row[below - 1])))
            {
                return Assign(sample, below, [.. first, ""]);
            }
        }

        return (null, $"row {sample.FirstLine} has {first.Length} columns, expected {below}, as the rows below it have; mend the header");
    }

    private static bool IsDigits(int columns) => columns is >= Pixels and <= Pixels + MostOthers;

    /// <summary>The columns beside the pixels.</summary>
    private static IEnumerable<int> Outside(int columns, int firstPixel) =>
        Enumerable.Range(0, columns).Where(column => column < firstPixel || column >= firstPixel + Pixels);

    /// <summary>Tries every place of the pixels and every meaning of the other columns.</summary>
    private static (CsvLayout? Found, string? Problem) Assign(Sample sample, int columns, string[]? header)
    {
        if (!IsDigits(columns))
        {
            int side = (int)Math.Sqrt(columns);
            return (null, $"row {sample.FirstLine} has {columns} {(columns == 1 ? "column" : "columns")}, "
                + $"expected {Pixels} for the pixels of 28×28 and one for the label, as in label,pixel0,…,pixel783"
                + (columns - Pixels - DigitDataset.Classes is 0 or 1
                    ? "; is the label in ten columns, of which one is 1? Put the digit in one column, label, in their place" : "")
                + (side > 3 && side != 28 && columns - side * side is 0 or 1
                    ? $"; {side}×{side} pixels? Resize the pictures to 28×28" : ""));
        }

        int skip = header is null ? 0 : 1, good = -1;
        string[] names = header ?? [.. Enumerable.Repeat("", columns)];
        int[] beside = Ends(columns); // columns that need not be pixels
        Dictionary<int, Edge> edges = beside.ToDictionary(column => column, column => Edge.Of(sample, column, skip, columns));
        List<(CsvLayout Layout, bool IsPlausible)> candidates = [];
        string? problem = null;
        string row = $"row {sample.FirstLine}", example = "as in label,pixel0,…,pixel783";
        bool isScaled = sample.IsScaled(skip);
        for (int firstPixel = 0; firstPixel <= columns - Pixels; firstPixel++)
        {
            string pixel = names[firstPixel];
            int[] outside = [.. Outside(columns, firstPixel)];
            if (header is not null && ColumnNames.FirstWrongName(names, firstPixel, out string expected) is < Pixels and int wrong)
            {
                if (wrong > good)
                {
                    (good, problem) = (wrong, $"{row}, column {firstPixel + wrong + 1} is headed '{Shorten(names[firstPixel + wrong])}', "
                        + $"expected '{Shorten(expected)}'; the pixels must stand in the picture's order, row by row, {example}");
                }

                continue;
            }

            good = Pixels;
            int[] free = [.. outside.Where(column => header is null || IsAnotherPixel(names[column], pixel))];
            int[] labels = [.. outside.Where(column => ColumnNames.Part(names[column]) == true)
                .Where(column => !(edges[column].Counts && ColumnNames.IsNumber(names[column])))];
            int unknown = outside.FirstOrDefault(column => ColumnNames.Part(names[column]) is null && !free.Contains(column), -1);
            int nameless = header is null || labels.Length > 0 || pixel.Length == 0 ? -1
                : outside.FirstOrDefault(column => names[column] is "" && edges[column] is { MayBeLabel: true, MayBeIndex: false }, -1);
            string? own = labels.Length > 1
                ? $"{row}, columns {labels[0] + 1} and {labels[1] + 1} are both headed as labels "
                    + $"('{Shorten(names[labels[0]])}' and '{Shorten(names[labels[1]])}'); take one away"
                : unknown >= 0 ? $"{row}, column {unknown + 1} is headed '{Shorten(names[unknown])}', "
                    + "which is neither a label, an index nor a pixel; head it label, or take it away"
                : nameless >= 0 ? $"{row}, column {nameless + 1} has no name, and may be labels or not ({edges[nameless].What}); "
                    + "head it label, if it is that, else id"
                : null;
            if (own is not null)
            {
                problem = own;
                continue;
            }

            bool isPlausible = beside.Except(outside).All(column => edges[column].IsPaper);
            foreach (int label in labels.Length == 1 ? labels : [-1, .. free])
            {
                if (free.All(column => column == label ? edges[column].MayBeLabel : edges[column].MayBeIndex))
                {
                    candidates.Add((new CsvLayout(sample.Separator, header is not null, names, label, firstPixel, isScaled), isPlausible));
                }
            }
        }

        CsvLayout[] plausible = [.. candidates.Where(candidate => candidate.IsPlausible).Select(candidate => candidate.Layout)];
        return plausible.Length == 1 ? (plausible[0], null)
            : plausible.Length == 0 && candidates.Count == 1 ? (candidates[0].Layout, null)
            : (null, candidates.Count == 0 ? problem : null);

        static bool IsAnotherPixel(string name, string pixel) =>
            name.Length > 0 && ColumnNames.Part(name) != true && ColumnNames.Stem(name) == ColumnNames.Stem(pixel);
    }

    /// <summary>The columns at both ends of a table that are not pixels in every layout.</summary>
    private static int[] Ends(int columns) =>
        [.. Enumerable.Range(0, columns).Where(column => column < columns - Pixels || column >= Pixels)];

    private static string Ambiguous(Sample sample)
    {
        int columns = sample.First.Length, skip = IsHeader(sample.First) ? 1 : 0;
        IEnumerable<string> ends = Ends(columns).Select(column => $"column {column + 1} {Edge.Of(sample, column, skip, columns).What}");
        return $"which of the {columns} columns is the label cannot be told ({string.Join("; ", ends)}); "
            + "put a header above the rows that says so, as in label,pixel0,…,pixel783";
    }

    /// <summary>Whether a row is a header, which names the columns or numbers them in order.</summary>
    private static bool IsHeader(string[] fields) =>
        fields.Count(field => field.Length > 0 && !DigitCsv.IsNumber(field)) > fields.Length / 2
        || Array.Exists(fields, field => field.Length > 0 && ColumnNames.Part(field) == true)
        || (IsDigits(fields.Length) && Enumerable.Range(0, fields.Length - Pixels + 1)
            .Any(firstPixel => ColumnNames.FirstWrongName(fields, firstPixel, out _) == Pixels));

    internal static string Shorten(string text) => KnownFile.Shorten(text, 24);

    /// <summary>What a column at an end of the table may be, judged by the sample.</summary>
    private sealed record Edge(bool MayBeLabel, bool MayBeIndex, bool Counts, bool IsPaper, string What)
    {
        public static Edge Of(Sample sample, int column, int skip, int columns)
        {
            double[] values = [.. sample.Rows.Skip(skip).Where(row => row.Count == columns).Select(row => row[column])];
            bool isEmpty = Array.TrueForAll(values, double.IsNegativeInfinity);
            bool isDigits = Array.TrueForAll(values, value => value is >= 0 and <= 9 && value == Math.Floor(value));
            bool isWhole = Array.TrueForAll(values, value => value >= 0 && value == Math.Floor(value) && double.IsFinite(value));
            bool counts = isWhole && values.Length > 1 && Enumerable.Range(1, values.Length - 1).All(i => values[i] == values[i - 1] + 1);
            bool isConstant = isWhole && values.Length > 0 && Array.TrueForAll(values, value => value == values[0]);
            bool isIndex = isEmpty || (isWhole && values.Distinct().Count() == values.Length && (counts || !isDigits));
            return new Edge(isDigits && values.Length > 0, isIndex, counts, isConstant && values[0] is 0 or > 9, values switch
            {
                [] => "has no rows",
                _ when isConstant => $"is always {values[0]}",
                _ when counts => $"counts {values[0]}, {values[1]} …",
                _ when isDigits => "holds 0 to 9",
                _ => $"holds {string.Join(", ", values.Take(3))} …",
            });
        }
    }

    /// <summary>A row of the sample.</summary>
    /// <param name="Count">The number of fields.</param>
    /// <param name="Head">The first values: −∞ for an empty field, NaN for one that is no number.</param>
    /// <param name="Tail">The last values.</param>
    /// <param name="Most">The largest value between them.</param>
    /// <param name="AreWhole">Whether all values between them are whole numbers.</param>
    private readonly record struct SampleRow(int Count, double[] Head, double[] Tail, double Most, bool AreWhole)
    {
        public double this[int column] => column < Head.Length ? Head[column] : Tail[column - Count + Tail.Length];
    }

    /// <summary>The first rows of a table.</summary>
    private sealed record Sample(char Separator, string[] First, long FirstLine, List<SampleRow> Rows)
    {
        /// <summary>Whether the pixels are 0 … 1.</summary>
        public bool IsScaled(int skip) =>
            Rows.Count > skip && PixelScale.IsUnit(Rows.Skip(skip).Max(row => row.Most), Rows.Skip(skip).All(row => row.AreWhole));

        public static Sample Of(ReadOnlyMemory<byte> lines, CsvReaderOptions options)
        {
            char separator = FindSeparator(lines.Span);
            string[] first = [];
            long firstLine = 0;
            List<SampleRow> rows = [];
            using CsvReader reader = CsvReader.Create(lines, options with { Separator = separator });
            while (reader.Read())
            {
                if (rows.Count == 0)
                {
                    first = [.. Enumerable.Range(0, reader.FieldCount).Select(column => reader.GetString(column).Trim())];
                    firstLine = reader.LineNumber;
                }

                int ends = Math.Min(MostOthers, reader.FieldCount);
                double most = 0;
                bool areWhole = true;
                for (int column = MostOthers; rows.Count < 100 && column < reader.FieldCount - MostOthers; column++)
                {
                    double value = Number(column);
                    most = Math.Max(most, double.IsNaN(value) ? 0 : value);
                    areWhole &= double.IsNaN(value) || value == Math.Floor(value);
                }

                IEnumerable<int> head = Enumerable.Range(0, ends), tail = Enumerable.Range(reader.FieldCount - ends, ends);
                rows.Add(new SampleRow(reader.FieldCount, [.. head.Select(Number)], [.. tail.Select(Number)], most, areWhole));

                double Number(int column)
                {
                    ReadOnlySpan<byte> field = reader.GetSpan(column);
                    return field.IsEmpty ? double.NegativeInfinity
                        : DigitCsv.TryParseNumber(field, separator, out double number) ? number
                        : double.NaN;
                }
            }

            return new Sample(separator, first, firstLine, rows);
        }

        /// <summary>The rarest separator that gives the first line enough fields; otherwise the one that gives most fields.</summary>
        private static char FindSeparator(ReadOnlySpan<byte> lines)
        {
            lines = lines.TrimStart("\r\n"u8);
            ReadOnlySpan<byte> line = lines.IndexOfAny((byte)'\n', (byte)'\r') is >= 0 and int end ? lines[..end] : lines;
            char best = ',';
            int most = 0;
            foreach (char separator in "\t;|, ")
            {
                int count = line.Count((byte)separator);
                if (IsDigits(count + 1) || IsDigits(count + 2))
                {
                    return separator;
                }

                (best, most) = count > most ? (separator, count) : (best, most);
            }

            return best;
        }
    }
}
