using System.IO.Compression;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Digits with equal pixels.</summary>
/// <param name="Rows">Their rows, from 0.</param>
/// <param name="Labels">Their labels, in the same order; empty if there are none.</param>
internal sealed record Duplicates(int[] Rows, int[] Labels)
{
    /// <summary>Whether at least one of the labels must be wrong.</summary>
    public bool Conflict => Labels.Distinct().Count() > 1;
}

/// <summary>Statistics and problems of a set of digits. Rows count from 0.</summary>
/// <param name="Classes">The number of digits of each class; empty if there are no labels.</param>
/// <param name="MeanInk">The mean pixel, 0 … 255.</param>
/// <param name="Duplicates">Pictures that occur more than once.</param>
/// <param name="Blank">Rows without ink.</param>
/// <param name="Inverted">Rows with dark ink on light paper.</param>
/// <param name="Misplaced">Rows whose ink is off the middle: not normalised as MNIST is.</param>
/// <param name="Unusual">Rows with far more or far less ink than the rest of their class, the oddest first.</param>
/// <param name="Orientation">A warning about the orientation of the digits, or null.</param>
/// <param name="Range">A warning about the range of the pixels, or null.</param>
/// <param name="UnusedFiles">Files beside the data, or in its zip, that do not belong to it.</param>
internal sealed partial record DatasetCheck(
    int[] Classes, double MeanInk, IReadOnlyList<Duplicates> Duplicates, int[] Blank, int[] Inverted, int[] Misplaced, int[] Unusual,
    string? Orientation, string? Range, string[] UnusedFiles)
{
    private const int Side = DigitDataset.Side;

    /// <summary>The allowed distance of a digit's centre of mass from the middle, in pixels; in MNIST it is 1.4 at most.</summary>
    private const double MostOffCentre = 3;

    /// <summary>A digit is unusual beyond so many robust standard deviations of the logarithm of the ink.</summary>
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
            FindDuplicates(data),
            blank,
            inverted,
            misplaced,
            FindUnusual(data, shapes, [.. blank, .. inverted]),
            Datasets.Orientation.Warning(data),
            PixelScale.Warning(data),
            FindUnusedFiles(path));

        int[] Where(Func<Shape, bool> condition) => [.. Enumerable.Range(0, shapes.Length).Where(row => condition(shapes[row]))];
    }

    private static List<Duplicates> FindDuplicates(DigitDataset data)
    {
        Dictionary<int, List<int>> rows = new(data.Count, new SamePicture(data));
        for (int row = 0; row < data.Count; row++)
        {
            if (!rows.TryAdd(row, [row]))
            {
                rows[row].Add(row);
            }
        }

        return [.. rows.Values.Where(same => same.Count > 1)
            .Select(same => new Duplicates([.. same], data.HasLabels ? [.. same.Select(row => (int)data.Labels[row])] : []))];
    }

    /// <summary>Rows far from the median of their class, in robust standard deviations (1.4826 times the median distance).</summary>
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
                IEnumerable<string> others = files.Where(name => !TableSet.Has(name) && Path.GetFileName(name) != "sample_submission.csv");
                return files.Any(TableSet.Has) ? [.. others.Order(StringComparer.Ordinal)] : [];
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

    /// <summary>Compares digits by their pixels.</summary>
    private sealed class SamePicture(DigitDataset data) : IEqualityComparer<int>
    {
        public bool Equals(int first, int second) => data.Image(first).SequenceEqual(data.Image(second));

        public int GetHashCode(int row)
        {
            HashCode hash = default;
            hash.AddBytes(data.Image(row));
            return hash.ToHashCode();
        }
    }
}
