using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>
/// How pictures lie in a folder: in parts, to train on and to test with; in folders of one digit each; or without labels. What could be
/// meant in two ways is refused, and what is not taken is told.
/// </summary>
/// <param name="Path">The folder.</param>
/// <param name="Pictures">Its pictures in their order, with their labels; none where it has parts.</param>
/// <param name="Parts">Its parts, each a folder of pictures of its own. Folders 0 to 9 beside a part to test with are one to train
/// on.</param>
/// <param name="Used">Folders in it that are taken.</param>
/// <param name="Others">Files among the pictures that are none.</param>
internal sealed record PictureFolder(string Path, (string File, byte? Label)[] Pictures, (PictureSet Set, string Folder, PictureFolder Inner)[] Parts, string[] Used, string[] Others)
{
    private const int MostDepth = 3, DepthOfOthers = 2;

    /// <summary>Also of formats that are not read: a picture that is left out without a word is a digit lost.</summary>
    private static readonly HashSet<string> Extensions = new(
        [
            ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".avif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".svg", ".jxl", ".jp2", ".j2k", ".pgm", ".ppm",
            ".pbm", ".pnm", ".pam", ".psd", ".xcf", ".tga", ".pcx", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
        ],
        StringComparer.OrdinalIgnoreCase);

    private bool HasLabels => Pictures is [{ Label: not null }, ..];

    /// <summary>Looks at a folder.</summary>
    /// <returns>Null where it holds no pictures, or they lie deeper.</returns>
    /// <exception cref="InputException">Its pictures could be meant in two ways.</exception>
    public static PictureFolder? Of(string folder) => Of(folder, []);

    /// <summary>Its pictures, those of its parts too.</summary>
    public IEnumerable<string> Files() => Pictures.Select(picture => picture.File).Concat(Parts.SelectMany(part => part.Inner.Files()));

    /// <summary>The folder whose own pictures are meant.</summary>
    /// <param name="part">What they are for.</param>
    /// <param name="warnings">Gets what is passed over on the way.</param>
    /// <exception cref="InputException">There is no such part, or several.</exception>
    public PictureFolder Choose(DataPart part, List<string> warnings)
    {
        if (Parts.Length == 0)
        {
            warnings.AddRange(PassedOver(Used));
            return this;
        }

        PictureSet[] wanted = part switch
        {
            DataPart.Training => [PictureSet.Training],
            DataPart.Evaluation => [PictureSet.Test, PictureSet.Validation, PictureSet.Training],
            _ => [PictureSet.Test, PictureSet.Validation],
        };
        foreach (PictureSet set in wanted)
        {
            (PictureSet, string Folder, PictureFolder Inner)[] named = [.. Parts.Where(one => one.Set == set)], alone = [.. named.Where(one => FolderName.IsSetAlone(System.IO.Path.GetFileName(one.Folder)))];
            (PictureSet, string Folder, PictureFolder Inner)[] found = alone.Length > 0 ? alone : named;
            if (found.Length > 1)
            {
                throw new InputException($"{Path}: holds several folders {(set == PictureSet.Training ? "to train on" : "to test with")} ({DataSource.Two(found.Select(one => System.IO.Path.GetFileName(one.Folder)))}); give one of them");
            }

            if (found.Length == 1)
            {
                warnings.AddRange(found[0].Folder == Path ? [] : PassedOver([.. Used, found[0].Folder, .. Parts.Where(one => one.Set != set).Select(one => one.Folder)]));
                return found[0].Inner.Choose(part, warnings);
            }
        }

        throw new InputException($"{Path}: holds no folder {(wanted[0] == PictureSet.Training ? "train" : "test")} with pictures; give the folder that you mean");
    }

    /// <summary>The digits of which a folder with labels has no picture.</summary>
    public int[] Missing() => HasLabels ? [.. Enumerable.Range(0, DigitDataset.Classes).Except(Pictures.Select(picture => (int)picture.Label!))] : [];

    private static PictureFolder? Of(string folder, HashSet<string> above)
    {
        if (Ordered(folder, above) is { } ordered)
        {
            return ordered;
        }

        (string[] pictures, string[] others) = Sort([folder]);
        return pictures.Length > 0 ? new PictureFolder(folder, [.. pictures.Select(file => (file, (byte?)null))], [], [], others) : null;
    }

    /// <summary>What a folder is by the names of those in it; null where they say nothing.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="above">Those that it lies in, by what they really are: a link may lead back to them.</param>
    private static PictureFolder? Ordered(string folder, HashSet<string> above)
    {
        HashSet<string> here = [.. above, Folders.Real(folder)];
        string[] inner = [.. Folders.In(folder).Where(one => !here.Contains(Folders.Real(one))).Order(NaturalOrder.Comparer)];
        (PictureSet, string, PictureFolder)[] parts = [.. from one in inner
            let set = FolderName.Set(System.IO.Path.GetFileName(one))
            where set is not null
            let found = OrderedOrDeeper(one, here)
            where found is not null
            select (set.Value, one, found)];
        PictureFolder? classes = parts.Any(part => part.Item1 == PictureSet.Training) ? null : ByClass(folder, inner, here);
        return parts.Length == 0 ? classes
            : classes is null ? new PictureFolder(folder, [], parts, [], [])
            : new PictureFolder(folder, [], [(PictureSet.Training, folder, classes with { Used = [.. classes.Used, .. parts.Select(part => part.Item2)] }), .. parts], classes.Used, []);
    }

