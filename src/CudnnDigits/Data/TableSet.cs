using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>Tables that lie together, in a folder or in a zip file, of which one is wanted: train.csv, mnist_test.csv.gz.</summary>
internal static partial class TableSet
{
    /// <summary>Reads the part that is wanted.</summary>
    /// <param name="where">The folder or zip file, for messages.</param>
    /// <param name="files">The tables, with the folders that they lie in.</param>
    /// <param name="part">Which part. To evaluate on, those of a test set are taken if they have labels, which Kaggle's have not.</param>
    /// <param name="open">Opens one of the files.</param>
    /// <param name="read">Reads one of them.</param>
    /// <exception cref="InputException">There are several for that part, or a table cannot be read.</exception>
    /// <returns>The digits; null where there is no table for that part.</returns>
    public static DigitDataset? Read(string where, IReadOnlyList<string> files, DataPart part, Func<string, Stream> open, Func<string, DigitDataset> read)
    {
        string? unlabelled = null;
        foreach (string set in SetName.Of(part))
        {
            if (Find(where, files, set) is not { } file)
            {
                continue;
            }

            if (part == DataPart.Evaluation && !SetName.IsTraining(set) && !DigitCsv.IsLabelled(open(file), $"{where}/{file}"))
            {
                unlabelled ??= file;
                continue;
            }

            DigitDataset data = read(file);
            string? training = part == DataPart.Evaluation && !SetName.IsTraining(set) ? files.FirstOrDefault(other => IsOf(other, "train") || IsOf(other, "training")) : null;
            if (training is not null || (part == DataPart.Prediction && set != SetName.Main(part)))
            {
                data.Found = $"{data.Found ?? "a table"}, in {Path.GetFileName(file)}{(training is null ? "" : $"; {Path.GetFileName(training)} beside it is there to train on")}";
            }

            return data;
        }

        return unlabelled is null ? null : read(unlabelled);
    }

    /// <summary>Whether a file is one of these, by its name.</summary>
    public static bool Has(string file) => Name().IsMatch(Path.GetFileName(file));

    /// <summary>Whether such a name is nothing but that of its part: train.csv.</summary>
    public static bool IsPlain(string file) => Name().Match(Path.GetFileName(file)).Groups["other"].Length == 0;

    private static string? Find(string where, IReadOnlyList<string> files, string set)
    {
        string[] all = [.. files.Where(file => IsOf(file, set))], plain = [.. all.Where(IsPlain)], named = plain.Length > 0 ? plain : all;
        string[] found = [.. named.Where(file => !named.Any(other => file.Equals(other + ".gz", StringComparison.OrdinalIgnoreCase)))]; // packed and unpacked, they are the same
        return found.Length < 2 ? found.FirstOrDefault()
            : throw new InputException($"{where}: holds {found.Length} files {set}.csv ({string.Join(", ", found.Take(3).Select(KnownFile.Printable))}{(found.Length > 3 ? " …" : "")}); give the one that you mean, by itself");
    }

    private static bool IsOf(string file, string set) => Name().Match(Path.GetFileName(file)).Groups["set"].Value.Equals(set, StringComparison.OrdinalIgnoreCase);

    [GeneratedRegex(@"^(?<other>.*[-_. ])?(?<set>train|training|test|testing|validation|valid|val)\.csv(\.gz)?$", RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Name();
}
