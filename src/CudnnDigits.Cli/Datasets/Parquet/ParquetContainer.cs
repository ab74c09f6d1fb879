using System.Text.RegularExpressions;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>Parquet with a column of pictures and one of labels, as Hugging Face has MNIST, or with 784 columns of pixels.</summary>
internal sealed partial class ParquetContainer : DigitContainer
{
    /// <summary>Names of the label column. The first has precedence over all others.</summary>
    private static readonly string[] LabelNames = ["label", "labels", "digit", "class", "target", "y"];

    public override string Name => "Hugging Face's Parquet (a file, or a folder of them)";

    public override bool Takes(ReadOnlySpan<byte> head, string path) => head.StartsWith("PAR1"u8);

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        ManyPictures pictures = new();
        DigitDataset data = Read(file, path, part, pictures);
        data.Found = Found(data.Found, pictures);
        return data;
    }

    public override IEnumerable<string> FilesIn(string folder) => Files(folder).Select(file => Path.Combine(folder, file));

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] files = [.. Files(folder)];
        if (files.Any(file => SetName.In(file) is not null))
        {
            files = SetName.Of(part).Select(set => files.Where(file => SetName.In(file) == set).ToArray())
                .FirstOrDefault(found => found.Length > 0)
                ?? throw new InputException($"{folder}: holds no {SetName.Main(part)}-*.parquet; give the file that you mean");
        }

        CheckWhole(folder, files);
        ManyPictures pictures = new();
        List<DigitDataset> all = [];
        foreach (string file in files.Select(file => Path.Combine(folder, file)))
        {
            using InputFile open = InputFile.Open(file, Name);
            all.Add(Read(open, file, part, pictures));
        }

        long count = all.Sum(data => (long)data.Count);
        if (count > PixelBuffer.Most)
        {
            throw new InputException(
                $"{folder}: holds {count:N0} digits; at most {PixelBuffer.Most:N0} can be read: give one of the files");
        }

        byte[] pixels = new byte[count * DigitDataset.PixelCount];
        for (int i = 0, at = 0; i < all.Count; at += all[i++].Pixels.Length)
        {
            all[i].Pixels.CopyTo(pixels.AsSpan(at));
        }

        byte[]? labels = all.All(data => data.HasLabels) ? [.. all.SelectMany(data => data.Labels.ToArray())] : null;
        string more = files.Length > 3 ? $" and {files.Length - 3} more" : "";
        return new DigitDataset(files.Length == 1 ? all[0].Name : folder, pixels, labels)
        {
            Found = Found($"{string.Join(", ", files.Take(3))}{more}, {all[^1].Found}", pictures),
        };
    }

    private static string Found(string? what, ManyPictures pictures) => $"Parquet, {what}{(pictures.Count == 0 ? "" : $": {pictures}")}";

    /// <summary>Checks that all files of a series are there: train-00000-of-00003.parquet and so on.</summary>
    private static void CheckWhole(string folder, string[] files)
    {
        foreach (IGrouping<(string Stem, string Count), Match> parts in files.Select(file => Numbered().Match(file))
            .Where(match => match.Success).GroupBy(match => (match.Groups["stem"].Value, match.Groups["count"].Value)))
        {
            int count = int.Parse(parts.Key.Count, CultureInfo.InvariantCulture);
            HashSet<int> there = [.. parts.Select(match => int.Parse(match.Groups["number"].Value, CultureInfo.InvariantCulture))];
            if (Enumerable.Range(0, count).FirstOrDefault(number => !there.Contains(number), -1) is >= 0 and var missing)
            {
                string number = missing.ToString($"D{parts.Key.Count.Length}", CultureInfo.InvariantCulture);
                throw new InputException($"{folder}: {parts.Key.Stem}-{number}-of-{parts.Key.Count}.parquet is missing "
                    + $"({there.Count} of {count} files are there); download it too, or give the file that you mean");
            }
        }
    }

    [GeneratedRegex(
        @"^(?<stem>.*)-(?<number>[0-9]{1,5})-of-(?<count>[0-9]{1,5})(-[0-9a-f]+)?\.parquet$",
        RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Numbered();

    /// <summary>The files in the folder; if there are none, those in its folders train, test and so on.</summary>
    private static string[] Files(string folder)
    {
        return In("") is { Length: > 0 } own ? own : [.. SetName.Of(DataPart.Evaluation).SelectMany(In)];

        string[] In(string inner) => Directory.Exists(Path.Combine(folder, inner))
            ? [.. Directory.EnumerateFiles(Path.Combine(folder, inner), "*.parquet", new EnumerationOptions())
                .Select(file => Path.Combine(inner, Path.GetFileName(file))).InNaturalOrder()]
            : [];
    }

    /// <summary>The digits of one file; found are its columns.</summary>
    private static DigitDataset Read(InputFile input, string path, DataPart part, ManyPictures pictures)
    {
        ParquetFile file = new(input.Seekable() ?? throw new InputException($"{path}: is not a regular file, or is empty, and the "
            + "description of a Parquet file stands at its end; save it and give its name"), path);
        ParquetColumn? label = LabelColumn(file, path);
        if (file.Rows == 0)
        {
            throw new InputException($"{path}: the file holds no digits");
        }

        byte[] pixels = new byte[file.Rows * DigitDataset.PixelCount];
        string found = PixelColumns(file, label) is { } table
            ? ReadTable(file, table, path, pixels)
            : ReadPictures(file, path, pictures, pixels);
        (byte[]? labels, string hidden) = (null, "");
        try
        {
            labels = label is null ? null : [.. Bytes(file, label, path, value => Whole(value, 9), "a digit 0 to 9")];
        }
        catch (InputException e) when (part == DataPart.Prediction) // not needed here, and may be hidden, as -1 or null
        {
            hidden = $", labels passed over ({e.Message.Replace($"{path}: ", "", StringComparison.Ordinal).Split(';')[0]})";
        }

        return new DigitDataset(path, pixels, labels) { Found = $"columns {found}{(label is null ? "" : $" and {label.Path}")}{hidden}" };
    }

    private static string ReadPictures(ParquetFile file, string path, ManyPictures pictures, byte[] pixels)
    {
        ParquetColumn image = ImageColumn(file, path);
        int row = 0;
        foreach (ReadOnlyMemory<byte>[] some in file.Values(image))
        {
            int first = row;
            Memory<byte> target = pixels.AsMemory(first * DigitDataset.PixelCount);
            pictures.Read(some.Length, i => (some[i], $"{path}: {image.Path} of row {first + i} (from 0)"), target);
            row += some.Length;
        }

        return image.Path;
    }

    private static string ReadTable(ParquetFile file, ParquetColumn[] columns, string path, byte[] pixels)
    {
        (double most, bool areWhole) = (0, true);
        foreach (double pixel in columns.SelectMany(column => Numbers(file, column)))
        {
            (most, areWhole) = (Math.Max(most, pixel), areWhole && pixel == Math.Floor(pixel));
            if (most > 2)
            {
                break; // soon, in most tables
            }
        }

        bool isScaled = PixelScale.IsUnit(most, areWhole);
        for (int i = 0; i < columns.Length; i++)
        {
            int at = i;
            foreach (byte pixel in Bytes(file, columns[i], path, ToByte, "a whole number 0 to 255, or 0 to 1 in all columns"))
            {
                pixels[at] = pixel;
                at += DigitDataset.PixelCount;
            }
        }

        string scale = isScaled ? " (0 to 1, taken times 255)" : "";
        return $"{KnownFile.Printable(columns[0].Path)} to {KnownFile.Printable(columns[^1].Path)}{scale}";

        int ToByte(double pixel) => isScaled ? PixelScale.ToByte(pixel) : Whole(pixel, byte.MaxValue);
    }

    private static int Whole(double number, byte most) => number >= 0 && number <= most && number == Math.Floor(number) ? (int)number : -1;

    /// <summary>The values of a column, each made a byte by a function that returns −1 where it is out of range.</summary>
    private static IEnumerable<byte> Bytes(
        ParquetFile file, ParquetColumn column, string path, Func<double, int> toByte, string expected)
    {
        int row = 0;
        foreach (double number in Numbers(file, column))
        {
            yield return toByte(number) is >= 0 and var value ? (byte)value
                : throw new InputException($"{path}: {column.Path} of row {row} (from 0) is "
                    + $"{(double.IsNaN(number) ? "no number" : $"{number}")}, expected {expected}");
            row++;
        }
    }

    /// <summary>The values of a column of any type; NaN for what is no number.</summary>
    private static IEnumerable<double> Numbers(ParquetFile file, ParquetColumn column)
    {
        foreach (ReadOnlyMemory<byte> bytes in file.Values(column).SelectMany(page => page))
        {
            ReadOnlySpan<byte> value = bytes.Span;
            yield return column.Type switch
            {
                ParquetType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(value),
                ParquetType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(value),
                ParquetType.Float => BinaryPrimitives.ReadSingleLittleEndian(value),
                ParquetType.Double => BinaryPrimitives.ReadDoubleLittleEndian(value),
                _ => DigitCsv.InWords(value) ?? double.NaN,
            };
        }
    }

    /// <summary>The columns of the pixels; null if they are not the only columns of numbers beside the label and an index.</summary>
    private static ParquetColumn[]? PixelColumns(ParquetFile file, ParquetColumn? label)
    {
        ParquetColumn[] numbers = [.. file.Columns.Where(column => column != label && !ColumnNames.IsIndex(column.Path)
            && column.Type is ParquetType.Int32 or ParquetType.Int64 or ParquetType.Float or ParquetType.Double)];
        return numbers.Length == DigitDataset.PixelCount && ColumnNames.AreInOrder([.. numbers.Select(column => column.Path)])
            ? numbers : null;
    }

    private static ParquetColumn? LabelColumn(ParquetFile file, string path)
    {
        ParquetColumn[] found = [.. file.Columns.Where(column => LabelNames.Contains(column.Path, StringComparer.OrdinalIgnoreCase))];
        return found.FirstOrDefault(column => column.Path.Equals(LabelNames[0], StringComparison.OrdinalIgnoreCase))
            ?? (found.Length < 2 ? found.FirstOrDefault() : throw new InputException($"{path}: columns {found[0].Path} and {found[1].Path} "
                + "may both be the labels; rename one of them label, or take one away"));
    }

    private static ParquetColumn ImageColumn(ParquetFile file, string path)
    {
        ParquetColumn[] binary = [.. file.Columns.Where(column => column.Type == ParquetType.ByteArray)];
        ParquetColumn[] bytes = [.. binary.Where(column => column.Path.EndsWith(".bytes", StringComparison.Ordinal))];
        ParquetColumn[] found = bytes.Length > 0 ? bytes
            : [.. binary.Where(column => column.Path is "image" or "img" or "picture" or "png" or "jpg" or "bytes")];
        return found is [var only] ? only : throw new InputException(
            $"{path}: its columns are {DataSource.Some(file.Columns.Select(column => KnownFile.Printable(column.Path)), 6)}; "
                + "expected one of pictures' files, image.bytes, and one of labels, label");
    }
}
