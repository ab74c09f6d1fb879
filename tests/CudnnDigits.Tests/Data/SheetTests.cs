using System.Numerics;
using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Tests.Data;

/// <summary>
/// Pictures as people take them: what counts is that a network which reads a digit as MNIST has it reads the picture of it too.
/// </summary>
public sealed class SheetTests
{
    /// <summary>Digits that the network reads rightly, and surely, as they are; more with CUDNN_DIGITS_ATTACK, as in CI.</summary>
    private static readonly int Count = (int)(10 * Mutations.Factor);

    private static readonly Lazy<(DigitClassifier Network, int[] Rows)> Reader = new(Train);

    private static DigitDataset Digits => SharedFiles.TrainingDigits;

    private static Vector3 Gray(float level) => new(level);

    private static readonly Dictionary<string, Func<ReadOnlySpan<byte>, Random, Sheet>> Kinds = new()
    {
        ["paper of 150"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(150), digit, Gray(40), random),
        ["paper of 180"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(180), digit, Gray(40), random),
        ["paper of 220"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(220), digit, Gray(40), random),
        ["paper of 255"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(255), digit, Gray(0), random),
        ["noise"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(220), digit, Gray(40), random).Noise(8, random),
        ["noise in colour"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(220), digit, Gray(40), random).Noise(8, random, gray: false),
        ["light from the left"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper((u, _) => Gray(230 - 60 * u)), digit, Gray(40), random).Noise(3, random),
        ["light from above"] = (digit, random) =>
            Anywhere(new Sheet(300, 900).Paper((_, v) => Gray(150 + 60 * v)), digit, Gray(50), random).Noise(3, random),
        ["dark corners"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(235), digit, Gray(40), random)
                .Light((u, v) => 1 - 0.5f * ((u - 0.5f) * (u - 0.5f) + (v - 0.5f) * (v - 0.5f))),
        ["the edge of a shadow"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(230), digit, Gray(40), random)
                .Light((u, v) => 0.74f + 0.26f / (1 + MathF.Exp(60 * (u + 0.3f * v - 0.5f)))).Noise(3, random),
        ["pale ink"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(235), digit, Gray(195), random).Noise(3, random),
        ["pale ink and noise"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(200), digit, Gray(150), random).Noise(8, random),
        ["chalk"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper((_, v) => Gray(30 + 40 * v)), digit, Gray(210), random).Noise(5, random),
        ["blue on yellow"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper((_, _) => new(230, 210, 120)), digit, new(40, 60, 200), random),
        ["yellow on white"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(250), digit, new(255, 240, 60), random).Noise(2, random),
        ["red on green"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper((_, _) => new(20, 120, 40)), digit, new(200, 40, 40), random),
        ["a pen of 1 pixel"] = (digit, _) => new Sheet(560, 560).Paper(255).Trace(Gray(0), digit, 1),
        ["a pen of 3 pixels"] = (digit, _) => new Sheet(560, 560).Paper(255).Trace(Gray(0), digit, 3),
        ["a pen of 3 pixels, gray and noisy"] = (digit, random) =>
            new Sheet(560, 560).Paper(210).Trace(Gray(100), digit, 3).Noise(8, random),
        ["a pen of 9 pixels"] = (digit, _) => new Sheet(560, 560).Paper(255).Trace(Gray(0), digit, 9),
        ["ruled"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(240).Draw(new(150, 180, 230), (_, y) => y % 40 < 2 ? 1 : 0), digit, Gray(40), random),
        ["squared"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(245).Draw(new(170, 190, 220), (x, y) => x % 25 < 2 || y % 25 < 2 ? 1 : 0), digit,
                new(30, 40, 120), random),
        ["cut out of the dark desk beside it"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper((u, _) => Gray(u < 0.07f ? 70 : 220)), digit, Gray(40), random, least: 60),
        ["on a dark desk"] = (digit, random) =>
            new Sheet(480, 360).Paper((u, v) => Gray(u is > 0.1f and < 0.92f && v is > 0.06f and < 0.9f ? 220 : 90))
            .Draw(Gray(40), digit, 220, random.Next(60, 200), random.Next(30, 90)).Noise(4, random),
        ["dark ruling"] = (digit, random) =>
            Anywhere(new Sheet(640, 480).Paper(240), digit, Gray(40), random).Draw(Gray(40), (x, y) => (y + x / 50) % 40 < 2 ? 1 : 0)
            .Noise(3, random),
        ["pencil on darker squares"] = (digit, random) =>
            Anywhere(new Sheet(640, 480).Paper(240).Draw(new(90, 120, 220), (x, y) => x % 40 < 2 || y % 40 < 2 ? 1 : 0), digit, Gray(150),
                random).Noise(3, random),
        ["in a form's box"] = (digit, random) =>
            new Sheet(300, 300).Paper(240)
                .Draw(Gray(60), (x, y) => Math.Min(Math.Min(x, 299 - x), Math.Min(y, 299 - y)) is >= 10 and < 13 ? 1 : 0)
                .Draw(Gray(40), digit, 240, 30, 30).Noise(3, random),
        ["above a line"] = (digit, random) =>
            new Sheet(300, 300).Paper(240).Draw(Gray(40), digit, 200, 50, 30)
            .Draw(Gray(40), (x, y) => x is >= 40 and < 260 && y is >= 250 and < 254 ? 1 : 0).Noise(3, random),
        ["beside a margin's line"] = (digit, random) =>
            Anywhere(new Sheet(320, 240).Paper(250).Draw(new(230, 60, 60), (x, _) => x is >= 30 and < 33 ? 1 : 0), digit, Gray(30), random,
            size: 110, least: 40),
        ["below a line"] = (digit, random) =>
            new Sheet(320, 240).Paper(250).Draw(Gray(30), (_, y) => y is >= 20 and < 23 ? 1 : 0)
            .Draw(Gray(30), digit, 110, random.Next(200), 60),
        ["bold"] = (digit, _) => new Sheet(280, 280).Paper(255).Bold(Gray(0), digit, 200, 40, 40, 6),
        ["beside a punched hole"] = (digit, random) =>
            Anywhere(new Sheet(640, 480).Paper(235), digit, Gray(60), random, least: 80)
                .Draw(Gray(50), (x, y) => (x - 40) * (x - 40) + (y - 240) * (y - 240) < 225 ? 1 : 0).Noise(3, random),
        ["cut off at an edge, beside a mark"] = (digit, random) =>
            new Sheet(240, 240).Paper(230).Draw(Gray(40), digit, 240, 0, -34)
                .Draw(Gray(40), (x, y) => (x - 200) * (x - 200) + (y - 215) * (y - 215) < 64 ? 1 : 0).Noise(3, random),
        ["dots of black and white"] = (digit, random) => Anywhere(new Sheet(480, 360).Paper(170), digit, Gray(20), random).Dots(),
        ["a small sheet on a dark desk"] = (digit, random) =>
            new Sheet(640, 480).Paper((u, v) => Gray(u is > 0.2f and < 0.82f && v is > 0.15f and < 0.8f ? 220 : 95))
            .Draw(Gray(40), digit, 220, random.Next(160, 260), random.Next(90, 140)).Noise(3, random),
        ["a turned sheet on a wooden desk"] = (digit, random) =>
            new Sheet(640, 480)
            .Paper((u, v) => OnTurnedSheet(u, v) ? Gray(215) : new Vector3(150, 100, 60) * (1 + 0.1f * MathF.Sin(60 * v)))
            .Draw(Gray(50), digit, 200, random.Next(200, 250), random.Next(100, 180)).Noise(3, random),
        ["in two pieces, one at the border"] = (digit, random) =>
        {
            int[] columns = [.. digit.ToArray().Index().Where(pixel => pixel.Item > 128).Select(pixel => pixel.Index % 28).Order()];
            int cut = 5 * (columns[0] + columns[^1] + 1), left = 10 * columns[0];
            return new Sheet(220, 280).Paper(230).Draw(Gray(40), digit, 280, -left, 0)
                .Draw(Gray(230), (x, _) => Math.Abs(x + left - cut) < 7 ? 1 : 0).Noise(3, random);
        },
        ["28×28, in a frame"] = (digit, _) =>
            new Sheet(28, 28).Paper(255).Draw(Gray(0), digit, 28, 0, 0).Draw(Gray(0), (x, y) => x is 0 or 27 || y is 0 or 27 ? 1 : 0),
        ["dust"] = (digit, random) =>
            Anywhere(new Sheet(480, 360).Paper(220), digit, Gray(60), random)
                .Draw(Gray(30), (x, y) => (x / 2 * 7919 + y / 2 * 104729) % 1301 == 0 ? 1 : 0),
        ["large"] = (digit, random) =>
            new Sheet(1024, 1024).Paper((_, v) => Gray(220 - 60 * v)).Draw(Gray(50), digit, 900, 60, 60).Noise(8, random),
        ["small on a large sheet"] = (digit, random) =>
            Anywhere(new Sheet(1024, 1024).Paper(220), digit, Gray(40), random, size: 84).Noise(4, random),
        ["cut out closely"] = (digit, random) => new Sheet(64, 64).Paper(200).Draw(Gray(40), digit, 64, 0, 0).Noise(4, random),
        ["28×28, gray"] = (digit, random) => new Sheet(28, 28).Paper(200).Draw(Gray(60), digit, 28, 0, 0).Noise(4, random),
    };

