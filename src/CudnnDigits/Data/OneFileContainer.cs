namespace CudnnDigits.Data;

/// <summary>A folder without any usual names that holds one readable file, or one for training and one for testing.</summary>
internal sealed class OneFileContainer : DigitContainer
{
    public override string Name => "a folder with one of these";

    public override IEnumerable<string> FilesIn(string folder) =>
        Readable(folder).SelectMany(file => DataSource.FilesOf(file));

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] files = Readable(folder);
        IEnumerable<string[]> found = files.Length == 1 ? [files]
            : SetName.Of(part).Select(set => files.Where(file => SetName.In(Path.GetFileName(file)) == set).ToArray());
        DigitDataset? data = null;
        foreach (string file in found.TakeWhile(one => one.Length < 2).SelectMany(one => one))
        {
            data = DataSource.Read(DataSource.OpenFile(file, DataSource.Expected), part);
            data.Found ??= Path.GetFileName(file);
            if (data.HasLabels || part == DataPart.Prediction)
            {
                break;
            }
        }

        return data ?? throw new InputException($"{folder}: holds several files of digits "
            + $"({DataSource.Some(files.Select(file => Path.GetFileName(file)))}); give the one that you mean by its name");
    }

    /// <summary>The files that hold digits, without their labels. Any text may be a table, so the name decides for tables.</summary>
    private static string[] Readable(string folder)
    {
        string[] known = [.. from file in Directory.EnumerateFiles(folder, "*", new EnumerationOptions()).Order(StringComparer.Ordinal)
            let head = DataSource.Head(file)
            where head.Length > 0 && !IdxFile.IsLabels(head)
            let kind = DataSource.Containers.FirstOrDefault(container => container.Takes(head, file))
            where kind is CsvContainer ? CsvContainer.IsTable(file) : kind is not null
            select file];
        return CsvContainer.LikeDigits([.. known.Except(known.Select(LabelsFile.Beside).OfType<string>())], DataSource.Head);
    }
}
