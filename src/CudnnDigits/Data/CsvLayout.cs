using CsvHelper;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A table's layout. The label's column is −1 if there is none; names are empty if there is no header.</summary>
internal sealed record CsvLayout(char Separator, bool HasHeader, string[] Names, int Label, int FirstPixel, bool IsScaled)
{
    private const int Pixels = DigitDataset.PixelCount, LongestLook = 64 << 20;

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
            IEnumerable<int> unused = Outside(Names.Length, FirstPixel, FirstPixel + Pixels - 1).Where(column => column != Label);
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
    public static CsvLayout Of(InputFile text, CsvReaderOptions options, string name)
    {
        CsvLayout? found = FindKaggle(text.Peek(DigitCsv.FirstLook));
        for (int look = DigitCsv.FirstLook; found is null; look *= 4)
        {
            ReadOnlySpan<byte> seen = text.Peek(look);
            bool isWhole = seen.Length < look;
            ReadOnlySpan<byte> lines = isWhole ? seen : seen[..(seen.LastIndexOfAny((byte)'\n', (byte)'\r') + 1)];
            if (seen.Length - lines.Length > DigitCsv.MaxRowBytes)
            {
                int row = Math.Max(lines.Count((byte)'\n'), lines.Count((byte)'\r')) + 1;
                throw new InputException($"{name}: row {row} is longer than {DigitCsv.MaxRowBytes >> 10} KiB, "
                    + $"more than the {Pixels} pixels of a digit take; is this a table of digits?");
            }

            bool isLast = isWhole || look >= LongestLook;
            Sample sample = Sample.Of(name, lines.ToArray(), options);
            found = sample.Rows.Count > 1 || isLast ? Find(sample, isLast) : null;
        }

        return found;
    }

    /// <summary>Kaggle's own layout, recognized at once by its header and a row of whole numbers, some over 9; otherwise null.</summary>
    private static CsvLayout? FindKaggle(ReadOnlySpan<byte> seen)
    {
        string[] lines = Encoding.Latin1.GetString(seen).Split('\n', 3);
        bool labelled = lines[0].StartsWith("label,", StringComparison.Ordinal);
        string[] names = KaggleNames(labelled);
        return lines.Length == 3 && lines[0].TrimEnd('\r') == string.Join(',', names)
            && lines[1].TrimEnd('\r').Split(',') is var row && row.Length == names.Length
            && row.All(field => field.All(char.IsAsciiDigit)) && row.Any(field => field.TrimStart('0').Length > 1)
            ? new CsvLayout(',', HasHeader: true, names, labelled ? 0 : -1, labelled ? 1 : 0, IsScaled: false)
            : null;
    }

    /// <summary>The layout; null if more rows, which there are, may tell.</summary>
    private static CsvLayout? Find(Sample sample, bool isLast)
    {
        string[] first = sample.First;
        if (first.Length == 0)
        {
            throw sample.Error("the file is empty; expected one digit a row, best under a header label,pixel0,…,pixel783");
        }

        if (!IsHeader(first))
        {
            return Assign(sample, first.Length, null, isLast);
        }

        // The rows may each end in a separator, or begin with the row names of R, for whose column it writes no name.
        Row[] rows = [.. sample.Rows.Skip(1)];
        int below = rows.Select(row => row.Count).Distinct().ToArray() is [int only] && IsDigits(only) ? only : first.Length;
        bool isSame = below == first.Length;
        bool endInSeparator = !isSame && Array.TrueForAll(rows, row => double.IsNegativeInfinity(row[below - 1]));
        string[] names = isSame ? first : endInSeparator ? [.. first, ""] : ["", .. first];
        return names.Length == below && (isSame || endInSeparator || (Edge.Of(sample, 0, 1, below).MayBeIndex && NamesPixels(names)))
            ? Assign(sample, below, names, isLast)
            : throw sample.Error(
                $"row {sample.FirstLine} has {first.Length} columns, expected {below}, as the rows below it have; mend the header");
    }

