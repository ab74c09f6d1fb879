using System.Text;

namespace CudnnDigits.Data;

/// <summary>CSV, or a folder with Kaggle's train.csv and test.csv.</summary>
internal sealed class CsvContainer : DigitContainer
{
    private static readonly string[] Names = ["train.csv", "train.csv.gz", "test.csv", "test.csv.gz"];

    public override string Name => "a CSV (.csv, .csv.gz or Kaggle's .zip)";

    /// <summary>Any text may be one, UTF-16 with its mark too, and an empty file may have been one.</summary>
    public override bool Takes(ReadOnlySpan<byte> head, string path) =>
        (!head.Contains((byte)0) || head.StartsWith(Encoding.Unicode.Preamble) || head.StartsWith(Encoding.BigEndianUnicode.Preamble)) && KnownFile.Name(head) is null;

    public override DigitDataset Read(InputFile file, string path, DataPart part) => DigitCsv.Read(file, path);

    public override IEnumerable<string> FilesIn(string folder) => Names.Select(name => Path.Combine(folder, name)).Where(File.Exists);

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string wanted = part == DataPart.Prediction ? "test.csv" : "train.csv";
        return FilesIn(folder).FirstOrDefault(file => Path.GetFileName(file).StartsWith(wanted, StringComparison.Ordinal)) is { } file
            ? DataSource.ReadFile(file, part)
            : throw new InputException($"{folder}: holds no {wanted}; give the file that you mean by its name");
    }
}