    public static IEnumerable<TheoryDataRow<string>> KindNames => Kinds.Keys.Select(kind =>
        InnerLoop.Contains(kind) ? new TheoryDataRow<string>(kind) : new(kind) { Explicit = true, Traits = { ["Category"] = ["Long"] } });

    /// <summary>The kinds of the inner loop: each needs another part of the code that finds the ink.</summary>
    private static readonly HashSet<string> InnerLoop =
        ["paper of 180", "noise", "the edge of a shadow", "pale ink", "chalk", "a pen of 3 pixels", "ruled", "in a form's box",
            "on a dark desk", "a turned sheet on a wooden desk",
            "in two pieces, one at the border", "cut out closely", "28×28, gray"];

    /// <summary>The notches of a printed one's four sides are no ink on a sheet, nor is a bold stroke an edge.</summary>
    [Theory]
    [InlineData(40)]
    [InlineData(8)]
    public void A_bold_printed_one_is_ink(int margin)
    {
        (int width, int height) = (150 + 2 * margin, 218 + 2 * margin);
        Sheet sheet = new Sheet(width, height).Paper(255).Draw(Gray(0), (x, y) =>
            (x - margin, y - margin) is var (right, down) && right is >= 0 and < 150 && down is >= 0 and < 218
            && (down >= 180 || right is >= 50 and < 104 || (right < 50 && down + right / 4 is >= 12 and < 50)) ? 1 : 0);
        byte[] image = new byte[784];
        Assert.True(DigitPicture.Read(sheet.ToRgba(), width, height, image));
        int[] middle = [.. Enumerable.Range(6, 16).Select(row => image[28 * row + 14] + 0)]; // of the stem
        Assert.All(middle, ink => Assert.InRange(ink, 200, 255));
        Assert.InRange(image.Count(ink => ink > 128), 100, 200); // of 20 × 14, and not the notches too
    }

