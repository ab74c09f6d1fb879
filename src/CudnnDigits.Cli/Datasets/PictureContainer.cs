namespace CudnnDigits.Cli.Datasets;

/// <summary>Pictures: a folder of them, arranged as <see cref="PictureFolder"/> describes, or a single one.</summary>
internal sealed class PictureContainer : DigitContainer
{
    private const int MostFileBytes = 64 << 20;

    public override string Name => "PNG or JPEG pictures (a folder with folders 0 to 9, or unlabelled)";

    /// <summary>Whether a file is a picture of any format. The decoder reports formats that it cannot read by name.</summary>
    public static bool Begins(ReadOnlySpan<byte> head) => KnownFile.Name(head)?.EndsWith(" picture", StringComparison.Ordinal) == true;

    public override bool Takes(ReadOnlySpan<byte> head, string path) => Begins(head);

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        byte[] bytes = file.ReadAll(MostFileBytes, Name), pixels = new byte[DigitDataset.PixelCount];
        ManyPictures pictures = new();
        pictures.Read(1, _ => (bytes, path), pixels);
        return new DigitDataset(path, pixels, null) { Found = $"a picture: {pictures}" };
    }

    public override IEnumerable<string> FilesIn(string folder) => PictureFolder.Of(folder)?.Files() ?? [];

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        List<string> warnings = [];
        PictureFolder from = PictureFolder.Of(folder)!.Choose(part, warnings);
        (string File, byte? Label)[] pictures = from.Pictures;
        if (pictures.Length > PixelBuffer.Most)
        {
            throw new InputException(
                $"{from.Folder}: holds {pictures.Length:N0} pictures; at most {PixelBuffer.Most:N0} can be read: give a part of them");
        }

        byte[] pixels = new byte[pictures.Length * DigitDataset.PixelCount];
        ManyPictures many = new();
        many.Read(pictures.Length, i => (ReadFile(pictures[i].File), pictures[i].File), pixels);
        if (part != DataPart.Prediction && from.Missing() is { Length: > 0 } missing)
        {
            warnings.Insert(0, $"{from.Folder}: no pictures of {string.Join(", ", missing)}");
        }

        string how = from.HasLabels ? "pictures by class"
            : $"pictures in the order of their names, from {Path.GetFileName(pictures[0].File)} to {Path.GetFileName(pictures[^1].File)}";
        string others = DataSource.Some(from.Others.Select(file => Path.GetRelativePath(from.Folder, file)));
        string skipped = others.Length == 0 ? ""
            : $"; {from.Others.Length:N0} other {(from.Others.Length == 1 ? "file" : "files")} passed over ({others})";
        return new DigitDataset(from.Folder, pixels, from.HasLabels ? [.. pictures.Select(picture => picture.Label!.Value)] : null)
        {
            Found = $"{how}: {many}{skipped}",
            Warning = warnings.Count == 0 ? null : string.Join("; ", warnings),
        };
    }

    private byte[] ReadFile(string path)
    {
        using InputFile file = InputFile.Open(path, Name);
        return file.ReadAll(MostFileBytes, Name);
    }
}
