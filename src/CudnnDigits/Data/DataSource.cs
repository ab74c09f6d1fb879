using CudnnDigits.Model;

namespace CudnnDigits.Data;

/// <summary>What a dataset is opened for: decides which part of a set is taken.</summary>
public enum DataPart
{
    /// <summary>Labelled digits to train on: train.csv of a zip, MNIST's train-* files, x_train.</summary>
    Training,

    /// <summary>
    /// Labelled digits to evaluate on: MNIST's t10k-* files, x_test, a test.csv with labels (Kaggle's has none); else what there is to
    /// train on.
    /// </summary>
    Evaluation,

    /// <summary>Digits to predict, labelled or not: test.csv of a zip, MNIST's t10k-* images, x_test.</summary>
    Prediction,
}

/// <summary>
/// Opens whatever a user has. A file is known by its first bytes, whatever its name and whether or not it comes through a pipe; a
/// folder by the names of its files. What is gzip data is unpacked first. Here the kind is chosen; each kind has a reader of its own.
/// </summary>
public static class DataSource
{
    /// <summary>So many of a file's first bytes tell its kind; a tar archive does so at its 257th.</summary>
    internal const int HeadBytes = 512;

    /// <summary>How many folders deep digits are looked for: torchvision keeps them in MNIST/raw.</summary>
    private const int MostDepth = 3;

    /// <summary>
    /// The kinds that are known, in the order in which they are tried. A program may add more before it opens anything.
    /// </summary>
    internal static IReadOnlyList<DigitContainer> Containers { get; set; } = [new CsvContainer(), new IdxContainer(), new ZipContainer(), new NumpyContainer()];

    /// <summary>What may be given, for help and messages.</summary>
    internal static string Expected => $"{string.Join(", ", Containers.SkipLast(1).Select(container => container.Name))} or {Containers[^1].Name}";

    /// <summary>Reads the digits at a path.</summary>
    /// <param name="path">A CSV in Kaggle's layout, Kaggle's zip, an IDX file of images, a .npz or .npy of NumPy; packed by gzip or not; a
    /// FIFO or /dev/stdin with any of them but zip and npz; or a folder that holds such files.</param>
    /// <param name="part">Which part is wanted; Training and Evaluation insist on labels.</param>
    /// <exception cref="InputException">Nothing there, or not what it should be.</exception>
    public static DigitDataset Open(string path, DataPart part)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!Enum.IsDefined(part))
        {
            throw new ArgumentOutOfRangeException(nameof(part), part, "expected one of DataPart's values");
        }

        DigitDataset data = Read(path, part);
        return data.HasLabels || part == DataPart.Prediction
            ? data
            : throw new InputException($"{data.Name}: the digits have no labels (no label column, labels file or folders 0 to 9), so they cannot be used here; give labelled ones");
    }

    /// <summary>As <see cref="Open"/>, but without labels where there are none.</summary>
    /// <exception cref="InputException">Nothing there, or not what it should be.</exception>
    internal static DigitDataset Read(string path, DataPart part)
    {
        ArgumentNullException.ThrowIfNull(path);
        try
        {
            return Directory.Exists(path) ? ReadFolder(path, part) : ReadFile(path, part);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>The files that hold a set of digits; none for the built-in ones.</summary>
    /// <param name="path">Where they are, or null for the built-in ones.</param>
    internal static IEnumerable<string> FilesOf(string? path) => path is null ? []
        : Directory.Exists(path) ? Find(path) is var (container, folder) ? container.FilesIn(folder) : []
        : [path, .. Containers.SelectMany(container => container.FilesBeside(path))];

    /// <summary>Reads one file of a set, of whatever kind.</summary>
    internal static DigitDataset ReadFile(string path, DataPart part)
    {
        using InputFile file = InputFile.Open(path, Expected);
        if (!GzipReader.Begins(file.Peek(HeadBytes)))
        {
            return Read(file, path, part);
        }

        using InputFile unpacked = InputFile.Of(path, Unpack(file, path));
        return Read(unpacked, path, part);
    }

    /// <summary>The first bytes of a file, unpacked where it is gzip data; none where it cannot be read, or is no plain file.</summary>
    internal static byte[] Head(string path)
    {
        try
        {
            if (!OperatingSystem.IsWindows() && Posix.Status(path, follow: true).Kind != FileKind.Regular)
            {
                return [];
            }

            using InputFile file = InputFile.Open(path, Expected);
            using InputFile unpacked = InputFile.Of(path, Unpack(file, path));
            return unpacked.Peek(HeadBytes).ToArray();
        }
        catch (Exception e) when (e is InputException or IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>A file's bytes, unpacked where it is gzip data.</summary>
    /// <param name="file">Is closed with what is returned.</param>
    /// <param name="path">What to call it in messages.</param>
    internal static Stream Unpack(InputFile file, string path) =>
        GzipReader.Begins(file.Peek(HeadBytes)) ? new BoundedStream(new GzipReader(file, path), () => file.Taken, path) : file;

    private static DigitDataset Read(InputFile file, string path, DataPart part)
    {
        ReadOnlySpan<byte> head = file.Peek(HeadBytes);
        foreach (DigitContainer container in Containers)
        {
            if (container.Takes(head, path))
            {
                return container.Read(file, path, part);
            }
        }

        throw new InputException($"{path}: is {KnownFile.Name(head) ?? "none of the files that are known"}; give {Expected}");
    }

    private static DigitDataset ReadFolder(string path, DataPart part) =>
        File.Exists(Path.Combine(path, "run.json")) ? throw new InputException($"{path}: is the folder of a run, not of digits; give {Expected}")
        : Find(path) is var (container, folder) ? container.ReadFolder(folder, part)
        : throw new InputException($"{path}: a folder without digits; give {Expected}");

    /// <summary>What a folder holds, or the only one of its folders that holds anything; null where none does.</summary>
    private static (DigitContainer Container, string Folder)? Find(string folder)
    {
        try
        {
            return Find(folder, Containers, []) ?? Find(folder, [new OneFileContainer()], []);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(folder, e);
        }
    }

    private static (DigitContainer Container, string Folder)? Find(string folder, IReadOnlyList<DigitContainer> among, HashSet<string> above)
    {
        if (!above.Add(Folders.Real(folder)))
        {
            return null; // a link that leads back
        }

        if (among.FirstOrDefault(container => container.FilesIn(folder).Any()) is { } found)
        {
            return (found, folder);
        }

        (DigitContainer Container, string Folder)[] below =
            above.Count < MostDepth ? [.. Folders.In(folder).Select(inner => Find(inner, among, [.. above])).OfType<(DigitContainer, string)>().Take(3)] : [];
        return below.Length < 2 ? below.FirstOrDefault() is { Container: not null } only ? only : null : throw Several(folder, below.Select(one => one.Folder));
    }

    private static InputException Unreadable(string path, Exception e) => new($"{path}: cannot be read: {e.Message}", e);

    /// <summary>Refuses to choose.</summary>
    internal static InputException Several(string folder, IEnumerable<string> inner) =>
        new($"{folder}: holds several folders of digits ({Two(inner.Select(one => Path.GetRelativePath(folder, one)))}); give one of them, or name them 0 to 9 where each holds one digit");

    /// <summary>The first two of some names, for messages: "a, b" or "a, b …".</summary>
    internal static string Two(IEnumerable<string> names) => string.Join(", ", names.Take(2)) + (names.Skip(2).Any() ? " …" : "");
}