    [Theory]
    [MemberData(nameof(KindNames))]
    public void A_digit_on_any_sheet_is_read_as_the_digit_is(string kind)
    {
        (DigitClassifier network, int[] rows) = Reader.Value;
        Assert.Equal(Count, rows.Length);
        List<string> wrong = [];
        byte[][] images = [.. rows.AsParallel().AsOrdered().Select(row =>
        {
            Sheet sheet = Kinds[kind](Digits.Image(row), new Random(row));
            byte[] image = new byte[784];
            Assert.True(DigitPicture.Read(sheet.ToRgba(), sheet.Width, sheet.Height, image));
            return image;
        })];
        foreach ((int row, byte[] image) in rows.Zip(images))
        {
            int read = network.Read(image).Digit;
            if (read != Digits.Labels[row])
            {
                wrong.Add($"digit {row}, a {Digits.Labels[row]}, as {read}");
            }
        }

        int allowed = (int)Math.Ceiling((kind is "a pen of 1 pixel" ? 0.10 : 0.05) * rows.Length);
        Assert.True(wrong.Count <= allowed, $"{wrong.Count} of {rows.Length} misread: {string.Join("; ", wrong)}");
    }

    [Theory]
    [InlineData(28, 28, 128, 0)]
    [InlineData(28, 28, 240, 0)]
    [InlineData(28, 28, 0, 0)]
    [InlineData(28, 28, 200, 8)]
    [InlineData(64, 64, 200, 8)]
    [InlineData(480, 360, 220, 8)]
    [InlineData(480, 360, 20, 5)]
    [InlineData(1, 1, 90, 0)]
    [InlineData(1024, 3, 90, 3)]
    public void A_sheet_on_which_nothing_differs_is_blank(int width, int height, float paper, float noise)
    {
        foreach (Func<float, float, float> light in new Func<float, float, float>[] { (_, _) => 1, (u, v) => 1 - 0.15f * (u + v),
            (u, _) => u < 0.4f ? 1 : 0.75f, (u, v) => u + 0.4f * v < 0.6f ? 1 : 0.75f })
        {
            Sheet sheet = new Sheet(width, height).Paper(paper).Light(light).Noise(noise, new Random(5));
            Assert.Contains("blank",
                Assert.Throws<InputException>(() => DigitPicture.Read(sheet.ToRgba(), width, height, new byte[784])).Message,
                StringComparison.Ordinal);
        }
    }