    private static bool IsDigits(int columns) => columns is >= Pixels and <= Pixels + MostOthers;

    /// <summary>The columns before the first pixel and after the last.</summary>
    private static int[] Outside(int columns, int first, int last) =>
        [.. Enumerable.Range(0, columns).Where(column => column < first || column > last)];

    /// <summary>Tries every place of the pixels and every meaning of the other columns; null if more rows may tell.</summary>
    private static CsvLayout? Assign(Sample sample, int columns, string[]? header, bool isLast)
    {
        string row = $"row {sample.FirstLine}", example = "as in label,pixel0,…,pixel783";
        if (!IsDigits(columns))
        {
            int side = (int)Math.Sqrt(columns);
            throw sample.Error($"{row} has {columns} {(columns == 1 ? "column" : "columns")}, "
                + $"expected {Pixels} for the pixels of 28×28 and one for the label, {example}"
                + (columns - Pixels - DigitDataset.Classes is 0 or 1
                    ? "; is the label in ten columns, of which one is 1? Put the digit in one column, label, in their place" : "")
                + (side > 3 && side != 28 && columns - side * side is 0 or 1
                    ? $"; {side}×{side} pixels? Resize the pictures to 28×28" : ""));
        }

        int skip = header is null ? 0 : 1, good = -1;
        string[] names = header ?? [.. Enumerable.Repeat("", columns)];
        Dictionary<int, Edge> edges = Outside(columns, columns - Pixels, Pixels - 1) // these need not be pixels
            .ToDictionary(column => column, column => Edge.Of(sample, column, skip, columns));
        List<CsvLayout> plausible = [], others = [];
        string? problem = null;
        double[] pixels = [.. sample.Rows.Skip(skip).SelectMany(one => one.Values.Skip(MostOthers).SkipLast(MostOthers))
            .Where(value => !double.IsNaN(value))];
        bool isScaled = pixels.Length > 0 && PixelScale.IsUnit(pixels.Max(), Array.TrueForAll(pixels, value => value == Math.Floor(value)));
        for (int firstPixel = 0; firstPixel <= columns - Pixels; firstPixel++)
        {
            int wrong = ColumnNames.FirstWrongName(names, firstPixel, out string expected);
            if (wrong < Pixels)
            {
                problem = wrong <= good ? problem
                    : $"{row}, column {firstPixel + wrong + 1} is headed '{Shorten(names[firstPixel + wrong])}', "
                        + $"expected '{Shorten(expected)}'; the pixels must stand in the picture's order, row by row, {example}";
                good = Math.Max(good, wrong);
                continue;
            }

            good = Pixels;
            string pixel = names[firstPixel];
            int[] outside = Outside(columns, firstPixel, firstPixel + Pixels - 1);
            int[] free = [.. outside.Where(column => header is null || IsAnotherPixel(names[column], pixel))];
            int[] labels = [.. outside.Where(column => ColumnNames.Part(names[column]) == true)
                .Where(column => !(edges[column].Counts && ColumnNames.IsNumber(names[column])))];
            int unknown = outside.FirstOrDefault(column => ColumnNames.Part(names[column]) is null && !free.Contains(column), -1);
            int nameless = header is null || labels.Length > 0 || pixel.Length == 0 ? -1
                : outside.FirstOrDefault(column => names[column] is "" && edges[column] is { MayBeLabel: true, MayBeIndex: false }, -1);
            if (labels.Length > 1 || unknown >= 0 || nameless >= 0)
            {
                problem = labels.Length > 1 ? $"{row}, columns {labels[0] + 1} and {labels[1] + 1} are both headed as labels "
                        + $"('{Shorten(names[labels[0]])}' and '{Shorten(names[labels[1]])}'); take one away"
                    : unknown >= 0 ? $"{row}, column {unknown + 1} is headed '{Shorten(names[unknown])}', "
                        + "which is neither a label, an index nor a pixel; head it label, or take it away"
                    : $"{row}, column {nameless + 1} has no name, and may be labels or not ({edges[nameless].What}); "
                        + "head it label, if it is that, else id";
                continue;
            }

            (edges.Keys.Except(outside).All(column => edges[column].IsPaper) ? plausible : others).AddRange(
                from label in labels.Length == 1 ? labels : [-1, .. free]
                where free.All(column => column == label ? edges[column].MayBeLabel : edges[column].MayBeIndex)
                select new CsvLayout(sample.Separator, header is not null, names, label, firstPixel, isScaled));
        }

        List<CsvLayout> found = plausible.Count > 0 ? plausible : others;
        return found.Count == 1 ? found[0]
            : found.Count == 0 && problem is not null ? throw sample.Error(problem)
            : !isLast ? null
            : throw sample.Error($"which of the {columns} columns is the label cannot be told "
                + $"({string.Join("; ", edges.Select(edge => $"column {edge.Key + 1} {edge.Value.What}"))}); "
                + $"put a header above the rows that says so, {example}");

        static bool IsAnotherPixel(string name, string pixel) =>
            name.Length > 0 && ColumnNames.Part(name) != true && ColumnNames.Stem(name) == ColumnNames.Stem(pixel);
    }

