using System.Buffers.Binary;
using System.IO.Compression;

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

/// <summary>Opens whatever a user has: a Kaggle CSV (plain, .gz, or Kaggle's .zip), or a folder with MNIST's IDX files (plain or .gz).</summary>
public static class DataSource
{
    /// <summary>Reads the digits at a path.</summary>
    /// <param name="path">A .csv, .csv.gz or .zip file, or a folder of IDX files.</param>
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

    private static DigitDataset OpenFile(string path, DataPart part)
    {
        if (!File.Exists(path))
        {
            throw new InputException($"{path}: no such file or folder; give a Kaggle CSV (.csv, .csv.gz, .zip) or a folder with MNIST's IDX files");
        }

        if (path.EndsWith(".zip", StringComparison.OrdinalIgnoreCase))
        {
            return OpenZip(path, part == DataPart.Prediction ? "test.csv" : "train.csv");
        }

        using Stream stream = OpenMaybeGzip(path);
        return KaggleCsv.Read(stream, path);
    }

    private static DigitDataset OpenZip(string path, string wanted)
    {
        try
        {
            using ZipArchive zip = ZipFile.OpenRead(path);
            ZipArchiveEntry entry = zip.Entries.FirstOrDefault(e => e.Name == wanted)
                ?? throw new InputException($"{path}: holds no {wanted}; expected the zip file of Kaggle's Digit Recognizer");
            using Stream stream = new BoundedStream(entry.Open(), new FileInfo(path).Length, path);
            return KaggleCsv.Read(stream, $"{path}/{wanted}");
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

    private static Stream OpenMaybeGzip(string path)
    {
        FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, FileOptions.SequentialScan);
        return path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase)
            ? new BoundedStream(new GZipStream(file, CompressionMode.Decompress), file.Length, path, ReadGzipLength(file))
            : file;
    }

    /// <summary>The last four bytes of a gzip file: the length of what it holds, modulo 2³² (RFC 1952).</summary>
    private static uint ReadGzipLength(FileStream file)
    {
        Span<byte> length = stackalloc byte[4];
        file.Position = Math.Max(0, file.Length - length.Length);
        file.ReadAtLeast(length, length.Length, throwOnEndOfStream: false);
        file.Position = 0;
        return BinaryPrimitives.ReadUInt32LittleEndian(length);
    }
}
