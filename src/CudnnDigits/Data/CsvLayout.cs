using CsvHelper;

namespace CudnnDigits.Data;

/// <summary>How a table of digits is laid out, found out once from its header and first rows.</summary>
/// <param name="Separator">Between two fields.</param>
/// <param name="HasHeader">Whether the first line names the columns.</param>
/// <param name="Names">The columns' names; empty strings where there is no header.</param>
/// <param name="Label">The label's column, from 0; −1 where there is none.</param>
/// <param name="FirstPixel">The column of the first of 784 pixels, from 0.</param>
/// <param name="IsScaled">Whether pixels are 0 … 1, in place of 0 … 255.</param>
internal sealed record CsvLayout(char Separator, bool HasHeader, string[] Names, int Label, int FirstPixel, bool IsScaled)
{
    private const int Pixels = DigitDataset.PixelCount;

    /// <summary>Columns beside the pixels: a label, and indexes that pandas has written, one over the other.</summary>
    private const int MostOthers = 8;

    /// <summary>What the layout is, for people; null where it is Kaggle's own.</summary>
    public string? Description
    {
        get
        {
            if (Separator == ',' && HasHeader && !IsScaled && Names.AsSpan().SequenceEqual(KaggleNames(Label == 0)))
            {
                return null;
            }

            List<string> parts = [];
            parts.AddRange(Separator == ',' ? [] : [$"separated by {Separator switch { '\t' => "tabs", ' ' => "spaces", ';' => "semicolons", _ => $"'{Separator}'" }}"]);
            parts.AddRange(HasHeader ? [] : ["no header"]);
            parts.Add(Label < 0 ? "no labels" : $"label in {Column(Label)}");
            parts.Add($"pixels in columns {FirstPixel + 1} to {FirstPixel + Pixels}{(Names[FirstPixel].Length == 0 ? "" : $" ('{Shorten(Names[FirstPixel])}' to '{Shorten(Names[FirstPixel + Pixels - 1])}')")}");
            parts.AddRange(IsScaled ? ["pixels are 0 to 1, taken times 255"] : []);
            int[] passedOver = [.. Enumerable.Range(0, Names.Length).Where(column => column != Label && (column < FirstPixel || column >= FirstPixel + Pixels))];
            parts.AddRange(passedOver.Length == 0 ? [] : [$"{string.Join(" and ", passedOver.Select(Column))} passed over"]);
            return $"a table: {string.Join(", ", parts)}";
        }
    }

    /// <summary>label, pixel0, …, pixel783; without label where there are none.</summary>
    public static string[] KaggleNames(bool labelled) => [.. labelled ? ["label"] : Array.Empty<string>(), .. Enumerable.Range(0, Pixels).Select(i => $"pixel{i}")];

    /// <summary>"column 785 ('class')".</summary>
    public string Column(int column) => Names[column].Length == 0 ? $"column {column + 1}" : $"column {column + 1} ('{Shorten(Names[column])}')";

    /// <summary>Finds out how a table is laid out.</summary>
    /// <param name="text">The table, of which nothing has been read yet.</param>
    /// <param name="options">How to take it apart, but for the separator.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <exception cref="InputException">It is no table of digits, or could be read in two ways.</exception>
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
                throw new InputException($"{name}: row {Math.Max(text.Lines.Span.Count((byte)'\n'), text.Lines.Span.Count((byte)'\r')) + 1} is longer than {DigitCsv.MaxRowBytes >> 10} KiB, more than the {Pixels} pixels of a digit take; is this a table of digits?");
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

    /// <summary>Kaggle's own layout, known at once by its header and a row of whole numbers, some over 9; else null.</summary>
    private static CsvLayout? FindKaggle(ReadOnlySpan<byte> seen)
    {
        bool labelled = seen.StartsWith("label,"u8);
        int end = seen.IndexOf((byte)'\n');
        if (end < 0 || (!labelled && !seen.StartsWith("pixel0,"u8)))
        {
            return null;
        }

        string[] names = KaggleNames(labelled);
        ReadOnlySpan<byte> rest = seen[(end + 1)..], row = rest[..Math.Max(0, rest.IndexOf((byte)'\n'))];
        bool isWhole = true, isOverNine = false;
        byte before = 0;
        foreach (byte character in row)
        {
            isWhole &= character is (>= (byte)'0' and <= (byte)'9') or (byte)',' or (byte)'\r';
            isOverNine |= character >= '0' && before >= '1';
            before = character;
        }

        return isWhole && isOverNine && row.Count((byte)',') == names.Length - 1 && seen[..end].TrimEnd((byte)'\r').SequenceEqual(Encoding.ASCII.GetBytes(string.Join(',', names)))
            ? new CsvLayout(',', HasHeader: true, names, labelled ? 0 : -1, labelled ? 1 : 0, IsScaled: false)
            : null;
    }