    /// <summary>Whether a row is a header, which names the columns or numbers them in order.</summary>
    private static bool IsHeader(string[] fields) =>
        fields.Count(field => field.Length > 0 && !DigitCsv.IsNumber(field)) > fields.Length / 2
        || Array.Exists(fields, field => field.Length > 0 && ColumnNames.Part(field) == true)
        || NamesPixels(fields);

    private static bool NamesPixels(string[] names) => IsDigits(names.Length)
        && Enumerable.Range(0, names.Length - Pixels + 1).Any(first => ColumnNames.FirstWrongName(names, first, out _) == Pixels);

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
                _ => $"holds {string.Join(", ", values.Take(3).Select(value => double.IsFinite(value) ? $"{value}" : "no number"))} …",
            });
        }
    }

    /// <summary>A row's values, or those of its outer columns: −∞ for an empty field, NaN for one that is no number.</summary>
    private readonly record struct Row(int Count, double[] Values)
    {
        public double this[int column] => column < MostOthers ? Values[column] : Values[^(Count - column)];
    }

    /// <summary>The first rows of a table.</summary>
    private sealed record Sample(string Name, char Separator, string[] First, long FirstLine, List<Row> Rows)
    {
        public static Sample Of(string name, ReadOnlyMemory<byte> lines, CsvReaderOptions options)
        {
            const int WholeRows = 100; // enough to tell the range of the pixels
            char separator = FindSeparator(SingleSpaces.FirstLine(lines.Span));
            string[] first = [];
            long firstLine = 0;
            List<Row> rows = [];
            using CsvReader reader = CsvReader.Create(lines, options with { Separator = separator });
            while (reader.Read())
            {
                int count = reader.FieldCount;
                IEnumerable<int> columns = Enumerable.Range(0, count);
                if (rows.Count == 0)
                {
                    first = [.. columns.Select(column => reader.GetString(column).Trim())];
                    firstLine = reader.LineNumber;
                }

                columns = columns.Where(column => rows.Count < WholeRows || column < MostOthers || column >= count - MostOthers);
                rows.Add(new Row(count, [.. columns.Select(Number)]));

                double Number(int column)
                {
                    ReadOnlySpan<byte> field = reader.GetSpan(column);
                    return field.IsEmpty ? double.NegativeInfinity
                        : DigitCsv.TryParseNumber(field, separator, out double number) ? number
                        : column < MostOthers || column >= count - MostOthers ? DigitCsv.InWords(field) ?? double.NaN
                        : double.NaN;
                }
            }

            return new Sample(name, separator, first, firstLine, rows);
        }

        public InputException Error(string what) => new($"{Name}: {what}");

        /// <summary>The rarest separator that gives the first line enough fields; otherwise the one that gives most fields.</summary>
        private static char FindSeparator(ReadOnlySpan<byte> line)
        {
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
