using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A CSV file, or a folder with train.csv and test.csv, as from Kaggle, or mnist_train.csv and mnist_test.csv.</summary>
internal sealed class CsvContainer : DigitContainer
{
    public override string Name => "a CSV (.csv, .csv.gz or Kaggle's .zip)";

    /// <summary>Takes any text, UTF-16 with a byte order mark too, and an empty file.</summary>
    public override bool Takes(ReadOnlySpan<byte> head, string path) => KnownFile.Name(head) is null
        && (!head.Contains((byte)0) || head.StartsWith(Encoding.Unicode.Preamble) || head.StartsWith(Encoding.BigEndianUnicode.Preamble));

    public override DigitDataset Read(InputFile file, string path, DataPart part) => DigitCsv.Read(file, path, part);

    /// <summary>A folder may hold tables of anything, so a name with more than the part must contain "mnist".</summary>
    public override IEnumerable<string> FilesIn(string folder) => Directory.EnumerateFiles(folder).Where(TableSet.Has)
        .Where(file => TableSet.IsPlain(file) || Path.GetFileName(file).Contains("mnist", StringComparison.OrdinalIgnoreCase))
        .Order(StringComparer.Ordinal);

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] files = [.. FilesIn(folder).Select(file => Path.GetFileName(file))];
        return TableSet.Read(folder, files, part, file => DataSource.OpenFile(Path.Combine(folder, file), Name))
            ?? throw new InputException($"{folder}: holds no {SetName.Main(part)}.csv; give the file that you mean by its name");
    }
}
