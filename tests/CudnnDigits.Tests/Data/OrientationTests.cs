using CudnnDigits.Cli.Datasets;

namespace CudnnDigits.Tests.Data;

public sealed class OrientationTests
{
    /// <summary>The upright pixel that stands at a row and a column, and what is said.</summary>
    public static TheoryData<string, string?> Ways => new()
    {
        { "upright", null }, { "transposed", "transposed (rows and columns exchanged, as in EMNIST's files)" },
        { "mirrored", "mirrored (left and right exchanged)" },
        { "flipped", "upside down (top and bottom exchanged)" }, { "clockwise", "turned clockwise by 90°" },
        { "counterclockwise", "turned counterclockwise by 90°" },
        { "half a turn", "turned by 180°" }, { "inverted", "dark ink on light paper" },
        { "inverted and transposed", "EMNIST's files) and dark ink on light paper" },
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

    /// <summary>Two to four classes suffice where there are many digits of them.</summary>
    [Theory]
    [InlineData(new byte[] { 0, 1 })]
    [InlineData(new byte[] { 5, 8 })]
    [InlineData(new byte[] { 2, 3, 4, 7 })]
    public void Few_classes_are_known_as_well(byte[] classes)
    {
        DigitDataset all = SharedFiles.TrainingDigits;
        DigitDataset some = Take(all, [.. Enumerable.Range(0, all.Count).Where(row => classes.Contains(all.Labels[row])).Take(200)]);
        Check(some, "upright", null);
        Check(some, "transposed", "transposed (rows and columns exchanged, as in EMNIST's files)");
        Check(some, "inverted", "dark ink on light paper");
    }

    [Theory]
    [InlineData("transposed", "% of the digits seem to be transposed")]
    [InlineData("clockwise", "% of the digits seem to be turned clockwise by 90°")]
    [InlineData("inverted", "% of the digits seem to be dark ink on light paper, and the others are not")]
    public void A_half_that_stands_in_another_way_is_known(string way, string says)
    {
        foreach (DigitDataset digits in new[] { GeneratedDigits.Create(200, seed: 9),
            Take(SharedFiles.TrainingDigits, [.. Enumerable.Range(100, 600)]) })
        {
            DigitDataset turned = Turn(digits, way);
            DigitDataset half = new("",
                [.. Enumerable.Range(0, digits.Count).SelectMany(row => (row / 3 % 2 == 0 ? digits : turned).Image(row).ToArray())],
                digits.Labels.ToArray());
            Assert.Contains(says, Orientation.Warning(half), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Labels_of_other_digits_are_known()
    {
        foreach (DigitDataset digits in new[] { GeneratedDigits.Create(200, seed: 9),
            Take(SharedFiles.TrainingDigits, [.. Enumerable.Range(100, 300)]) })
        {
            byte[] labels = digits.Labels.ToArray(), oneUp = [.. labels.Select(label => (byte)((label + 1) % 10))],
            shuffled = (byte[])labels.Clone();
            new Random(3).Shuffle(shuffled);
            foreach (byte[] wrong in new[] { oneUp, shuffled, [.. labels[1..], labels[0]] })
            {
                Assert.Contains("the labels fit the digits no better than chance",
                    Orientation.Warning(new DigitDataset("", digits.Pixels.ToArray(), wrong)), StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Real_digits_that_are_upright_give_no_alarm_however_they_are_drawn()
    {
        DigitDataset all = SharedFiles.TrainingDigits;
        Random random = new(5);
        for (int draw = 0; draw < 100; draw++)
        {
            int[] classes = [.. Enumerable.Range(0, 10).OrderBy(_ => random.Next()).Take(random.Next(2, 11))];
            int from = random.Next(all.Count - 6000), count = random.Next(30, 300);
            Assert.Null(Orientation.Warning(
                Take(all, [.. Enumerable.Range(from, 6000).Where(row => classes.Contains(all.Labels[row])).Take(count)])));
        }
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
        string? warning = Orientation.Warning(Turn(digits, way));
        if (says is null)
        {
            Assert.Null(warning);
        }
        else
        {
            Assert.Contains($"{says}: their labels", warning, StringComparison.Ordinal);
        }
    }

    private static DigitDataset Turn(DigitDataset digits, string way)
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

        return new DigitDataset("", pixels, digits.Labels.ToArray());
    }

    private static DigitDataset Take(DigitDataset digits, int[] rows) =>
        new(digits.Name, [.. rows.SelectMany(row => digits.Image(row).ToArray())], [.. rows.Select(row => digits.Labels[row])]);
}
