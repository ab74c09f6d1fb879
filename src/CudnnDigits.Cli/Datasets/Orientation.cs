using System.Numerics;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Detects digits that are rotated, mirrored or inverted: compares the means of classes, then single digits, with ours.</summary>
internal static class Orientation
{
    private const int Side = DigitDataset.Side, Pixels = DigitDataset.PixelCount, Classes = DigitDataset.Classes;

    /// <summary>The number of digits that are drawn from the set, and of generated digits that they are compared with.</summary>
    private const int MostRows = 2000, BuiltIn = 300;

    // Fewer digits or classes give no verdict: a single digit may look like another one on its side. In 2,000 draws of 30 real digits of
    // 2 to 4 classes, another orientation was better by 0.02 at most. One class alone gives no verdict.
    private const int LeastRows = 10, LeastClasses = 5, ManyRows = 30, LeastClassesOfMany = 2;

    // Real digits correlate by 0.92 upright and by 0.77 at most in another orientation. In 300 draws of ten digits, upright was better by
    // at least 0.01; in 300 draws of five, worse by up to 0.05. For 30 transposed digits, transposing is better by at least 0.25.
    private const double LeastScore = 0.6, LeastMargin = 0.1, Plain = 0.9;

    // The most and fewest single digits that are compared. A digit votes for an orientation that correlates by 0.4 and by 0.2 more than
    // upright: 1 % of real digits vote for a wrong orientation, two thirds for the right one. The nearest class is the right one for two
    // thirds of real digits, which correlate with it by 0.63. Small digits in the middle are all near to one class and give no verdict.
    private const int MostSingle = 500, LeastSingle = 100;
    private const double LeastVote = 0.2, LeastLikeness = 0.4, LeastShare = 0.15, LeastNearest = 0.5, MostChance = 0.2, MostOfOne = 0.4;

    /// <summary>The orientations. Bit 1 of the index exchanges rows and columns, bit 2 left and right, bit 4 top and bottom.</summary>
    private static readonly string[] Ways =
    [
        "upright", "transposed (rows and columns exchanged, as in EMNIST's files)", "mirrored (left and right exchanged)",
        "turned clockwise by 90°", "upside down (top and bottom exchanged)", "turned counterclockwise by 90°", "turned by 180°",
        "transposed and turned by 180°",
    ];

    /// <summary>Means of the generated digits, ten per orientation, computed while the data is read; a call compiles Warning.</summary>
    private static readonly Task<float[][]> BuiltInMeans = Task.Run(() =>
    {
        DigitDataset builtIn = GeneratedDigits.Create(BuiltIn);
        float[][] upright = Means(builtIn, [.. Enumerable.Range(0, BuiltIn)]).Means;
        float[][] means = [.. Enumerable.Range(0, Ways.Length).SelectMany(way => upright.Select(mean => Turn(mean, way)))];
        _ = Warning(builtIn, means);
        return means;
    });

    /// <summary>Starts the computation of the means on another thread.</summary>
    public static void Prepare() => _ = BuiltInMeans;

    /// <summary>A sentence that says what is wrong and what to do; null if nothing is wrong, or the digits are few or unlabelled.</summary>
    public static string? Warning(DigitDataset data) =>
        data.HasLabels && data.Count >= LeastRows ? Warning(data, BuiltInMeans.GetAwaiter().GetResult()) : null;

    private static string? Warning(DigitDataset data, float[][] means)
    {
        int[] rows = Sample(data, MostRows);
        (float[][] own, int classes) = Means(data, rows);
        double[] scores = [.. Enumerable.Range(0, Ways.Length).Select(
            way => Enumerable.Range(0, Classes).Sum(digit => (double)Correlate(own[digit], means[way * Classes + digit])) / classes)];
        int best = Enumerable.Range(0, Ways.Length).MaxBy(way => Math.Abs(scores[way]));
        if (classes < (rows.Length < ManyRows ? LeastClasses : LeastClassesOfMany))
        {
            return null;
        }

        bool isInverted = scores[best] < 0, isTurned = Math.Abs(scores[best]) - Math.Abs(scores[0]) > LeastMargin;
        if (Math.Abs(scores[best]) < LeastScore || (!isTurned && !isInverted))
        {
            bool isPlain = best == 0 && scores[0] > Plain; // single digits need not be compared
            return classes < LeastClasses || isPlain ? null : OfSingle(data, means);
        }

        string and = isTurned && isInverted ? " and " : "";
        string what = (isTurned ? Ways[best] : "") + and + (isInverted ? "dark ink on light paper" : "");
        string remedy = (isTurned ? "turn the pictures upright" : "") + and + (isInverted ? "take each pixel from 255" : "");
        return $"the digits seem to be {what}: their labels fit that far better; "
            + $"the networks read upright digits, light on dark, so {remedy} first";
    }