    /// <summary>Two long straight strokes, closely cut out, are a zero's or a four's, and no ruling; a bold zero is no sheet.</summary>
    [Theory]
    [InlineData(100, 4, 0)]
    [InlineData(280, 6, 0)]
    [InlineData(280, 40, 0)]
    [InlineData(100, 4, 4)]
    public void Strokes_that_look_like_printed_lines_stay(int side, int pen, int digit)
    {
        (DigitClassifier network, _) = Reader.Value;
        float a = 0.3f * side, b = 0.45f * side, middle = side / 2f;
        Sheet sheet = new Sheet(side, side).Paper(255).Draw(Gray(0), (x, y) =>
        {
            (float u, float v) = (x + 0.5f - middle, y + 0.5f - middle);
            bool isZero = Math.Abs(MathF.Sqrt(u * u / (a * a) + v * v / (b * b)) - 1) * a < pen / 2f;
            bool isFour = (Math.Abs(u - a) < pen / 2f && Math.Abs(v) < b) || (Math.Abs(u + a) < pen / 2f && v > -b && v < 0)
                || (Math.Abs(v) < pen / 2f && Math.Abs(u) < a);
            return (digit == 0 ? isZero : isFour) ? 1 : 0;
        });
        byte[] image = new byte[784];
        DigitPicture.Read(sheet.ToRgba(), side, side, image);
        Assert.Equal(digit, network.Read(image).Digit);
    }

