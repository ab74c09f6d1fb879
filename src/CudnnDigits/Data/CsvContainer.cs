namespace CudnnDigits.Data;

/// <summary>CSV, or a folder with train.csv and test.csv, as Kaggle's, or mnist_train.csv and mnist_test.csv.</summary>
internal sealed class CsvContainer : DigitContainer
{
    public override string Name => "a CSV (.csv, .csv.gz or Kaggle's .zip)";

    /// <summary>Any text may be one, UTF-16 with its mark too, and an empty file may have been one.</summary>
    public override bool Takes(ReadOnlySpan<byte> head, string path) =>
        (!head.Contains((byte)0) || head.StartsWith(Encoding.Unicode.Preamble) || head.StartsWith(Encoding.BigEndianUnicode.Preamble)) && KnownFile.Name(head) is null;

    public override DigitDataset Read(InputFile file, string path, DataPart part) => DigitCsv.Read(file, path, part);

    /// <summary>A folder may hold tables of anything: a name that begins with something else must say that it is MNIST's.</summary>
    public override IEnumerable<string> FilesIn(string folder) => Directory.EnumerateFiles(folder)
        .Where(file => TableSet.Has(file) && (TableSet.IsPlain(file) || Path.GetFileName(file).Contains("mnist", StringComparison.OrdinalIgnoreCase))).Order(StringComparer.Ordinal);

    public override DigitDataset ReadFolder(string folder, DataPart part) =>
        TableSet.Read(folder, [.. FilesIn(folder).Select(file => Path.GetFileName(file))], part, file => Open(Path.Combine(folder, file)), file => DataSource.ReadFile(Path.Combine(folder, file), part))
        ?? throw new InputException($"{folder}: holds no {SetName.Main(part)}.csv; give the file that you mean by its name");

    private Stream Open(string path) => DataSource.Unpack(InputFile.Open(path, Name), path);
}