    /// <summary>A warning from the comparison of single digits, for means that are upright.</summary>
    private static string? OfSingle(DigitDataset data, float[][] means)
    {
        int[] rows = Sample(data, MostSingle);
        if (rows.Length < LeastSingle)
        {
            return null;
        }

        int[] votes = new int[Ways.Length], counts = new int[Classes];
        int inverted = 0, right = 0;
        double nearest = 0;
        foreach (int row in rows)
        {
            float[] image = new float[Pixels];
            Add(image, data.Image(row));
            Normalize(image);
            float[] ways = [.. Enumerable.Range(0, Ways.Length).Select(way => Correlate(image, means[way * Classes + data.Labels[row]]))];
            float[] likeness = [.. Enumerable.Range(0, Classes).Select(digit => Correlate(image, means[digit]))];
            int best = Enumerable.Range(0, Ways.Length).MaxBy(way => Math.Abs(ways[way]));
            int closest = Array.IndexOf(likeness, likeness.Max());
            bool isLike = Math.Abs(ways[best]) > LeastLikeness;
            votes[best] += isLike && Math.Abs(ways[best]) - Math.Abs(ways[0]) > LeastVote ? 1 : 0;
            inverted += isLike && ways[best] < 0 ? 1 : 0;
            nearest += likeness[closest] / rows.Length;
            counts[closest]++;
            right += closest == data.Labels[row] ? 1 : 0;
        }

        int most = Enumerable.Range(0, Ways.Length).MaxBy(way => votes[way]);
        return nearest > LeastNearest && right < MostChance * rows.Length && counts.Max() < MostOfOne * rows.Length
                ? "the labels fit the digits no better than chance: either they belong to other digits, or are in another order, "
                    + "or these are not the digits 0 to 9; look at them with data show"
            : inverted > LeastShare * rows.Length ? Part(inverted, "dark ink on light paper", "take each pixel of those from 255")
            : votes[most] > LeastShare * rows.Length ? Part(votes[most], Ways[most], "turn those pictures upright")
            : null;

        string Part(int count, string how, string what) =>
            $"at least {100 * count / rows.Length} % of the digits seem to be {how}, and the others are not: "
                + $"their labels fit that far better; the networks read upright digits, light on dark, so {what} first";
    }

    /// <summary>Draws rows from the whole set, since some sets are sorted or repeat the classes in turn.</summary>
    private static int[] Sample(DigitDataset data, int most)
    {
        Random random = new(0);
        return [.. Enumerable.Range(0, Math.Min(data.Count, most)).Select(i => data.Count <= most ? i : random.Next(data.Count))];
    }

    /// <summary>The normalized mean picture of each class (zeros for a missing class) and the number of classes.</summary>
    private static (float[][] Means, int Classes) Means(DigitDataset data, int[] rows)
    {
        float[][] means = [.. Enumerable.Range(0, Classes).Select(_ => new float[Pixels])];
        HashSet<byte> seen = [];
        foreach (int row in rows)
        {
            seen.Add(data.Labels[row]);
            Add(means[data.Labels[row]], data.Image(row));
        }

        Array.ForEach(means, Normalize);
        return (means, seen.Count);
    }

    // The next three methods take most of the time and run only once, so they are optimized before the first call.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(float[] sum, ReadOnlySpan<byte> image)
    {
        for (int i = 0; i < sum.Length; i++)
        {
            sum[i] += image[i];
        }
    }

    /// <summary>Subtracts the mean and scales to length 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Normalize(float[] picture)
    {
        double sum = 0, squares = 0;
        foreach (float value in picture)
        {
            (sum, squares) = (sum + value, squares + (double)value * value);
        }

        double average = sum / picture.Length, length = Math.Sqrt(Math.Max(0, squares - sum * average));
        for (int i = 0; i < picture.Length; i++)
        {
            picture[i] = length == 0 ? 0 : (float)((picture[i] - average) / length);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Correlate(float[] one, float[] other)
    {
        Vector<float> sum = default;
        for (int i = 0; i < Pixels; i += Vector<float>.Count)
        {
            sum += new Vector<float>(one, i) * new Vector<float>(other, i);
        }

        return Vector.Sum(sum);
    }

    private static float[] Turn(float[] upright, int way)
    {
        float[] turned = new float[Pixels];
        for (int pixel = 0; pixel < Pixels; pixel++)
        {
            (int row, int column) = (pixel / Side, pixel % Side);
            (row, column) = (way & 1) == 0 ? (row, column) : (column, row);
            row = (way & 4) == 0 ? row : Side - 1 - row;
            column = (way & 2) == 0 ? column : Side - 1 - column;
            turned[row * Side + column] = upright[pixel];
        }

        return turned;
    }
}