    /// <summary>Ruling and a desk are no digit.</summary>
    [Fact]
    public void A_sheet_without_ink_is_blank_whatever_was_printed_on_it_or_lies_round_it()
    {
        foreach (float level in new float[] { 40, 150 })
        {
            AssertBlank(new Sheet(640, 480).Paper(240).Draw(Gray(level), (_, y) => y % 40 < 2 ? 1 : 0));
            AssertBlank(new Sheet(480, 640).Paper(240).Draw(Gray(level), (x, y) => x % 30 < 2 || y % 30 < 2 ? 1 : 0));
            AssertBlank(new Sheet(640, 480).Paper((u, v) => Gray(u is > 0.1f and < 0.9f && v is > 0.1f and < 0.9f ? 220 : level)));
        }

        AssertBlank(new Sheet(640, 480).Paper((u, v) => Gray(OnTurnedSheet(u, v) ? 220 : 100)));
        AssertBlank(new Sheet(480, 360).Paper((u, v) => Gray(u + 0.1f * v > 0.12f ? 220 : 80)));
        AssertBlank(new Sheet(640, 480).Paper((u, v) => Gray(u is > 0.2f and < 0.8f && v is > 0.2f and < 0.8f ? 220 : 150)));

        static void AssertBlank(Sheet sheet) => Assert.Contains(
            "blank", Assert.Throws<InputException>(() =>
                DigitPicture.Read(sheet.Noise(3, new Random(5)).ToRgba(), sheet.Width, sheet.Height, new byte[784])).Message,
                StringComparison.Ordinal);
    }

    /// <summary>
    /// MNIST's own digits are taken as they are, on black and on white; nearly all, because a few are not centred as the rest.
    /// </summary>
    [Fact]
    public void What_looks_like_mnist_is_taken_as_it_is()
    {
        int asTheyAre = 0;
        byte[] image = new byte[784], rgba = new byte[4 * 784];
        for (int row = 0; row < 2000; row++)
        {
            for (int i = 0; i < rgba.Length; i++)
            {
                byte ink = Digits.Image(row)[i / 4];
                rgba[i] = i % 4 == 3 ? (byte)255 : row % 2 == 0 ? ink : (byte)(255 - ink);
            }

            if (!DigitPicture.Read(rgba, 28, 28, image))
            {
                asTheyAre++;
                Assert.Equal(Digits.Image(row).ToArray(), image);
            }
        }

        Assert.InRange(asTheyAre, 1990, 2000);
    }

    /// <summary>
    /// One transparent pixel, transparent corners, a transparent sheet under strokes of two colours; a hole in the form of a digit.
    /// </summary>
    [Fact]
    public void Transparency_is_ink_only_where_all_that_is_visible_has_one_colour()
    {
        (DigitClassifier network, int[] rows) = Reader.Value;
        List<string> wrong = [];
        foreach (int row in rows.Take(5))
        {
            Sheet sheet = new Sheet(280, 280).Paper(255).Draw(Gray(0), Digits.Image(row), 280, 0, 0),
            chalk = new Sheet(280, 280).Paper(40).Draw(Gray(230), Digits.Image(row), 280, 0, 0);
            byte[] ink = sheet.ToRgba();
            Check("one pixel", Change(ink, (pixel, i) => pixel with { A = (byte)(i == 0 ? 0 : 255) }));
            Check("one pixel of chalk", Change(chalk.ToRgba(), (pixel, i) => pixel with { A = (byte)(i == 0 ? 0 : 255) }));
            Check("corners", Change(ink, (pixel, i) => Corner(i) ? default : pixel));
            Check("corners of chalk", Change(chalk.ToRgba(), (pixel, i) => Corner(i) ? default : pixel));
            Check("black strokes", Change(ink, (pixel, _) => (0, 0, 0, (byte)(255 - pixel.R))));
            Check("white strokes", Change(ink, (pixel, _) => (255, 255, 255, (byte)(255 - pixel.R))));
            Check("a hole", Change(ink, (pixel, _) => (30, 90, 200, pixel.R)));
            Check("two colours", Change(ink, (pixel, i) => ((byte)(i % 280 < 140 ? 160 : 0), 0, 0, (byte)(255 - pixel.R))));
            Check("half transparent", Change(ink, (pixel, _) => pixel with { A = 180 }));

            void Check(string kind, byte[] rgba)
            {
                byte[] image = new byte[784];
                DigitPicture.Read(rgba, 280, 280, image);
                if (network.Read(image).Digit != Digits.Labels[row])
                {
                    wrong.Add($"{kind}: digit {row}");
                }
            }
        }

        Assert.True(wrong.Count <= 1, string.Join("; ", wrong));
        Assert.Throws<InputException>(() => DigitPicture.Read(new byte[4 * 100], 10, 10, new byte[784])); // nothing is visible
        Assert.Throws<InputException>(() =>
            DigitPicture.Read(Change(new byte[4 * 1600], (_, i) => (0, 0, 0, (byte)(i == 0 ? 0 : 255))), 40, 40, new byte[784]));

        static bool Corner(int i) => Math.Min(i % 280, 279 - i % 280) + Math.Min(i / 280, 279 - i / 280) < 30;
    }

