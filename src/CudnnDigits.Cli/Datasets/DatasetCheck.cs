using System.IO.Compression;
using System.Security.Cryptography;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Digits with equal pixels: their rows from 0, and their labels, if they have any.</summary>
internal sealed record Duplicates(int[] Rows, int[] Labels)
{
    /// <summary>Whether at least one of the labels must be wrong.</summary>
    public bool Conflict => Labels.Distinct().Count() > 1;
}

/// <summary>Counts of the classes, and the rows (from 0) and files of a set that look wrong; warnings are null if nothing is.</summary>
internal sealed record DatasetCheck(
    int[] Classes, double MeanInk, IReadOnlyList<Duplicates> Duplicates, int[] Blank, int[] Inverted, int[] Misplaced, int[] Unusual,
    string? Orientation, string? Range, string[] UnusedFiles)
{
    private const int Side = DigitDataset.Side;

    /// <summary>The allowed distance of a digit's centre of mass from the middle, in pixels; in MNIST it is 1.4 at most.</summary>
    private const double MostOffCentre = 3;

    /// <summary>A digit is unusual beyond so many robust deviations (1.4826 median distances) of the logarithm of the ink.</summary>
    private const double UnusualAt = 4.5;

    /// <summary>Checks all digits. The path of generated digits is null.</summary>
    public static DatasetCheck Of(DigitDataset data, string? path)
    {
        Shape[] shapes = [.. Enumerable.Range(0, data.Count).Select(row => Shape.Of(data.Image(row)))];
        int[] blank = Where(shape => shape.Most < 32), inverted = Where(shape => shape.Border > 127);
        int[] misplaced = Where(shape => shape is { Most: >= 32, Border: <= 127 } && shape.OffCentre > MostOffCentre);
        return new DatasetCheck(
            data.HasLabels ? [.. Enumerable.Range(0, DigitDataset.Classes).Select(digit => data.Labels.Count((byte)digit))] : [],
            shapes.Average(shape => shape.Ink),
            FindDuplicates(data), blank, inverted, misplaced, FindUnusual(data, shapes, [.. blank, .. inverted]),
            Datasets.Orientation.Warning(data), PixelScale.Warning(data), FindUnusedFiles(path));

        int[] Where(Func<Shape, bool> condition) => [.. Enumerable.Range(0, shapes.Length).Where(row => condition(shapes[row]))];
    }

    private static Duplicates[] FindDuplicates(DigitDataset data) =>
    [
        .. Enumerable.Range(0, data.Count).GroupBy(row => Convert.ToHexString(SHA256.HashData(data.Image(row))))
            .Where(same => same.Skip(1).Any())
            .Select(same => new Duplicates([.. same], data.HasLabels ? [.. same.Select(row => (int)data.Labels[row])] : [])),
    ];

    private static int[] FindUnusual(DigitDataset data, Shape[] shapes, int[] except)
    {
        List<(int Row, double Distance)> found = [];
        IEnumerable<int> all = Enumerable.Range(0, data.Count).Except(except);
        foreach (IGrouping<int, int> rows in all.GroupBy(row => data.HasLabels ? data.Labels[row] : 0))
        {
            double median = Median(rows.Select(row => Math.Log(shapes[row].Ink)));
            double Distance(int row) => Math.Abs(Math.Log(shapes[row].Ink) - median);
            double deviation = Math.Max(1.4826 * Median(rows.Select(Distance)), 1e-3);
            found.AddRange(rows.Select(row => (row, Distance(row) / deviation)).Where(pair => pair.Item2 > UnusualAt));
        }

        return [.. found.OrderByDescending(pair => pair.Distance).ThenBy(pair => pair.Row).Select(pair => pair.Row)];
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }

    private static string[] FindUnusedFiles(string? path)
    {
        if (Directory.Exists(path))
        {
            IEnumerable<string> used = DataSource.FilesOf(path)
                .Select(file => Path.GetRelativePath(path, file).Split(Path.DirectorySeparatorChar)[0]);
            IEnumerable<string> all = Directory.GetFileSystemEntries(path).Select(entry => Path.GetFileName(entry));
            return [.. all.Except(used).Order(StringComparer.Ordinal)];
        }

        if (path?.EndsWith(".zip", StringComparison.OrdinalIgnoreCase) == true && new FileInfo(path).Length > 0) // a pipe has length 0
        {
            try
            {
                using ZipArchive zip = ZipFile.OpenRead(path);
                string[] files = [.. ZipContainer.Files(zip)];
                IEnumerable<string> others = files.Where(name => !CsvContainer.IsPart(name));
                return files.Any(CsvContainer.IsPart)
                    ? [.. others.Where(name => Path.GetFileName(name) != "sample_submission.csv").Order(StringComparer.Ordinal)] : [];
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
            {
                return []; // for example gzip data with that extension; only a hint is lost
            }
        }

        return [];
    }

    /// <summary>The amount and place of a digit's ink.</summary>
    private readonly record struct Shape(double Ink, byte Most, double Border, double OffCentre)
    {
        public static Shape Of(ReadOnlySpan<byte> image)
        {
            double mass = 0, x = 0, y = 0, border = 0;
            byte most = 0;
            for (int i = 0; i < image.Length; i++)
            {
                (int row, int column) = (i / Side, i % Side);
                most = Math.Max(most, image[i]);
                mass += image[i];
                x += image[i] * (column - (Side - 1) / 2.0);
                y += image[i] * (row - (Side - 1) / 2.0);
                if (row is 0 or Side - 1 || column is 0 or Side - 1)
                {
                    border += image[i];
                }
            }

            return new Shape(mass / image.Length, most, border / (4 * (Side - 1)), mass == 0 ? 0 : Math.Sqrt(x * x + y * y) / mass);
        }
    }
}
