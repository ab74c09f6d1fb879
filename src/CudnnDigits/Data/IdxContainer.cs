using System.Text.RegularExpressions;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>The IDX files of MNIST and EMNIST: a folder of them, or one file of images with its labels beside it.</summary>
internal sealed partial class IdxContainer : DigitContainer
{
    public override string Name => "MNIST's IDX files (…-images-idx3-ubyte, or a folder of them)";

    public override bool Takes(ReadOnlySpan<byte> head, string path) =>
        IdxFile.IsLabels(head) || (head.Length >= 4 && BinaryPrimitives.ReadUInt32BigEndian(head) == IdxFile.ImagesMagic);

    public override DigitDataset Read(InputFile file, string path, DataPart part) => IdxFile.IsLabels(file.Peek(4))
        ? throw new InputException($"{path}: holds labels; give the file of the images, and the labels beside it are found")
        : Read(file, path, LabelsFile.Beside(path));

    public override IEnumerable<string> FilesIn(string folder) =>
        Directory.EnumerateFiles(folder).Where(file => FileName().IsMatch(Path.GetFileName(file))).Order(StringComparer.Ordinal);

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        (string File, GroupCollection Name)[] images = [.. FilesIn(folder)
            .Select(file => (file, FileName().Match(Path.GetFileName(file)).Groups)).Where(one => one.Groups["what"].Value == "images")];

        // A packed and an unpacked file of one name have the same content.
        string[] found = SetName.Of(part)
            .Select(set => images.Where(one => one.Name["set"].Value == set).DistinctBy(one => one.Name["prefix"].Value))
            .FirstOrDefault(these => these.Any(), []).Select(one => one.File).ToArray();
        if (found.Length > 1)
        {
            string names = string.Join(", ", found.Select(Path.GetFileName));
            throw new InputException($"{folder}: holds several sets ({names}); give the file that you mean by its name");
        }

        if (found.Length == 0)
        {
            throw new InputException($"{folder}: holds no {(part == DataPart.Training ? "train" : "t10k")}-images-idx3-ubyte (or .gz)"
                + (images.Length > 0 ? $"; give {images[0].File}, if you mean that" : ", but labels; give the folder that has both"));
        }

        using InputFile file = DataSource.OpenFile(found[0], Name);
        return Read(file, found[0], LabelsFile.Beside(found[0]));
    }

    private static DigitDataset Read(Stream images, string imagesName, string? labels)
    {
        using Stream? labelStream = labels is null ? null : DataSource.OpenFile(labels, "the labels");
        DigitDataset data = IdxFile.Read(images, imagesName, labelStream, labels ?? "");
        data.Found = $"MNIST's IDX files: {Path.GetFileName(imagesName)}"
            + (labels is null ? ", without labels beside it" : $" and {Path.GetFileName(labels)}");
        return data;
    }

    [GeneratedRegex(
        $@"^(?<prefix>(\w+-)*)(?<set>{SetName.Any})-(?<what>images|labels)[-.]idx[13]-ubyte(\.gz)?$", RegexOptions.ExplicitCapture)]
    private static partial Regex FileName();
}
