using System.Text.RegularExpressions;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>
/// Pictures: a folder with folders 0 to 9, or with train and test of which each has those; a folder of pictures without labels, in the
/// natural order of their names; or one picture.
/// </summary>
internal sealed partial class PictureContainer : DigitContainer
{
    private const int MostFileBytes = 64 << 20;

    /// <summary>Also of formats that are not read: a picture that is left out without a word is a digit lost.</summary>
    private static readonly HashSet<string> Extensions = new(
        [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".avif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".jxl"], StringComparer.OrdinalIgnoreCase);

    private static readonly string[] Training = ["train", "training"], Test = ["test", "testing", "validation", "valid", "val"];

    public override string Name => "PNG or JPEG pictures (a folder with folders 0 to 9, or unlabelled)";

    /// <summary>Any picture: of one that is not read, the decoder says what it is.</summary>
    public override bool Takes(ReadOnlySpan<byte> head, string path) => KnownFile.Name(head)?.EndsWith(" picture", StringComparison.Ordinal) == true;

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        byte[] bytes = file.ReadAll(MostFileBytes, Name), pixels = new byte[DigitDataset.PixelCount];
        ManyPictures pictures = new();
        pictures.Read(1, _ => (bytes, path), pixels);
        return new DigitDataset(path, pixels, null) { Found = $"a picture: {pictures.Counts(1)}" };
    }

    public override IEnumerable<string> FilesIn(string folder)
    {
        string[] sets = [.. Training.Concat(Test).SelectMany(set => FolderNamed(folder, set)).Where(set => Pictures(set).Any())];
        return sets.Length > 0 ? sets.SelectMany(set => Pictures(set).Select(picture => picture.File)) : Pictures(folder).Select(picture => picture.File);
    }

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] wanted = part switch { DataPart.Training => Training, DataPart.Evaluation => [.. Test, .. Training], _ => Test };
        bool hasSets = Training.Concat(Test).Any(set => FolderNamed(folder, set).Any(inner => Pictures(inner).Any()));
        string from = !hasSets ? folder
            : wanted.SelectMany(set => FolderNamed(folder, set)).FirstOrDefault(inner => Pictures(inner).Any())
                ?? throw new InputException($"{folder}: holds no folder {wanted[0]} with pictures; give the folder that you mean");
        (string File, byte? Label)[] pictures = [.. Pictures(from)];
        if (pictures.Length > PixelBuffer.Most)
        {
            throw new InputException($"{from}: holds {pictures.Length:N0} pictures; at most {PixelBuffer.Most:N0} can be read: give a part of them");
        }

        byte[] pixels = new byte[pictures.Length * DigitDataset.PixelCount];
        ManyPictures many = new();
        many.Read(pictures.Length, i => (ReadFile(pictures[i].File), pictures[i].File), pixels);
        bool labelled = pictures[0].Label is not null;
        return new DigitDataset(from, pixels, labelled ? [.. pictures.Select(picture => picture.Label!.Value)] : null)
        {
            Found = (labelled ? "pictures by class: " : $"pictures in the order of their names, from {Path.GetFileName(pictures[0].File)} to {Path.GetFileName(pictures[^1].File)}: ") + many.Counts(pictures.Length),
        };
    }

    /// <summary>The pictures of one set: those of its folders 0 to 9, or without such folders its own.</summary>
    private static IEnumerable<(string File, byte? Label)> Pictures(string folder)
    {
        (string Folder, byte Label)[] classes = [.. Folders(folder).Select(inner => (Inner: inner, Match: ClassName().Match(Path.GetFileName(inner))))
            .Where(pair => pair.Match.Success).Select(pair => (pair.Inner, (byte)(pair.Match.Groups[1].Value[0] - '0'))).OrderBy(pair => pair.Item2).ThenBy(pair => pair.Inner, NaturalOrder.Comparer)];
        IEnumerable<(string, byte?)> labelled = classes.SelectMany(one => Files(one.Folder, deep: true).Select(file => (file, (byte?)one.Label)));
        return labelled.Any() ? labelled : Files(folder, deep: false).Select(file => (file, (byte?)null));
    }

    private static IEnumerable<string> Files(string folder, bool deep) =>
        Directory.EnumerateFiles(folder, "*", new EnumerationOptions { RecurseSubdirectories = deep })
            .Where(file => Extensions.Contains(Path.GetExtension(file)) && !Path.GetFileName(file).StartsWith('.')).Order(NaturalOrder.Comparer);

    private static IEnumerable<string> Folders(string folder) => Directory.EnumerateDirectories(folder, "*", new EnumerationOptions());

    private static IEnumerable<string> FolderNamed(string folder, string name) => Folders(folder).Where(inner => Path.GetFileName(inner).Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>7, or as class_7.</summary>
    [GeneratedRegex("^(?:[A-Za-z]+[-_ ])?([0-9])$")]
    private static partial Regex ClassName();

    private byte[] ReadFile(string path)
    {
        using InputFile file = InputFile.Open(path, Name);
        return file.ReadAll(MostFileBytes, Name);
    }
}