    [Fact]
    public void Pictures_that_went_wrong_are_read_rightly()
    {
        (DigitClassifier network, _) = Reader.Value;
        List<string> wrong = [];
        foreach (string folder in new[] { "gray-paper", "thin-pen", "one-transparent-pixel" })
        {
            foreach (string file in Directory.GetFiles(Path.GetDirectoryName(SharedFiles.Path($"cases/{folder}/README"))!, "*.png"))
            {
                string name = Path.GetFileName(file);
                int digit = name.StartsWith("digit-", StringComparison.Ordinal) ? name["digit-".Length] - '0'
                    : 2; // the third case is a two
                byte[] image = new byte[784];
                Assert.True(PictureFile.Read(File.ReadAllBytes(file), image));
                if (network.Read(image).Digit is int read && read != digit)
                {
                    wrong.Add(string.Create(CultureInfo.InvariantCulture, $"{name} as {read}"));
                }
            }
        }

        Assert.Empty(wrong);
        foreach (string gray in new[] { "g80.png", "gf0.png" })
        {
            byte[] png = File.ReadAllBytes(SharedFiles.Path($"cases/uniform-gray/{gray}"));
            Assert.Contains("blank", Assert.Throws<InputException>(() => PictureFile.Read(png, new byte[784])).Message,
                StringComparison.Ordinal);
        }
    }

    /// <summary>Whether a place, 0 … 1 across and down a picture of 640×480, lies on a sheet that is turned by 7 degrees.</summary>
    private static bool OnTurnedSheet(float u, float v) =>
        Math.Abs(640 * (u - 0.5f) + 60 * (v - 0.5f)) < 210 && Math.Abs(480 * (v - 0.5f) - 80 * (u - 0.5f)) < 165;

    private static Sheet Anywhere(Sheet sheet, ReadOnlySpan<byte> digit, Vector3 ink, Random random, int size = 168, int least = 0) =>
        sheet.Draw(ink, digit, size, random.Next(least, sheet.Width - size), random.Next(sheet.Height - size));

    private static byte[] Change(byte[] rgba, Func<(byte R, byte G, byte B, byte A), int, (byte R, byte G, byte B, byte A)> change)
    {
        byte[] changed = new byte[rgba.Length];
        for (int i = 0; i < rgba.Length; i += 4)
        {
            (changed[i], changed[i + 1], changed[i + 2], changed[i + 3]) = change((rgba[i], rgba[i + 1], rgba[i + 2], rgba[i + 3]), i / 4);
        }

        return changed;
    }

    private static (DigitClassifier, int[]) Train()
    {
        DigitDataset some = new("some digits", Digits.Pixels[..(20_000 * 784)].ToArray(), Digits.Labels[..20_000].ToArray());
        TrainingOptions options = TrainingOptions.For("simple") with { Epochs = 2 };
        DigitClassifier network = new(DigitTrainer.Train(some, options, new DeviceOptions { Device = "cpu" }).Weights);
        return (network, [.. Enumerable.Range(20_000, 2_000)
            .Where(row => network.Read(Digits.Image(row)) is var read && read.Digit == Digits.Labels[row] && read.Probability > 0.98f)
            .Take(Count)]);
    }
}
