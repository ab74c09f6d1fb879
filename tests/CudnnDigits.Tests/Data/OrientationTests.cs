using CudnnDigits.Cli.Datasets;
using CudnnDigits.Data;
using CudnnDigits.Tests.Reference;

namespace CudnnDigits.Tests.Data;

public sealed class OrientationTests
{
    /// <summary>The upright pixel that stands at a row and a column, and what is said.</summary>
    public static TheoryData<string, string?> Ways => new()
    {
        { "upright", null }, { "transposed", "transposed (rows and columns exchanged, as in EMNIST's files)" }, { "mirrored", "mirrored (left and right exchanged)" },
        { "flipped", "upside down (top and bottom exchanged)" }, { "clockwise", "turned clockwise by 90°" }, { "counterclockwise", "turned counterclockwise by 90°" },
        { "half a turn", "turned by 180°" }, { "inverted", "dark ink on light paper" }, { "inverted and transposed", "EMNIST's files) and dark ink on light paper" },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public void Every_way_that_digits_may_stand_is_known(string way, string? says)
    {
        foreach (int count in new[] { 30, 100, 3000 })
        {
            Check(GeneratedDigits.Create(count, seed: 9), way, says);
        }
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Real_digits_are_known_too(string way, string? says) => Check(SharedFiles.TrainingDigits, way, says);

    /// <summary>A warning that is wrong is worse than none.</summary>
    [Fact]
    public void Few_real_digits_that_are_upright_give_no_alarm()
    {
        DigitDataset all = SharedFiles.TrainingDigits;
        for (int from = 0; from + 80 < all.Count; from += 700)
        {
            foreach (int count in new[] { 1, 5, 10, 30, 80 })
            {
                Assert.Null(Orientation.Warning(Take(all, [.. Enumerable.Range(from, count)])));
            }
        }

        int[] ones = [.. Enumerable.Range(0, all.Count).Where(row => all.Labels[row] == 1).Take(100)];
        Assert.Null(Orientation.Warning(Take(all, ones))); // one class: a bar, which lies or stands
    }

    [Fact]
    public void Pictures_that_are_no_digits_and_digits_without_labels_say_nothing()
    {
        byte[] noise = new byte[100 * 784];
        new Random(1).NextBytes(noise);
        Assert.Null(Orientation.Warning(new DigitDataset("", noise, GeneratedDigits.Create(100).Labels.ToArray())));
        Assert.Null(Orientation.Warning(new DigitDataset("", new byte[100 * 784], GeneratedDigits.Create(100).Labels.ToArray())));
        Assert.Null(Orientation.Warning(DigitFiles.WithoutLabels(GeneratedDigits.Create(100))));
    }

    private static void Check(DigitDataset digits, string way, string? says)
    {
        byte[] pixels = new byte[digits.Pixels.Length];
        for (int i = 0; i < pixels.Length; i++)
        {
            (int row, int column) = (i % 784 / 28, i % 28);
            (int fromRow, int fromColumn) = way switch
            {
                "transposed" or "inverted and transposed" => (column, row),
                "mirrored" => (row, 27 - column),
                "flipped" => (27 - row, column),
                "clockwise" => (27 - column, row),
                "counterclockwise" => (column, 27 - row),
                "half a turn" => (27 - row, 27 - column),
                _ => (row, column),
            };
            byte value = digits.Image(i / 784)[28 * fromRow + fromColumn];
            pixels[i] = way.StartsWith("inverted", StringComparison.Ordinal) ? (byte)(255 - value) : value;
        }

        string? warning = Orientation.Warning(new DigitDataset("", pixels, digits.Labels.ToArray()));
        if (says is null)
        {
            Assert.Null(warning);
        }
        else
        {
            Assert.Contains($"{says}: their labels", warning, StringComparison.Ordinal);
        }
    }

    private static DigitDataset Take(DigitDataset digits, int[] rows) =>
        new(digits.Name, [.. rows.SelectMany(row => digits.Image(row).ToArray())], [.. rows.Select(row => digits.Labels[row])]);
}
