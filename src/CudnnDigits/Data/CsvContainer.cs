using System.Text.RegularExpressions;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A CSV file, or a folder with train.csv and test.csv, as from Kaggle, or mnist_train.csv and mnist_test.csv.</summary>
internal sealed partial class CsvContainer : DigitContainer
{
    private const string Arff = ".arff";
    private static readonly string[] Endings = [".csv", ".tsv", Arff, ".csv.gz", ".tsv.gz", $"{Arff}.gz"];

    public override string Name => "a CSV (.csv, .csv.gz or Kaggle's .zip)";

    /// <summary>Takes any text, UTF-16 with a byte order mark too, and an empty file.</summary>
    public override bool Takes(ReadOnlySpan<byte> head, string path) => KnownFile.Name(head) is null
        && (!head.Contains((byte)0) || head.StartsWith(Encoding.Unicode.Preamble) || head.StartsWith(Encoding.BigEndianUnicode.Preamble));

    public override DigitDataset Read(InputFile file, string path, DataPart part) => DigitCsv.Read(file, path, part);

    /// <summary>A folder may hold tables of anything, so a name with more than the part must contain "mnist".</summary>
    public override IEnumerable<string> FilesIn(string folder) => Directory.EnumerateFiles(folder).Where(IsPart)
        .Where(file => IsPlain(file) || Path.GetFileName(file).Contains("mnist", StringComparison.OrdinalIgnoreCase))
        .Order(StringComparer.Ordinal);

    public override DigitDataset ReadFolder(string folder, DataPart part)
    {
        string[] files = [.. FilesIn(folder).Select(file => Path.GetFileName(file))];
        return ReadPart(folder, files, part, file => DataSource.OpenFile(Path.Combine(folder, file), Name))
            ?? throw new InputException($"{folder}: holds no {SetName.Main(part)}.csv; give the file that you mean by its name");
    }

    /// <summary>Reads the table for a purpose, if any. Evaluation takes one without labels, as Kaggle's, only if it must.</summary>
    public static DigitDataset? ReadPart(string where, IReadOnlyList<string> files, DataPart part, Func<string, InputFile> open)
    {
        IEnumerable<string> found = SetName.Of(part).Select(set => Find(where, files, set)).OfType<string>();
        if ((found.FirstOrDefault(IsFit) ?? found.FirstOrDefault()) is not { } file)
        {
            return null;
        }

        DigitDataset data = DataSource.Read(open(file), part);
        string? training = part == DataPart.Evaluation && !IsTraining(file) ? files.FirstOrDefault(IsTraining) : null;
        if (training is not null || (part == DataPart.Prediction && SetOf(file) != SetName.Main(part)))
        {
            data.Found = $"{data.Found ?? "a table"}, in {Path.GetFileName(file)}"
                + (training is null ? "" : $"; {Path.GetFileName(training)} beside it is there to train on");
        }

        return data;

        bool IsFit(string file) =>
            part != DataPart.Evaluation || IsTraining(file) || DigitCsv.IsLabelled(open(file), $"{where}/{file}");

        static bool IsTraining(string file) => SetName.Of(DigitSet.Training).Contains(SetOf(file));
    }

    /// <summary>Whether a file is a table, judged by its name.</summary>
    public static bool IsTable(string file) => Endings.Any(ending => file.EndsWith(ending, StringComparison.OrdinalIgnoreCase));

    /// <summary>Of several files, those that are no tables of other things, as submission.csv is: its lines are too short.</summary>
    public static string[] LikeDigits(string[] files, Func<string, byte[]> headOf)
    {
        string[] found = files.Length < 2 ? files : [.. files.Where(MayBe)];
        return found.Length == 0 ? files : found;

        bool MayBe(string file) => !IsTable(file) || file.Contains(Arff, StringComparison.OrdinalIgnoreCase)
            || (headOf(file) is { Length: KnownFile.HeadBytes } head && head.AsSpan(head.Length / 2).IndexOfAny("\r\n"u8) < 0);
    }

    /// <summary>Whether a file's name ends in the name of a part: mnist_train.csv.</summary>
    public static bool IsPart(string file) => SetOf(file).Length > 0;

    /// <summary>Whether a file's name is the name of a part and nothing else: train.csv.</summary>
    public static bool IsPlain(string file) => FileName().Match(Path.GetFileName(file)).Groups["other"].Length == 0;

    private static string? Find(string where, IReadOnlyList<string> files, string set)
    {
        string[] all = [.. files.Where(file => SetOf(file) == set)], plain = [.. all.Where(IsPlain)];
        string[] named = plain.Length > 0 ? plain : all;
        string[] found = [.. named.Where(file => !named.Any(other => file.Equals(other + ".gz", StringComparison.OrdinalIgnoreCase)))];
        return found.Length < 2 ? found.FirstOrDefault() : throw new InputException($"{where}: holds {found.Length} files {set}.csv "
            + $"({DataSource.Some(found.Select(KnownFile.Printable), 3)}); give the one that you mean, by itself");
    }

    private static string SetOf(string file) => FileName().Match(Path.GetFileName(file)).Groups["set"].Value.ToLowerInvariant();

    [GeneratedRegex(
        $@"^(?<other>.*[-_. ])?(?<set>{SetName.Any})\.csv(\.gz)?$",
        RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex FileName();
}
