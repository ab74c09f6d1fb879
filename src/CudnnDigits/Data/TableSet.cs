using System.Text.RegularExpressions;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>Tables in one folder or zip file, of which one part of a set is read: train.csv, mnist_test.csv.gz.</summary>
internal static partial class TableSet
{
    private static readonly string[] Endings = [".csv", ".tsv", ".csv.gz", ".tsv.gz"];

    /// <summary>Reads the table for a purpose, if any. Evaluation takes one without labels, as Kaggle's, only if it must.</summary>
    public static DigitDataset? Read(string where, IReadOnlyList<string> files, DataPart part, Func<string, InputFile> open)
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

    /// <summary>Whether a file's name ends in the name of a part: mnist_train.csv.</summary>
    public static bool Has(string file) => Name().IsMatch(Path.GetFileName(file));

    /// <summary>Whether a file's name is the name of a part and nothing else: train.csv.</summary>
    public static bool IsPlain(string file) => Name().Match(Path.GetFileName(file)).Groups["other"].Length == 0;

    private static string? Find(string where, IReadOnlyList<string> files, string set)
    {
        string[] all = [.. files.Where(file => SetOf(file) == set)], plain = [.. all.Where(IsPlain)];
        string[] named = plain.Length > 0 ? plain : all;
        bool IsPackedCopy(string file) => named.Any(other => file.Equals(other + ".gz", StringComparison.OrdinalIgnoreCase));
        string[] found = [.. named.Where(file => !IsPackedCopy(file))];
        return found.Length < 2 ? found.FirstOrDefault() : throw new InputException($"{where}: holds {found.Length} files {set}.csv "
            + $"({DataSource.Some(found.Select(KnownFile.Printable), 3)}); give the one that you mean, by itself");
    }

    private static string SetOf(string file) => Name().Match(Path.GetFileName(file)).Groups["set"].Value.ToLowerInvariant();

    [GeneratedRegex(
        $@"^(?<other>.*[-_. ])?(?<set>{SetName.Any})\.csv(\.gz)?$",
        RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Name();
}
