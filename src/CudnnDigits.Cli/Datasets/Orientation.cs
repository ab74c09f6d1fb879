using System.Numerics;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>
/// Which way up labelled digits stand: the mean pictures of their classes are compared with those of the built-in digits, as they
/// are, and turned and mirrored in the seven other ways. EMNIST's files hold transposed digits, and a network that is trained on
/// upright ones reads a tenth of them, without a word. Where the means are upright, single digits are compared: a part of them may
/// stand in another way, or the labels may be those of other digits.
/// </summary>
internal static class Orientation
{
    private const int Side = DigitDataset.Side, Pixels = DigitDataset.PixelCount, Classes = DigitDataset.Classes;

    /// <summary>Digits looked at, drawn from the whole set, and built-in digits that they are compared with.</summary>
    private const int MostRows = 2000, BuiltIn = 300;

    /// <summary>
    /// Fewer say nothing: a single digit may well look like another one that lies on its side. Of 2,000 draws of 30 real digits of 2 to 4
    /// classes the worst was better as it was but for 0.02; of one class alone it is not known how it should lie.
    /// </summary>
    private const int LeastRows = 10, LeastClasses = 5, ManyRows = 30, LeastClassesOfMany = 2;

    /// <summary>
    /// Real digits correlate by 0.92 as they are and by 0.77 at most in another way; of 300 draws of ten of them the worst was better
    /// as it was by 0.01, of 300 draws of five worse by 0.05. Transposed, 30 digits fit better by 0.25 at least.
    /// </summary>
    private const double LeastScore = 0.6, LeastMargin = 0.1, Plain = 0.9;

    /// <summary>
    /// Single digits looked at, and how few. One votes for a way that fits better by 0.2, and by 0.4 in all: of real digits 1 % do for
    /// one that is wrong, and two thirds for the one that is right. The nearest class is the right one for two thirds of real digits, and
    /// they correlate with it by 0.63; small digits in the middle are near to one class, all of them, and say nothing of their labels.
    /// </summary>
    private const int MostSingle = 500, LeastSingle = 100;
    private const double LeastVote = 0.2, LeastLikeness = 0.4, LeastShare = 0.15, LeastNearest = 0.5, MostChance = 0.2, MostOfOne = 0.4;

    /// <summary>By the bits of a way: 1 exchanges rows and columns, then 2 exchanges left and right, and 4 top and bottom.</summary>
    private static readonly string[] Ways =
    [
        "upright", "transposed (rows and columns exchanged, as in EMNIST's files)", "mirrored (left and right exchanged)", "turned clockwise by 90°", "upside down (top and bottom exchanged)",
        "turned counterclockwise by 90°", "turned by 180°", "transposed and turned by 180°",
    ];

    /// <summary>
    /// The means of the built-in digits, those of the ten classes in each way, made while the data are read. The built-in digits are looked
    /// at themselves, too, so that the code is compiled by the time the data are there.
    /// </summary>
    private static readonly Task<float[][]> BuiltInMeans = Task.Run(() =>
    {
        DigitDataset builtIn = GeneratedDigits.Create(BuiltIn);
        float[][] upright = Means(builtIn, [.. Enumerable.Range(0, BuiltIn)]).Means;
        float[][] means = [.. Enumerable.Range(0, Ways.Length).SelectMany(way => upright.Select(mean => Turn(mean, way)))];
        _ = Warning(builtIn, means);
        return means;
    });

    /// <summary>Begins with what does not depend on the data, on another thread.</summary>
    public static void Prepare() => _ = BuiltInMeans;

    /// <summary>One sentence that says how the digits stand and what to do; null where they are upright, light on dark, or few.</summary>
    /// <param name="data">The digits; without labels nothing is known.</param>
    public static string? Warning(DigitDataset data) => data.HasLabels && data.Count >= LeastRows ? Warning(data, BuiltInMeans.GetAwaiter().GetResult()) : null;