    /// <summary>A part's pictures may lie one folder deeper, as in train/images/7.</summary>
    private static PictureFolder? OrderedOrDeeper(string folder, HashSet<string> above)
    {
        if (Of(folder, above) is { } own)
        {
            return own;
        }

        HashSet<string> here = [.. above, Folders.Real(folder)];
        PictureFolder[] deeper = here.Count > MostDepth ? [] : [.. Folders.In(folder).Where(one => !here.Contains(Folders.Real(one))).Select(one => OrderedOrDeeper(one, here)).OfType<PictureFolder>().Take(3)];
        return deeper.Length < 2 ? deeper.FirstOrDefault() : throw DataSource.Several(folder, deeper.Select(one => one.Path));
    }

    /// <summary>A folder is one digit's if its name says so, and no folder in it is a part or a digit's again.</summary>
    private static PictureFolder? ByClass(string folder, string[] inner, HashSet<string> above)
    {
        (string Folder, int Number)[] numbered = [.. from one in inner
            let number = FolderName.Number(System.IO.Path.GetFileName(one))
            where number is not null
            orderby number
            select (one, number.Value)];
        HashSet<string> around = [.. above, .. inner.Select(Folders.Real)]; // a link to another digit's folder makes no folder of several
        (string Folder, int Number)[] several = [.. numbered.Where(one => Ordered(one.Folder, around) is not null)], classes = [.. numbered.Except(several).Where(one => one.Number < DigitDataset.Classes)];
        classes = [.. classes.DistinctBy(one => Folders.Real(one.Folder))];
        HashSet<string> visited = [.. above, .. classes.Select(one => Folders.Real(one.Folder))];
        List<(string, byte?)> labelled = [];
        List<string> others = [];
        foreach ((string one, int number) in classes)
        {
            visited.Remove(Folders.Real(one));
            (string[] pictures, string[] rest) = Sort(Folders.Below(one, visited));
            labelled.AddRange(pictures.Select(file => (file, (byte?)number)));
            others.AddRange(rest);
        }

        if (labelled.Count == 0)
        {
            return null;
        }

        if (several.Length > 0)
        {
            throw new InputException($"{several[0].Folder}: holds folders of digits itself, beside folders of one digit each; give it alone, or take it away");
        }

        string[] beyond = [.. numbered.Where(one => one.Number >= DigitDataset.Classes && HasPictures(one.Folder, above)).Select(one => System.IO.Path.GetFileName(one.Folder))];
        return beyond.Length == 0 ? new PictureFolder(folder, [.. labelled], [], [.. classes.Select(one => one.Folder)], [.. others])
            : throw new InputException($"{folder}: holds pictures in {DataSource.Two(beyond)}, which {(beyond.Length == 1 ? "is no digit; name it 0 if it holds zeros, or" : "are no digits;")} take {(beyond.Length == 1 ? "it" : "them")} away");
    }

    /// <summary>The files of some folders, in the order of their names: pictures, and what is none.</summary>
    private static (string[] Pictures, string[] Others) Sort(IEnumerable<string> folders)
    {
        ILookup<bool, string> files = folders.SelectMany(FilesOf).Order(NaturalOrder.Comparer).ToLookup(IsPicture);
        return ([.. files[true]], [.. files[false]]);
    }

    private static IEnumerable<string> FilesOf(string folder)
    {
        try
        {
            return Directory.GetFiles(folder, "*", new EnumerationOptions { IgnoreInaccessible = false }).Where(file => !System.IO.Path.GetFileName(file).StartsWith('.'));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{folder}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>By its name, or by its first bytes where its name does not say what it is.</summary>
    private static bool IsPicture(string file)
    {
        string extension = System.IO.Path.GetExtension(file);
        return Extensions.Contains(extension) || (extension.Skip(1).All(char.IsAsciiDigit) && PictureContainer.Begins(DataSource.Head(file)));
    }

    private static bool HasPictures(string folder, HashSet<string> above) => Folders.Below(folder, [.. above], DepthOfOthers)
        .Any(one => Directory.EnumerateFiles(one, "*", new EnumerationOptions()).Any(file => Extensions.Contains(System.IO.Path.GetExtension(file))));

    /// <summary>Pictures in the folder, or in folders in it, that are not taken.</summary>
    private IEnumerable<string> PassedOver(string[] used)
    {
        string[] beside = HasLabels || Parts.Length > 0 ? Sort([Path]).Pictures : [];
        string[] unused = [.. Folders.In(Path).Except(used).Where(one => HasPictures(one, [Folders.Real(Path), .. used.Select(Folders.Real)])).Select(one => System.IO.Path.GetFileName(one))];
        if (beside.Length > 0)
        {
            yield return $"{Path}: {beside.Length:N0} {(beside.Length == 1 ? "picture" : "pictures")} beside its folders ({DataSource.Two(beside.Select(file => System.IO.Path.GetFileName(file)))}) {(beside.Length == 1 ? "is" : "are")} not taken";
        }

        if (unused.Length > 0)
        {
            yield return $"{Path}: the pictures in {DataSource.Two(unused)} are not taken";
        }
    }
}