    /// <summary>The layout; or what is wrong; or neither, where more rows are needed to tell.</summary>
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

        int below = sample.Rows.Count > 1 && sample.Rows.Skip(1).All(row => row.Count == sample.Rows[1].Count) ? sample.Rows[1].Count : first.Length;
        return below == first.Length || !IsDigits(below) ? Assign(sample, first.Length, first)
            : below == first.Length + 1 && Edge.Of(sample, 0, 1, below).MayBeIndex && Assign(sample, below, ["", .. first]) is { Found: not null } nameless ? nameless // R names the rows, and leaves their column out of the header
            : below == first.Length + 1 && sample.Rows.Skip(1).All(row => double.IsNegativeInfinity(row[below - 1])) ? Assign(sample, below, [.. first, ""]) // a separator ends each row, but for the header
            : (null, $"row {sample.FirstLine} has {first.Length} columns, expected {below}, as the rows below it have; mend the header");
    }

    private static bool IsDigits(int columns) => columns is >= Pixels and <= Pixels + MostOthers;

    /// <summary>Tries every place of the pixels, and every part that the other columns may play.</summary>
    private static (CsvLayout? Found, string? Problem) Assign(Sample sample, int columns, string[]? header)
    {
        int others = columns - Pixels;
        if (!IsDigits(columns))
        {
            int side = (int)Math.Sqrt(columns);
            return (null, $"row {sample.FirstLine} has {columns} {(columns == 1 ? "column" : "columns")}, expected {Pixels} for the pixels of 28×28 and one for the label, as in label,pixel0,…,pixel783"
                + (columns is Pixels + DigitDataset.Classes or Pixels + DigitDataset.Classes + 1 ? "; is the label in ten columns, of which one is 1? Put the digit in one column, label, in their place" : "")
                + (side > 3 && columns - side * side is 0 or 1 && side != 28 ? $"; {side}×{side} pixels? Resize the pictures to 28×28" : ""));
        }

        string[] names = header ?? [.. Enumerable.Repeat("", columns)];
        Edge[] edges = [.. Enumerable.Range(0, columns).Select(column => column < others || column >= Pixels ? Edge.Of(sample, column, header is null ? 0 : 1, columns) : default)];
        List<(CsvLayout Layout, bool IsPlausible)> candidates = [];
        string? problem = null;
        int good = -1;
        bool isScaled = sample.IsScaled(header is null ? 0 : 1);
        for (int firstPixel = 0; firstPixel <= others; firstPixel++)
        {
            int place = firstPixel;
            int[] outside = [.. Enumerable.Range(0, columns).Where(column => column < place || column >= place + Pixels)];
            int wrong = header is null ? Pixels : ColumnNames.FirstWrongName(names, place, out string expected);
            if (wrong < Pixels)
            {
                if (wrong > good)
                {
                    ColumnNames.FirstWrongName(names, place, out expected);
                    (good, problem) = (wrong, $"row {sample.FirstLine}, column {place + wrong + 1} is headed '{Shorten(names[place + wrong])}', expected '{Shorten(expected)}'; "
                        + "the pixels must stand in the picture's order, row by row, as in label,pixel0,…,pixel783");
                }

                continue;
            }

            good = Pixels;
            int[] free = [.. outside.Where(column => header is null || (names[column].Length > 0 && ColumnNames.Part(names[column]) != true && ColumnNames.Stem(names[column]) == ColumnNames.Stem(names[place])))];
            int[] labels = [.. outside.Where(column => ColumnNames.Part(names[column]) == true && !(edges[column].Counts && ColumnNames.IsNumber(names[column])))];
            if (labels.Length > 1)
            {
                problem = $"row {sample.FirstLine}, columns {labels[0] + 1} and {labels[1] + 1} are both headed as labels ('{Shorten(names[labels[0]])}' and '{Shorten(names[labels[1]])}'); take one away";
                continue;
            }

            if (outside.FirstOrDefault(column => ColumnNames.Part(names[column]) is null && !free.Contains(column), -1) is >= 0 and int unknown)
            {
                problem = $"row {sample.FirstLine}, column {unknown + 1} is headed '{Shorten(names[unknown])}', which is neither a label, an index nor a pixel; head it label, or take it away";
                continue;
            }

            int nameless = header is null || labels.Length > 0 || names[place].Length == 0 ? -1 : outside.FirstOrDefault(column => names[column].Length == 0 && edges[column] is { MayBeLabel: true, MayBeIndex: false }, -1);
            if (nameless >= 0)
            {
                problem = $"row {sample.FirstLine}, column {nameless + 1} has no name, and may be labels or not ({edges[nameless].What}); head it label, if it is that, else id";
                continue;
            }

            int[] border = [.. Enumerable.Range(0, columns).Where(column => (column < others || column >= Pixels) && !outside.Contains(column))];
            foreach (int label in labels.Length == 1 ? labels : [-1, .. free])
            {
                if (free.All(column => column == label ? edges[column].MayBeLabel : edges[column].MayBeIndex))
                {
                    candidates.Add((new CsvLayout(sample.Separator, header is not null, names, label, place, isScaled), border.All(column => edges[column].IsPaper)));
                }
            }
        }

        CsvLayout[] plausible = [.. candidates.Where(candidate => candidate.IsPlausible).Select(candidate => candidate.Layout)];
        return plausible.Length == 1 ? (plausible[0], null)
            : plausible.Length == 0 && candidates.Count == 1 ? (candidates[0].Layout, null)
            : candidates.Count == 0 && problem is not null ? (null, problem)
            : (null, null);
    }

    private static string Ambiguous(Sample sample)
    {
        int columns = sample.First.Length, others = columns - Pixels, skip = IsHeader(sample.First) ? 1 : 0;
        int[] edges = [.. Enumerable.Range(0, columns).Where(column => column < others || column >= Pixels)];
        string what = string.Join("; ", edges.Select(column => $"column {column + 1} {Edge.Of(sample, column, skip, columns).What}"));
        return $"which of the {columns} columns is the label cannot be told ({what}); put a header above the rows that says so, as in label,pixel0,…,pixel783";
    }

    /// <summary>A header names its columns, or numbers them in order; a row of digits is all numbers, and in no order.</summary>
    private static bool IsHeader(string[] fields) =>
        fields.Count(field => field.Length > 0 && !DigitCsv.TryParseNumber(field, out _)) > fields.Length / 2
        || Array.Exists(fields, field => field.Length > 0 && ColumnNames.Part(field) == true)
        || (IsDigits(fields.Length) && Enumerable.Range(0, fields.Length - Pixels + 1).Any(firstPixel => ColumnNames.FirstWrongName(fields, firstPixel, out _) == Pixels));

    internal static string Shorten(string text, int most = 24)
    {
        string clean = string.Concat(text.Take(most).Select(c => char.IsControl(c) ? '?' : c));
        return text.Length > most ? clean + "…" : clean;
    }

    /// <summary>What a column at an edge of the table may be, by the rows that were looked at.</summary>
    private readonly record struct Edge(bool MayBeLabel, bool MayBeIndex, bool Counts, bool IsPaper, string What)
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

    /// <summary>A row of the sample: how many fields, the numbers of those at its two ends, and what is known of those between.</summary>
    private readonly record struct SampleRow(int Count, double[] Head, double[] Tail, double Most, bool AreWhole)
    {
        public double this[int column] => column < Head.Length ? Head[column] : Tail[column - Count + Tail.Length];
    }

    /// <summary>The first rows of a table.</summary>
    private sealed record Sample(char Separator, string[] First, long FirstLine, List<SampleRow> Rows)
    {
        /// <summary>Whether the pixels are 0 … 1.</summary>
        /// <param name="skip">Rows to leave out: the header.</param>
        public bool IsScaled(int skip) => Rows.Count > skip && PixelScale.IsUnit(Rows.Skip(skip).Max(row => row.Most), Rows.Skip(skip).All(row => row.AreWhole));

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

                rows.Add(new SampleRow(reader.FieldCount, [.. Enumerable.Range(0, ends).Select(Number)], [.. Enumerable.Range(reader.FieldCount - ends, ends).Select(Number)], most, areWhole));

                double Number(int column)
                {
                    ReadOnlySpan<byte> field = reader.GetSpan(column);
                    int value = DigitCsv.ParseByte(field);
                    return value >= 0 ? value : field.IsEmpty ? double.NegativeInfinity : DigitCsv.TryParseNumber(field, separator, out double number) ? number : double.NaN;
                }
            }

            return new Sample(separator, first, firstLine, rows);
        }

        /// <summary>The rarest separator that gives the first line enough fields; else the one that gives the most.</summary>
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
