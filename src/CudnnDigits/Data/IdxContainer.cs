using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>MNIST's IDX files, EMNIST's too: a folder of them, or one file of images, whose labels lie beside it.</summary>
internal sealed partial class IdxContainer : DigitContainer
{
    private const uint ImagesMagic = 0x00000803, LabelsMagic = 0x00000801;

    /// <summary>How a file of labels alone begins.</summary>
    public static ReadOnlySpan<byte> LabelsHead => [0, 0, 8, 1];

    public override string Name => "MNIST's IDX files (…-images-idx3-ubyte, or a folder of them)";

    public override bool Takes(ReadOnlySpan<byte> head, string path) =>
        head.Length >= 4 && BinaryPrimitives.ReadUInt32BigEndian(head) is ImagesMagic or LabelsMagic;

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        if (BinaryPrimitives.ReadUInt32BigEndian(file.Peek(4)) == LabelsMagic)
        {
            throw new InputException($"{path}: holds labels; give the file of the images, and the labels beside it are found");
        }

        return Read(file, path, LabelsOf(path));
    }

    public override IEnumerable<string> FilesBeside(string path) => LabelsOf(path) is { } labels ? [labels] : [];

    public override IEnumerable<string> FilesIn(string folder) =>
        Directory.EnumerateFiles(folder).Where(file => FileName().IsMatch(Path.GetFileName(file))).Order(StringComparer.Ordinal);

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] images = [.. FilesIn(folder).Where(file => FileName().Match(Path.GetFileName(file)).Groups["what"].Value == "images")];
        string[] sets = part switch
        {
            DataPart.Training => ["train"],
            DataPart.Evaluation => ["t10k", "test", "train"],
            _ => ["t10k", "test"],
        };
        foreach (string set in sets)
        {
            // Packed and unpacked beside each other, they are the same.
            string[] found = [.. images.Where(file => FileName().Match(Path.GetFileName(file)).Groups["set"].Value == set)
                .DistinctBy(file => FileName().Match(Path.GetFileName(file)).Groups["prefix"].Value)];
            if (found.Length > 1)
            {
                throw new InputException($"{folder}: holds several sets ({string.Join(", ", found.Select(Path.GetFileName))}); give the file that you mean by its name");
            }

            if (found is [string file])
            {
                using InputFile stream = InputFile.Open(file, Name);
                return Read(DataSource.Unpack(stream, file), file, LabelsOf(file));
            }
        }

        throw new InputException($"{folder}: holds no {sets[0]}-images-idx3-ubyte (or .gz){(images.Length > 0 ? $"; give {images[0]}, if you mean that" : ", but labels; give the folder that has both")}");
    }

    private static DigitDataset Read(Stream images, string imagesName, string? labels)
    {
        using Stream? labelStream = labels is null ? null : DataSource.Unpack(InputFile.Open(labels, "the labels"), labels);
        DigitDataset data = IdxFile.Read(images, imagesName, labelStream, labels ?? "");
        data.Found = $"MNIST's IDX files: {Path.GetFileName(imagesName)}{(labels is null ? ", without labels beside it" : $" and {Path.GetFileName(labels)}")}";
        return data;
    }

    /// <summary>The file of labels that belongs to one of images, by its name; null where there is none.</summary>
    private static string? LabelsOf(string images)
    {
        string name = Path.GetFileName(images);
        if (!name.Contains("images", StringComparison.OrdinalIgnoreCase) || !name.Contains("idx", StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        string labels = (name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? name[..^3] : name)
            .Replace("images", "labels", StringComparison.Ordinal).Replace("idx3", "idx1", StringComparison.Ordinal)
            .Replace("IMAGES", "LABELS", StringComparison.Ordinal).Replace("IDX3", "IDX1", StringComparison.Ordinal);
        return new[] { labels, labels.Replace(".idx", "-idx", StringComparison.Ordinal), labels.Replace("-idx", ".idx", StringComparison.Ordinal) }
            .SelectMany(plain => new[] { plain, plain + ".gz" }).Select(label => Path.Combine(Path.GetDirectoryName(images) ?? "", label)).FirstOrDefault(File.Exists);
    }

    [GeneratedRegex(@"^(?<prefix>(\w+-)*)(?<set>train|t10k|test)-(?<what>images|labels)[-.]idx[13]-ubyte(\.gz)?$", RegexOptions.ExplicitCapture)]
    private static partial Regex FileName();
}
