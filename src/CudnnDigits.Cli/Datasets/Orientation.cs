using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>
/// Which way up labelled digits stand: the mean pictures of their classes are compared with those of the built-in digits, as they
/// are, and turned and mirrored in the seven other ways. EMNIST's files hold transposed digits, and a network that is trained on
/// upright ones reads a tenth of them, without a word.
/// </summary>
internal static class Orientation
{
    private const int Side = DigitDataset.Side, Pixels = DigitDataset.PixelCount, Classes = DigitDataset.Classes;

    /// <summary>Digits looked at, drawn from the whole set, and built-in digits that they are compared with.</summary>
    private const int MostRows = 2000, BuiltIn = 300;

    /// <summary>Fewer say nothing: a single digit may well look like another one that lies on its side.</summary>
    private const int LeastRows = 10, LeastClasses = 5;

    /// <summary>
    /// Real digits correlate by 0.92 as they are and by 0.77 at most in another way; of 300 draws of ten of them the worst was better
    /// as it was by 0.01, of 300 draws of five worse by 0.05. Transposed, 30 digits fit better by 0.25 at least.
    /// </summary>
    private const double LeastScore = 0.6, LeastMargin = 0.1;

    /// <summary>By the bits of a way: 1 exchanges rows and columns, then 2 exchanges left and right, and 4 top and bottom.</summary>
    private static readonly string[] Ways =
    [
        "upright", "transposed (rows and columns exchanged, as in EMNIST's files)", "mirrored (left and right exchanged)", "turned clockwise by 90°", "upside down (top and bottom exchanged)",
        "turned counterclockwise by 90°", "turned by 180°", "transposed and turned by 180°",
    ];

    /// <summary>The means of the built-in digits, made while the data are read.</summary>
    private static readonly Task<double[][]> Upright = Task.Run(() => Means(GeneratedDigits.Create(BuiltIn)).Means);

    /// <summary>Begins with what does not depend on the data, on another thread.</summary>
    public static void Prepare() => _ = Upright;

    /// <summary>One sentence that says how the digits stand and what to do; null where they are upright, light on dark, or few.</summary>
    /// <param name="data">The digits; without labels nothing is known.</param>
    public static string? Warning(DigitDataset data)
    {
        if (!data.HasLabels || data.Count < LeastRows)
        {
            return null;
        }

        (double[][] own, int classes) = Means(data);
        double[][] upright = Upright.GetAwaiter().GetResult();
        double[] scores = [.. Enumerable.Range(0, Ways.Length).Select(way => Enumerable.Range(0, Classes).Sum(digit => Correlate(own[digit], upright[digit], way)) / classes)];
        int best = Enumerable.Range(0, Ways.Length).MaxBy(way => Math.Abs(scores[way]));
        if (classes < LeastClasses || Math.Abs(scores[best]) < LeastScore)
        {
            return null;
        }

        bool isInverted = scores[best] < 0, isTurned = Math.Abs(scores[best]) - Math.Abs(scores[0]) > LeastMargin;
        string[] wrong = [.. isTurned ? [Ways[best]] : Array.Empty<string>(), .. isInverted ? ["dark ink on light paper"] : Array.Empty<string>()];
        return wrong.Length == 0 ? null : $"the digits seem to be {string.Join(" and ", wrong)}: their labels fit that far better; the networks read upright digits, light on dark, so "
            + string.Join(" and ", [.. isTurned ? ["turn the pictures upright"] : Array.Empty<string>(), .. isInverted ? ["take each pixel from 255"] : Array.Empty<string>()]) + " first";
    }

    /// <summary>The mean picture of each class, less its mean and of length 1; zeros for a class that is not there.</summary>
    private static (double[][] Means, int Classes) Means(DigitDataset data)
    {
        double[][] means = [.. Enumerable.Range(0, Classes).Select(_ => new double[Pixels])];
        bool[] seen = new bool[Classes];
        Random random = new(0); // sets are sorted, or repeat their classes in turn
        for (int i = 0; i < Math.Min(data.Count, MostRows); i++)
        {
            int row = data.Count <= MostRows ? i : random.Next(data.Count);
            double[] mean = means[data.Labels[row]];
            seen[data.Labels[row]] = true;
            Add(mean, data.Image(row));
        }

        foreach (double[] mean in means)
        {
            double average = mean.Average(), length = Math.Sqrt(mean.Sum(value => (value - average) * (value - average)));
            for (int i = 0; i < Pixels; i++)
            {
                mean[i] = length == 0 ? 0 : (mean[i] - average) / length;
            }
        }

        return (means, seen.Count(isSeen => isSeen));

        static void Add(double[] sum, ReadOnlySpan<byte> image)
        {
            for (int i = 0; i < Pixels; i++)
            {
                sum[i] += image[i];
            }
        }
    }

    private static double Correlate(double[] own, double[] upright, int way)
    {
        double sum = 0;
        for (int i = 0; i < Pixels; i++)
        {
            sum += own[Place(way, i)] * upright[i];
        }

        return sum;
    }

    /// <summary>Where the pixel of the upright picture is found in one that stands in another way.</summary>
    private static int Place(int way, int pixel)
    {
        (int row, int column) = (pixel / Side, pixel % Side);
        (row, column) = (way & 1) == 0 ? (row, column) : (column, row);
        row = (way & 4) == 0 ? row : Side - 1 - row;
        column = (way & 2) == 0 ? column : Side - 1 - column;
        return row * Side + column;
    }
}