    private static string? Warning(DigitDataset data, float[][] means)
    {
        int[] rows = Sample(data, MostRows);
        (float[][] own, int classes) = Means(data, rows);
        double[] scores = [.. Enumerable.Range(0, Ways.Length).Select(way => Enumerable.Range(0, Classes).Sum(digit => (double)Correlate(own[digit], means[way * Classes + digit])) / classes)];
        int best = Enumerable.Range(0, Ways.Length).MaxBy(way => Math.Abs(scores[way]));
        if (classes < (rows.Length < ManyRows ? LeastClasses : LeastClassesOfMany))
        {
            return null;
        }

        if (Math.Abs(scores[best]) < LeastScore)
        {
            return classes < LeastClasses ? null : OfSingle(data, means);
        }

        if (best == 0 && scores[0] > Plain)
        {
            return null; // and single digits need not be looked at
        }

        bool isInverted = scores[best] < 0, isTurned = Math.Abs(scores[best]) - Math.Abs(scores[0]) > LeastMargin;
        string[] wrong = [.. isTurned ? [Ways[best]] : Array.Empty<string>(), .. isInverted ? ["dark ink on light paper"] : Array.Empty<string>()];
        return wrong.Length == 0 ? classes < LeastClasses ? null : OfSingle(data, means) : $"the digits seem to be {string.Join(" and ", wrong)}: their labels fit that far better; the networks read upright digits, light on dark, so "
            + string.Join(" and ", [.. isTurned ? ["turn the pictures upright"] : Array.Empty<string>(), .. isInverted ? ["take each pixel from 255"] : Array.Empty<string>()]) + " first";
    }

    /// <summary>What single digits say where their means say nothing.</summary>
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
        float[] image = new float[Pixels], ways = new float[Ways.Length], likeness = new float[Classes];
        foreach (int row in rows)
        {
            Array.Clear(image);
            Add(image, data.Image(row));
            Normalize(image);
            int best = 0;
            for (int way = 0; way < ways.Length; way++)
            {
                ways[way] = Correlate(image, means[way * Classes + data.Labels[row]]);
                best = Math.Abs(ways[way]) > Math.Abs(ways[best]) ? way : best;
            }

            bool isLike = Math.Abs(ways[best]) > LeastLikeness;
            votes[best] += isLike && Math.Abs(ways[best]) - Math.Abs(ways[0]) > LeastVote ? 1 : 0;
            inverted += isLike && ways[best] < 0 ? 1 : 0;
            for (int digit = 0; digit < Classes; digit++)
            {
                likeness[digit] = Correlate(image, means[digit]);
            }

            nearest += likeness.Max() / rows.Length;
            int closest = Array.IndexOf(likeness, likeness.Max());
            counts[closest]++;
            right += closest == data.Labels[row] ? 1 : 0;
        }

        int most = Enumerable.Range(0, Ways.Length).MaxBy(way => votes[way]);
        return nearest > LeastNearest && right < MostChance * rows.Length && counts.Max() < MostOfOne * rows.Length
                ? "the labels fit the digits no better than chance: either they belong to other digits, or are in another order, or these are not the digits 0 to 9; look at them with data show"
            : inverted > LeastShare * rows.Length ? Part(inverted, "dark ink on light paper", "take each pixel of those from 255")
            : votes[most] > LeastShare * rows.Length ? Part(votes[most], Ways[most], "turn those pictures upright")
            : null;

        string Part(int count, string how, string what) =>
            $"at least {100 * count / rows.Length} % of the digits seem to be {how}, and the others are not: their labels fit that far better; the networks read upright digits, light on dark, so {what} first";
    }

    /// <summary>Rows of the whole set, since sets are sorted, or repeat their classes in turn.</summary>
    private static int[] Sample(DigitDataset data, int most)
    {
        Random random = new(0);
        return [.. Enumerable.Range(0, Math.Min(data.Count, most)).Select(i => data.Count <= most ? i : random.Next(data.Count))];
    }

    /// <summary>The mean picture of each class, less its mean and of length 1; zeros for a class that is not there.</summary>
    private static (float[][] Means, int Classes) Means(DigitDataset data, int[] rows)
    {
        float[][] means = [.. Enumerable.Range(0, Classes).Select(_ => new float[Pixels])];
        bool[] seen = new bool[Classes];
        foreach (int row in rows)
        {
            seen[data.Labels[row]] = true;
            Add(means[data.Labels[row]], data.Image(row));
        }

        foreach (float[] mean in means)
        {
            Normalize(mean);
        }

        return (means, seen.Count(isSeen => isSeen));
    }

    // These three take most of the time, and run once: the compiler is to make them fast at once.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(float[] sum, ReadOnlySpan<byte> image)
    {
        for (int i = 0; i < sum.Length; i++)
        {
            sum[i] += image[i];
        }
    }

    /// <summary>Takes its mean away, and makes its length 1.</summary>
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

    /// <summary>A picture of upright digits as it looks where they stand in another way.</summary>
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
