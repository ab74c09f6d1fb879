namespace CudnnDigits.Data;

/// <summary>A folder without any of the usual names, but with one file that can be read, or one to train on and one to test with.</summary>
internal sealed class OneFileContainer : DigitContainer
{
    private static readonly string[] Tables = [".csv", ".tsv", ".csv.gz", ".tsv.gz"], Training = ["train"], Test = ["test", "t10k"];

    public override string Name => "a folder with one of these";

    public override IEnumerable<string> FilesIn(string folder) =>
        Readable(folder).SelectMany(file => DataSource.Containers.SelectMany(container => container.FilesBeside(file)).Prepend(file));

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] files = [.. Readable(folder)];
        string[][] wanted = part switch { DataPart.Training => [Training], DataPart.Evaluation => [Test, Training], _ => [Test] };
        DigitDataset? data = null;
        foreach (string file in files.Length == 1 ? files : wanted.Select(set => files.Where(file => IsOf(file, set)).ToArray()).TakeWhile(set => set.Length < 2).SelectMany(set => set))
        {
            data = DataSource.ReadFile(file, part);
            data.Found ??= Path.GetFileName(file);
            if (data.HasLabels || part == DataPart.Prediction)
            {
                break;
            }
        }

        return data ?? throw new InputException($"{folder}: holds several files of digits ({DataSource.Two(files.Select(file => Path.GetFileName(file)))}); give the one that you mean by its name");

        static bool IsOf(string file, string[] set) => set.Any(word => Path.GetFileName(file).Contains(word, StringComparison.OrdinalIgnoreCase));
    }

    private static IEnumerable<string> Readable(string folder) => Directory.EnumerateFiles(folder, "*", new EnumerationOptions()).Where(IsDigits).Order(StringComparer.Ordinal);

    /// <summary>Any text may be a table, so that a table is known by its name; labels alone are no digits.</summary>
    private static bool IsDigits(string file)
    {
        byte[] head = DataSource.Head(file);
        return head.Length > 0 && !head.AsSpan().StartsWith(IdxContainer.LabelsHead) && DataSource.Containers.FirstOrDefault(container => container.Takes(head, file)) is { } container
            && (container is not CsvContainer || Tables.Any(ending => file.EndsWith(ending, StringComparison.OrdinalIgnoreCase)));
    }
}
