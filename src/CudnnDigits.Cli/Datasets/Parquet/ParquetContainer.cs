using System.Text.RegularExpressions;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>
/// Parquet with a column of pictures' files and one of labels, as Hugging Face keeps MNIST, or with 784 columns of pixels, as pandas writes
/// Kaggle's table: a file, or a folder with train-* and test-*.
/// </summary>
internal sealed partial class ParquetContainer : DigitContainer
{
    /// <summary>The first of them is meant, whatever there is beside it.</summary>
    private static readonly string[] LabelNames = ["label", "labels", "digit", "class", "target", "y"];

    public override string Name => "Hugging Face's Parquet (a file, or a folder of them)";

    public override bool Takes(ReadOnlySpan<byte> head, string path) => head.StartsWith("PAR1"u8);

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        Stream seekable = file.Seekable()
            ?? throw new InputException($"{path}: is no plain file, and the description of a Parquet file stands at its end; save it and give its name");
        ManyPictures pictures = new();
        (DigitDataset data, string columns, bool arePictures) = Read(ParquetFile.Open(seekable, path), path, pictures, part);
        data.Found = $"Parquet, {columns}{(arePictures ? $": {pictures.Counts(data.Count)}" : "")}";
        return data;
    }

    public override IEnumerable<string> FilesIn(string folder) => Files(folder).Select(file => Path.Combine(folder, file));

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] files = [.. Files(folder)];
        if (files.Any(file => SetName.In(file) is not null))
        {
            files = SetName.Of(part).Select(set => files.Where(file => SetName.In(file) == set).ToArray()).FirstOrDefault(found => found.Length > 0)
                ?? throw new InputException($"{folder}: holds no {SetName.Main(part)}-*.parquet; give the file that you mean");
        }

        CheckWhole(folder, files);
        ManyPictures pictures = new();
        List<DigitDataset> all = [];
        (string columns, bool arePictures) = ("", false);
        foreach (string file in files.Select(file => Path.Combine(folder, file)))
        {
            using InputFile open = InputFile.Open(file, Name);
            Stream seekable = open.Seekable() ?? throw new InputException($"{file}: the file is empty; download it again");
            (DigitDataset data, columns, arePictures) = Read(ParquetFile.Open(seekable, file), file, pictures, part);
            all.Add(data);
        }

        if (all.Sum(data => data.Count) > PixelBuffer.Most)
        {
            throw new InputException($"{folder}: holds {all.Sum(data => data.Count):N0} digits; at most {PixelBuffer.Most:N0} can be read: give one of the files");
        }

        byte[] pixels = new byte[all.Sum(data => data.Pixels.Length)];
        for (int i = 0, at = 0; i < all.Count; at += all[i++].Pixels.Length)
        {
            all[i].Pixels.CopyTo(pixels.AsSpan(at));
        }

        return new DigitDataset(files.Length == 1 ? all[0].Name : folder, pixels, all.All(data => data.HasLabels) ? [.. all.SelectMany(data => data.Labels.ToArray())] : null)
        {
            Found = $"Parquet, {string.Join(", ", files.Take(3))}{(files.Length > 3 ? $" and {files.Length - 3} more" : "")}, {columns}{(arePictures ? $": {pictures.Counts(all.Sum(data => data.Count))}" : "")}",
        };
    }

    /// <summary>Of train-00000-of-00003.parquet and so on, all must be there.</summary>
    private static void CheckWhole(string folder, string[] files)
    {
        foreach (IGrouping<(string Stem, string Count), Match> parts in files.Select(file => Numbered().Match(file)).Where(match => match.Success).GroupBy(match => (match.Groups["stem"].Value, match.Groups["count"].Value)))
        {
            int count = int.Parse(parts.Key.Count, CultureInfo.InvariantCulture);
            HashSet<int> there = [.. parts.Select(match => int.Parse(match.Groups["number"].Value, CultureInfo.InvariantCulture))];
            int missing = Enumerable.Range(0, count).FirstOrDefault(number => !there.Contains(number), -1);
            if (missing >= 0)
            {
                string name = $"{parts.Key.Stem}-{missing.ToString($"D{parts.Key.Count.Length}", CultureInfo.InvariantCulture)}-of-{parts.Key.Count}";
                throw new InputException($"{folder}: {name}.parquet is missing ({there.Count} of {count} files are there); download it too, or give the file that you mean");
            }
        }
    }

    [GeneratedRegex(@"^(?<stem>.*)-(?<number>[0-9]{1,5})-of-(?<count>[0-9]{1,5})(-[0-9a-f]+)?\.parquet$", RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Numbered();

    /// <summary>Those of the folder, else those of its folders by part.</summary>
    private static string[] Files(string folder)
    {
        return In("") is { Length: > 0 } own ? own : [.. SetName.Of(DataPart.Evaluation).SelectMany(In)];

        string[] In(string inner) => Directory.Exists(Path.Combine(folder, inner))
            ? [.. Directory.EnumerateFiles(Path.Combine(folder, inner), "*.parquet", new EnumerationOptions()).Select(file => Path.Combine(inner, Path.GetFileName(file))).Order(NaturalOrder.Comparer)]
            : [];
    }

    /// <summary>The digits of one file, and which columns they were found in.</summary>
    private static (DigitDataset Data, string Columns, bool ArePictures) Read(ParquetFile file, string path, ManyPictures pictures, DataPart part)
    {
        ParquetColumn? label = LabelColumn(file, path);
        if (file.Rows == 0)
        {
            throw new InputException($"{path}: the file holds no digits");
        }

        byte[] pixels = new byte[file.Rows * DigitDataset.PixelCount];
        ParquetColumn[]? table = PixelColumns(file, label);
        string found = table is null ? ReadPictures(file, path, pictures, pixels) : ReadTable(file, table, path, pixels);
        (byte[]? labels, string hidden) = (null, "");
        try
        {
            labels = label is null ? null : ReadLabels(file, label, path);
        }
        catch (InputException e) when (part == DataPart.Prediction) // they are not needed, and may be hidden, as -1 or null
        {
            hidden = $", labels passed over ({e.Message.Replace($"{path}: ", "", StringComparison.Ordinal).Split(';')[0]})";
        }

        return (new DigitDataset(path, pixels, labels), $"columns {found}{(label is null ? "" : $" and {label.Path}")}{hidden}", table is null);
    }

    private static string ReadPictures(ParquetFile file, string path, ManyPictures pictures, byte[] pixels)
    {
        ParquetColumn image = ImageColumn(file, path);
        int row = 0;
        foreach (ReadOnlyMemory<byte>[] some in file.Values(image))
        {
            int first = row;
            pictures.Read(some.Length, i => (some[i], $"{path}: {image.Path} of row {first + i} (from 0)"), pixels.AsMemory(first * DigitDataset.PixelCount));
            row += some.Length;
        }

        return image.Path;
    }

    private static string ReadTable(ParquetFile file, ParquetColumn[] columns, string path, byte[] pixels)
    {
        for (int i = 0; i < columns.Length; i++)
        {
            int row = 0;
            foreach (double value in Numbers(file, columns[i]))
            {
                pixels[row * DigitDataset.PixelCount + i] = value is >= 0 and <= byte.MaxValue && value == Math.Floor(value)
                    ? (byte)value
                    : throw new InputException($"{path}: {columns[i].Path} of row {row} (from 0) is {value.ToString(CultureInfo.InvariantCulture)}, expected a whole number 0 to 255");
                row++;
            }
        }

        return $"{KnownFile.Printable(columns[0].Path)} to {KnownFile.Printable(columns[^1].Path)}";
    }

    /// <summary>Columns of numbers that count pixels, where they are the only ones beside the label and an index; else null.</summary>
    private static ParquetColumn[]? PixelColumns(ParquetFile file, ParquetColumn? label)
    {
        ParquetColumn[] numbers = [.. file.Columns.Where(column => column != label && column.Type is ParquetType.Int32 or ParquetType.Int64 or ParquetType.Float or ParquetType.Double && !ColumnNames.IsIndex(column.Path))];
        return numbers.Length == DigitDataset.PixelCount && ColumnNames.AreInOrder([.. numbers.Select(column => column.Path)]) ? numbers : null;
    }

    private static IEnumerable<double> Numbers(ParquetFile file, ParquetColumn column) => file.Values(column).SelectMany(some => some).Select(value => column.Type switch
    {
        ParquetType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(value.Span),
        ParquetType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(value.Span),
        ParquetType.Float => BinaryPrimitives.ReadSingleLittleEndian(value.Span),
        ParquetType.Double => BinaryPrimitives.ReadDoubleLittleEndian(value.Span),
        _ => double.TryParse(Encoding.UTF8.GetString(value.Span[..Math.Min(20, value.Length)]), NumberStyles.None, CultureInfo.InvariantCulture, out double parsed) ? parsed : -1,
    });

    private static byte[] ReadLabels(ParquetFile file, ParquetColumn column, string path)
    {
        byte[] labels = new byte[file.Rows];
        int row = 0;
        foreach (double label in Numbers(file, column))
        {
            labels[row] = label is >= 0 and < DigitDataset.Classes && label == Math.Floor(label)
                ? (byte)label
                : throw new InputException($"{path}: {column.Path} of row {row} (from 0) is {(column.Type == ParquetType.ByteArray ? "no digit" : label.ToString(CultureInfo.InvariantCulture))}, expected a digit 0 to 9");
            row++;
        }

        return labels;
    }

    private static ParquetColumn? LabelColumn(ParquetFile file, string path)
    {
        ParquetColumn[] found = [.. file.Columns.Where(column => LabelNames.Contains(column.Path, StringComparer.OrdinalIgnoreCase))];
        return found.FirstOrDefault(column => column.Path.Equals(LabelNames[0], StringComparison.OrdinalIgnoreCase))
            ?? (found.Length < 2 ? found.FirstOrDefault() : throw new InputException($"{path}: columns {found[0].Path} and {found[1].Path} may both be the labels; rename one of them label, or take one away"));
    }

    private static ParquetColumn ImageColumn(ParquetFile file, string path)
    {
        ParquetColumn[] bytes = [.. file.Columns.Where(column => column.Type == ParquetType.ByteArray && column.Path.EndsWith(".bytes", StringComparison.Ordinal))];
        ParquetColumn[] found = bytes.Length > 0 ? bytes : [.. file.Columns.Where(column => column.Type == ParquetType.ByteArray && column.Path is "image" or "img" or "picture" or "png" or "jpg" or "bytes")];
        return found is [var only] ? only
            : throw new InputException($"{path}: its columns are {string.Join(", ", file.Columns.Take(6).Select(column => KnownFile.Printable(column.Path)))}{(file.Columns.Count > 6 ? " …" : "")}; expected one of pictures' files, image.bytes, and one of labels, label");
    }
}
