using System.IO.Compression;
using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>What a dataset is opened for: decides which part of a set is taken.</summary>
public enum DataPart
{
    /// <summary>Labelled digits to train on: train.csv of a zip, MNIST's train-* files.</summary>
    Training,

    /// <summary>Labelled digits to evaluate on: train.csv of a zip, MNIST's t10k-* files, else its train-* files.</summary>
    Evaluation,

    /// <summary>Digits to predict, labelled or not: test.csv of a zip, MNIST's t10k-* images.</summary>
    Prediction,
}

/// <summary>
/// Opens whatever a user has: a Kaggle CSV (plain, gzip, or Kaggle's zip), or a folder with MNIST's IDX files (plain or gzip).
/// What is packed is known by its first bytes, so that a pipe needs no name.
/// </summary>
public static partial class DataSource
{
    private static ReadOnlySpan<byte> ZipMagic => "PK\x03\x04"u8;

    /// <summary>Reads the digits at a path.</summary>
    /// <param name="path">A .csv, .csv.gz or .zip file, a FIFO or /dev/stdin with CSV, packed by gzip or not, or a folder of IDX
    /// files.</param>
    /// <param name="part">Which part is wanted; Training and Evaluation insist on labels.</param>
    /// <exception cref="InputException">Nothing there, or not what it should be.</exception>
    public static DigitDataset Open(string path, DataPart part)
    {
        ArgumentNullException.ThrowIfNull(path);
        try
        {
            DigitDataset data = Directory.Exists(path) ? OpenFolder(path, part) : OpenFile(path, part);
            return data.HasLabels || part == DataPart.Prediction
                ? data
                : throw new InputException($"{data.Name}: no label column, so it cannot be used here; give labelled digits (Kaggle's train.csv)");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>The files that hold a set of digits; none for the built-in ones.</summary>
    /// <param name="path">Where they are, or null for the built-in ones.</param>
    internal static IEnumerable<string> FilesOf(string? path) =>
        path is null ? [] : Directory.Exists(path) ? Directory.GetFiles(path).Where(file => IsMnist(Path.GetFileName(file))) : [path];

    /// <summary>Whether a file in a folder is taken for one of MNIST's.</summary>
    /// <param name="name">Its name, without the folder.</param>
    internal static bool IsMnist(string name) => MnistName().IsMatch(name);

    private static DigitDataset OpenFile(string path, DataPart part)
    {
        using InputFile file = InputFile.Open(path, "a Kaggle CSV (.csv, .csv.gz, .zip) or a folder with MNIST's IDX files");
        if (path.EndsWith(".zip", StringComparison.OrdinalIgnoreCase) || file.Peek(ZipMagic.Length).SequenceEqual(ZipMagic))
        {
            return OpenZip(file, path, part == DataPart.Prediction ? "test.csv" : "train.csv");
        }

        using Stream stream = Unpack(file, path);
        return DigitCsv.Read(stream, path);
    }

    private static DigitDataset OpenZip(InputFile file, string path, string wanted)
    {
        if (file.Peek(1).IsEmpty)
        {
            throw new InputException($"{path}: the file is empty; download it again");
        }

        FileStream seekable = file.Seekable()
            ?? throw new InputException($"{path}: is no plain file, and the list of what a zip file holds stands at its end; save it and give its name");
        using ZipArchive zip = OpenArchive(seekable, path);
        ZipArchiveEntry[] entries = [.. zip.Entries.Where(entry => entry.Name == wanted)];
        string name = $"{path}/{wanted}";
        using Stream stream = entries switch
        {
            [] => throw new InputException($"{path}: holds no {wanted}; expected the zip file of Kaggle's Digit Recognizer"),
            [var entry] => new BoundedStream(new ZipEntryReader(entry, name), () => seekable.Length, name),
            _ => throw new InputException($"{path}: holds {entries.Length} files {wanted}; unpack it and give the one that you mean"),
        };
        return DigitCsv.Read(stream, name);
    }

    private static ZipArchive OpenArchive(FileStream file, string path)
    {
        try
        {
            ZipArchive zip = new(file, ZipArchiveMode.Read, leaveOpen: true);
            _ = zip.Entries.Count; // reads the list
            return zip;
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{path}: not a zip file, or a damaged one; download it again", e);
        }
    }

    private static DigitDataset OpenFolder(string path, DataPart part)
    {
        string[] sets = part switch
        {
            DataPart.Training => ["train"],
            DataPart.Evaluation => ["t10k", "train"],
            _ => ["t10k"],
        };
        foreach (string set in sets)
        {
            string? images = Find(path, set, "images", "idx3"), labels = Find(path, set, "labels", "idx1");
            if (images is null)
            {
                continue;
            }

            using Stream imageStream = OpenMaybeGzip(images);
            using Stream? labelStream = labels is null ? null : OpenMaybeGzip(labels);
            return IdxFile.Read(imageStream, images, labelStream, labels ?? "");
        }

        throw new InputException($"{path}: holds no {sets[^1]}-images-idx3-ubyte (or .gz); expected a folder with MNIST's IDX files");
    }

    private static string? Find(string folder, string set, string what, string type) =>
        new[] { $"{set}-{what}-{type}-ubyte", $"{set}-{what}.{type}-ubyte" }
            .SelectMany(name => new[] { name, name + ".gz" })
            .Select(name => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists);

    private static Stream OpenMaybeGzip(string path) => Unpack(InputFile.Open(path, "MNIST's IDX files"), path);

    /// <summary>Unpacks what is gzip data, by its first bytes, or should be, by its name.</summary>
    private static Stream Unpack(InputFile file, string path) =>
        path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) || file.Peek(GzipReader.Magic.Length).SequenceEqual(GzipReader.Magic)
            ? new BoundedStream(new GzipReader(file, path), () => file.Taken, path)
            : file;

    [GeneratedRegex(@"^(train|t10k)-(images[-.]idx3|labels[-.]idx1)-ubyte(\.gz)?$")]
    private static partial Regex MnistName();
}
