namespace CudnnDigits.Cli.Datasets;

internal sealed record PicturePart(DigitSet Set, string Folder, PictureFolder Inner);

/// <summary>How a folder arranges pictures: in parts (then it has none itself), in folders of one digit each, or unlabelled.</summary>
internal sealed record PictureFolder(
    string Folder, (string File, byte? Label)[] Pictures, PicturePart[] Parts, string[] Used, string[] Others)
{
    private const int MostDepth = 3, DepthOfOthers = 2;

    /// <summary>Includes formats that cannot be read, so that such a picture is reported and not silently lost.</summary>
    private static readonly HashSet<string> Extensions = new(
        [
            ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".avif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
            ".svg", ".jxl", ".jp2", ".j2k", ".pgm", ".ppm", ".pbm", ".pnm", ".pam", ".psd", ".xcf", ".tga", ".pcx", ".dng", ".cr2", ".cr3",
            ".nef", ".arw", ".orf", ".rw2", ".raf",
        ],
        StringComparer.OrdinalIgnoreCase);

    public bool HasLabels => Pictures is [{ Label: not null }, ..];

    /// <summary>The arrangement of a folder, which must not be ambiguous; null if it holds no pictures, or holds them deeper.</summary>
    public static PictureFolder? Of(string folder) => Of(folder, []);

    /// <summary>All pictures, including those of the parts.</summary>
    public IEnumerable<string> Files() => Pictures.Select(picture => picture.File).Concat(Parts.SelectMany(part => part.Inner.Files()));

    /// <summary>The only folder whose pictures serve a purpose. Adds warnings about skipped pictures.</summary>
    public PictureFolder Choose(DataPart part, List<string> warnings)
    {
        if (Parts.Length == 0)
        {
            warnings.AddRange(PassedOver(Used));
            return this;
        }

        PicturePart[] useless = part == DataPart.Evaluation ? [.. Parts.Where(one => one.Inner is { HasLabels: false, Parts: [] })] : [];
        DigitSet[] wanted = [.. SetName.Wanted(part).OrderBy(set => useless.Any(one => one.Set == set))];
        foreach (DigitSet set in wanted)
        {
            PicturePart[] named = [.. Parts.Where(one => one.Set == set)];
            PicturePart[] found = [.. named.Where(one => DigitName.IsSetAlone(Path.GetFileName(one.Folder)))];
            found = found.Length > 0 ? found : named;
            if (found.Length > 1)
            {
                throw new InputException($"{Folder}: holds several folders {(set == DigitSet.Training ? "to train on" : "to test with")} "
                    + $"({DataSource.Some(found.Select(one => Path.GetFileName(one.Folder)))}); give one of them");
            }

            if (found is [var only])
            {
                IEnumerable<string> others = Parts.Where(one => one.Set != set).Select(one => one.Folder);
                warnings.AddRange(only.Folder == Folder ? [] : PassedOver([.. Used, only.Folder, .. others]));
                return only.Inner.Choose(part, warnings);
            }
        }

        string name = wanted[0] == DigitSet.Training ? "train" : "test";
        throw new InputException($"{Folder}: holds no folder {name} with pictures; give the folder that you mean");
    }

    /// <summary>The digits of which a folder with labels has no pictures.</summary>
    public int[] Missing() =>
        HasLabels ? [.. Enumerable.Range(0, DigitDataset.Classes).Except(Pictures.Select(picture => (int)picture.Label!))] : [];

    private static PictureFolder? Of(string folder, HashSet<string> above) => Ordered(folder, above)
        ?? (Sort([folder]) is ({ Length: > 0 } pictures, var others)
            ? new PictureFolder(folder, [.. pictures.Select(file => (file, (byte?)null))], [], [], others) : null);

    /// <summary>The arrangement by the names of the folders in a folder, if they say one. Links may lead back above it.</summary>
    private static PictureFolder? Ordered(string folder, HashSet<string> above)
    {
        HashSet<string> here = [.. above, Folders.Real(folder)];
        string[] inner = [.. Folders.In(folder).Where(one => !here.Contains(Folders.Real(one))).InNaturalOrder()];
        PicturePart[] parts = [.. from one in inner
            let set = DigitName.Set(Path.GetFileName(one))
            where set is not null
            let found = OrderedOrDeeper(one, here)
            where found is not null
            select new PicturePart(set.Value, one, found)];
        PictureFolder? classes = parts.Any(part => part.Set == DigitSet.Training) ? null : ByClass(folder, inner, here);
        if (parts.Length > 0 && classes is not null) // folders 0 to 9 beside a test part are the training part
        {
            PictureFolder training = classes with { Used = [.. classes.Used, .. parts.Select(part => part.Folder)] };
            parts = [new PicturePart(DigitSet.Training, folder, training), .. parts];
        }

        return parts.Length == 0 ? classes : new PictureFolder(folder, [], parts, classes?.Used ?? [], []);
    }

    /// <summary>Finds the pictures of a part, which may lie deeper, as in train/images/7.</summary>
    private static PictureFolder? OrderedOrDeeper(string folder, HashSet<string> above)
    {
        if (Of(folder, above) is { } own)
        {
            return own;
        }

        HashSet<string> here = [.. above, Folders.Real(folder)];
        PictureFolder[] deeper = here.Count > MostDepth ? [] : [.. Folders.In(folder).Where(one => !here.Contains(Folders.Real(one)))
            .Select(one => OrderedOrDeeper(one, here)).OfType<PictureFolder>().Take(3)];
        return deeper.Length < 2 ? deeper.FirstOrDefault() : throw DataSource.Several(folder, deeper.Select(one => one.Folder));
    }

    /// <summary>Finds folders of one digit each: the name is a digit, and no folder within is a part or of one digit.</summary>
    private static PictureFolder? ByClass(string folder, string[] inner, HashSet<string> above)
    {
        (string Folder, int Number)[] numbered = [.. from one in inner
            let number = DigitName.Number(Path.GetFileName(one))
            where number is not null
            orderby number
            select (one, number.Value)];
        HashSet<string> around = [.. above, .. inner.Select(Folders.Real)]; // links from one digit's folder to another's are ignored
        (string Folder, int Number)[] several = [.. numbered.Where(one => Ordered(one.Folder, around) is not null)];
        (string Folder, int Number)[] classes = [.. numbered.Except(several).Where(one => one.Number < DigitDataset.Classes)
            .DistinctBy(one => Folders.Real(one.Folder))];
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
            throw new InputException(
                $"{several[0].Folder}: holds folders of digits itself, beside folders of one digit each; give it alone, or take it away");
        }

        string[] beyond = [.. numbered.Where(one => one.Number >= DigitDataset.Classes && HasPictures(one.Folder, above))
            .Select(one => Path.GetFileName(one.Folder))];
        return beyond.Length == 0 ? new PictureFolder(folder, [.. labelled], [], [.. classes.Select(one => one.Folder)], [.. others])
            : throw new InputException($"{folder}: holds pictures in {DataSource.Some(beyond)}, which "
                + (beyond.Length == 1 ? "is no digit; name it 0 if it holds zeros, or take it away" : "are no digits; take them away"));
    }

    /// <summary>The files of some folders in the order of their names, divided into pictures and others.</summary>
    private static (string[] Pictures, string[] Others) Sort(IEnumerable<string> folders)
    {
        ILookup<bool, string> files = folders.SelectMany(FilesOf).InNaturalOrder().ToLookup(IsPicture);
        return ([.. files[true]], [.. files[false]]);
    }

    private static IEnumerable<string> FilesOf(string folder) =>
        InputFile.Reading(folder, () => Directory.GetFiles(folder, "*", new EnumerationOptions { IgnoreInaccessible = false }))
            .Where(file => !Path.GetFileName(file).StartsWith('.'));

    /// <summary>Whether a file is a picture, judged by its extension or, without a proper extension, by its first bytes.</summary>
    private static bool IsPicture(string file)
    {
        string extension = Path.GetExtension(file);
        return Extensions.Contains(extension)
            || (extension.Skip(1).All(char.IsAsciiDigit) && PictureContainer.Begins(DataSource.Head(file)));
    }

    private static bool HasPictures(string folder, HashSet<string> above) => Folders.Below(folder, [.. above], DepthOfOthers)
        .SelectMany(one => Directory.EnumerateFiles(one, "*", new EnumerationOptions()))
        .Any(file => Extensions.Contains(Path.GetExtension(file)));

    /// <summary>Warnings about pictures in the folder, or in folders within it, that are not read.</summary>
    private IEnumerable<string> PassedOver(string[] used)
    {
        string[] beside = HasLabels || Parts.Length > 0 ? Sort([Folder]).Pictures : [];
        if (beside.Length > 0)
        {
            string names = DataSource.Some(beside.Select(file => Path.GetFileName(file)));
            yield return beside.Length == 1 ? $"{Folder}: 1 picture beside its folders ({names}) is not taken"
                : $"{Folder}: {beside.Length:N0} pictures beside its folders ({names}) are not taken";
        }

        HashSet<string> visited = [Folders.Real(Folder), .. used.Select(Folders.Real)];
        string[] unused = [.. Folders.In(Folder).Except(used).Where(one => HasPictures(one, visited)).Select(one => Path.GetFileName(one))];
        if (unused.Length > 0)
        {
            yield return $"{Folder}: the pictures in {DataSource.Some(unused)} are not taken";
        }
    }
}
