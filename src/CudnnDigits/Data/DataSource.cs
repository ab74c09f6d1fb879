using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>The purpose for which a dataset is opened; it decides which part of a set is read.</summary>
public enum DataPart
{
    /// <summary>Labelled digits to train on: train.csv of a zip, MNIST's train-* files, x_train.</summary>
    Training,

    /// <summary>
    /// Labelled digits to evaluate on: MNIST's t10k-* files, x_test, a test.csv with labels (Kaggle's has none); otherwise the digits to
    /// train on.
    /// </summary>
    Evaluation,

    /// <summary>Digits to predict, labelled or not: test.csv of a zip, MNIST's t10k-* images, x_test.</summary>
    Prediction,
}

/// <summary>
/// Opens a file or folder of digits of any known kind. The first bytes tell the kind of a file, whatever its name and whether or not it
/// comes through a pipe; the names of its files tell the kind of a folder. Gzip data is unpacked first.
/// </summary>
public static class DataSource
{
    /// <summary>The depth to which folders are searched for digits: torchvision keeps them in MNIST/raw.</summary>
    private const int MostDepth = 3;

    /// <summary>The known kinds, in the order in which they are tried. A program may add more before it opens anything.</summary>
    internal static IReadOnlyList<DigitContainer> Containers { get; set; } =
        [new CsvContainer(), new IdxContainer(), new ZipContainer(), new NumpyContainer()];

    /// <summary>The known kinds, for help and messages.</summary>
    internal static string Expected =>
        $"{string.Join(", ", Containers.SkipLast(1).Select(container => container.Name))} or {Containers[^1].Name}";

    /// <summary>Reads the digits at a path.</summary>
    /// <param name="path">A CSV in Kaggle's layout, Kaggle's zip, an IDX file of images, a .npz or .npy of NumPy; packed by gzip or not; a
    /// FIFO or /dev/stdin with any of them but zip and npz; or a folder that holds such files.</param>
    /// <param name="part">The purpose of the digits; Training and Evaluation require labels.</param>
    /// <exception cref="InputException">Nothing is there, or something other than digits, or they lack required labels.</exception>
    public static DigitDataset Open(string path, DataPart part)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!Enum.IsDefined(part))
        {
            throw new ArgumentOutOfRangeException(nameof(part), part, "expected one of DataPart's values");
        }

        DigitDataset data = Read(path, part);
        return data.HasLabels || part == DataPart.Prediction ? data : throw new InputException(
            $"{data.Name}: the digits have no labels (no label column, labels file or folders 0 to 9), "
                + "so they cannot be used here; give labelled ones");
    }

    /// <summary>Like <see cref="Open"/>, but accepts digits without labels for any purpose.</summary>
    internal static DigitDataset Read(string path, DataPart part) => InputFile.Reading(
        path, () => Directory.Exists(path) ? ReadFolder(path, part) : Read(OpenFile(path, Expected), part));

    /// <summary>The files that hold the digits at a path; none for the generated digits, whose path is null.</summary>
    internal static IEnumerable<string> FilesOf(string? path) => path is null ? []
        : Directory.Exists(path) ? Find(path) is var (container, folder) ? container.FilesIn(folder) : []
        : LabelsFile.Beside(path) is { } labels ? [path, labels] : [path];

    /// <summary>Reads a file of any known kind, and closes it.</summary>
    internal static DigitDataset Read(InputFile input, DataPart part)
    {
        using InputFile file = input;
        byte[] head = file.Peek(KnownFile.HeadBytes).ToArray();
        bool isNetwork = ForeignWeights.IsOnnx(head) || ForeignWeights.IsSafeTensors(head);
        string what = isNetwork ? "a network, not digits" : KnownFile.Name(head) ?? "none of the files that are known";
        return !isNetwork && Containers.FirstOrDefault(container => container.Takes(head, file.Path)) is { } found
            ? found.Read(file, file.Path, part)
            : throw new InputException($"{file.Path}: is {what}; give {Expected}");
    }

    /// <summary>The first bytes of a file, unpacked if it is gzip data; none if it cannot be read or is not a regular file.</summary>
    internal static byte[] Head(string path)
    {
        try
        {
            if (!OperatingSystem.IsWindows() && Posix.Status(path, follow: true).Kind != FileKind.Regular)
            {
                return [];
            }

            using InputFile file = OpenFile(path, Expected);
            return file.Peek(KnownFile.HeadBytes).ToArray();
        }
        catch (Exception e) when (e is InputException or IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Opens a file, and unpacks it if it is gzip data.</summary>
    internal static InputFile OpenFile(string path, string expected) => Unpacked(InputFile.Open(path, expected));

    /// <summary>A file, unpacked if it is gzip data. The packed file is closed with the result.</summary>
    internal static InputFile Unpacked(InputFile file) => GzipReader.Begins(file.Peek(KnownFile.HeadBytes))
        ? InputFile.Of(file.Path, new GzipReader(file, file.Path))
        : file;

    private static DigitDataset ReadFolder(string path, DataPart part) =>
        File.Exists(Path.Combine(path, "run.json"))
            ? throw new InputException($"{path}: is the folder of a run, not of digits; give {Expected}")
        : Find(path) is var (container, folder) ? container.ReadFolder(folder, part)
        : throw new InputException($"{path}: a folder without digits; give {Expected}");

    /// <summary>The kind of a folder, or of the only folder in it that holds digits; null if there are no digits.</summary>
    private static (DigitContainer Container, string Folder)? Find(string folder) => InputFile.Reading(
        folder, () => Find(folder, Containers, []) ?? Find(folder, [new OneFileContainer()], []));

    private static (DigitContainer Container, string Folder)? Find(
        string folder, IReadOnlyList<DigitContainer> among, HashSet<string> above)
    {
        if (!above.Add(Folders.Real(folder)))
        {
            return null; // a link back to a folder that contains this one
        }

        if (among.FirstOrDefault(container => container.FilesIn(folder).Any()) is { } found)
        {
            return (found, folder);
        }

        if (above.Count >= MostDepth)
        {
            return null;
        }

        (DigitContainer, string Folder)?[] below =
            [.. Folders.In(folder).Select(inner => Find(inner, among, [.. above])).Where(one => one is not null).Take(3)];
        return below.Length < 2 ? below.FirstOrDefault() : throw Several(folder, below.Select(one => one!.Value.Folder));
    }

    /// <summary>The error for a folder in which several folders hold digits.</summary>
    internal static InputException Several(string folder, IEnumerable<string> inner) =>
        new($"{folder}: holds several folders of digits ({Some(inner.Select(one => Path.GetRelativePath(folder, one)))}); "
            + "give one of them, or name them 0 to 9 where each holds one digit");

    /// <summary>The first of some names, for messages: "a, b" or "a, b …".</summary>
    internal static string Some(IEnumerable<string> names, int most = 2) =>
        string.Join(", ", names.Take(most)) + (names.Skip(most).Any() ? " …" : "");
}
