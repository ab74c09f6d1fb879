using System.Numerics;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Serve;
using CudnnDigits.Data;
using CudnnDigits.Tests.Reference;

namespace CudnnDigits.Tests.Data;

/// <summary>Pictures from elsewhere: PNGs of every kind, strokes, and what is not a picture at all.</summary>
public sealed class DigitPictureTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(40, seed: 3);

    public static TheoryData<int, int, bool> Kinds
    {
        get
        {
            TheoryData<int, int, bool> kinds = [];
            foreach ((int color, int depth) in PngFiles.Kinds)
            {
                kinds.Add(color, depth, false);
                kinds.Add(color, depth, true);
            }

            return kinds;
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_kind_of_png_is_read(int colorType, int bitDepth, bool interlaced)
    {
        for (int row = 0; row < 10; row++)
        {
            byte[] image = new byte[784], png = PngFiles.Write(Digits.Image(row), 28, colorType, bitDepth, interlaced);
            Assert.False(PngPicture.Read(png, image));
            Assert.Equal(Digits.Image(row).ToArray().Select(pixel => PngFiles.Quantize(pixel, bitDepth)), image);
        }
    }

    [Fact]
    public void What_we_write_as_png_reads_back()
    {
        byte[] image = new byte[784];
        PngPicture.Read(Picture.ToPng(Digits.Image(5), 28, 28), image);
        Assert.Equal(Digits.Image(5).ToArray(), image);
    }

    [Fact]
    public void Dark_ink_on_light_paper_and_ink_on_glass_are_the_same_digit()
    {
        byte[] ink = Digits.Image(7).ToArray(), image = new byte[784];
        PngPicture.Read(PngFiles.Write([.. ink.Select(pixel => (byte)(255 - pixel))], 28), image);
        Assert.Equal(ink, image);
        foreach (byte colour in new byte[] { 0, 255 }) // black or white strokes on a transparent canvas
        {
            PngPicture.Read(PngFiles.Write([.. Enumerable.Repeat(colour, 784)], 28, PngFiles.Rgba, alpha: ink), image);
            Assert.Equal(ink, image);
        }
    }

    /// <summary>A digit drawn ten times as large, anywhere on a sheet, comes back as it was, but for what rounding to whole pixels of the box costs.</summary>
    [Theory]
    [InlineData(400, 300, 60, 5)]
    [InlineData(1000, 700, 500, 300)]
    public void A_large_picture_is_normalised_as_mnist_is(int width, int height, int left, int top)
    {
        for (int row = 0; row < 20; row++)
        {
            byte[] sheet = new byte[width * height], image = new byte[784];
            for (int y = 0; y < 280; y++)
            {
                for (int x = 0; x < 280; x++)
                {
                    sheet[(y + top) * width + x + left] = Digits.Image(row)[y / 10 * 28 + x / 10];
                }
            }

            Assert.True(PngPicture.Read(PngFiles.Write(sheet, width), image));
            double difference = image.Zip(Digits.Image(row).ToArray(), (a, b) => (double)(a - b) * (a - b)).Sum(), power = Digits.Image(row).ToArray().Sum(pixel => (double)pixel * pixel);
            Assert.True(difference < 0.15 * power, $"digit {row}: {difference / power:F3}");
            Centred(image);
        }
    }

    [Fact]
    public void Strokes_are_drawn_fitted_and_centred_whatever_their_unit_and_place()
    {
        Vector2[] seven = [new(0, 0), new(10, 0), new(4, 18)];
        byte[] first = new byte[784], second = new byte[784];
        DigitPicture.Draw([seven], first);
        DigitPicture.Draw([Array.ConvertAll(seven, point => 30 * point + new Vector2(1000, 512))], second);
        Assert.Equal(first, second);
        Centred(first);
        int[] rows = [.. Enumerable.Range(0, 28).Where(y => first.AsSpan(28 * y, 28).ContainsAnyExcept((byte)0))];
        Assert.InRange(rows[^1] - rows[0] + 1, 20, 22);

        DigitPicture.Draw([[new(7e5f, 3)]], second); // a dot
        Centred(second);
        Assert.InRange(second.Count(pixel => pixel > 128), 4, 400);
        Assert.Throws<ArgumentException>(() => DigitPicture.Draw([[]], new byte[784]));
    }

    public static TheoryData<string, string> BadPngs => new()
    {
        { "text", "not a PNG" },
        { "header", "not a PNG" },
        { "cut", "cut off" },
        { "length", "cut off" },
        { "huge", "pixels; expected at most" },
        { "bomb", "unpacks to more" },
        { "zlib", "damaged" },
        { "short", "damaged" },
        { "dictionary", "damaged" },
        { "blank", "blank" },
        { "blank28", "blank" },
        { "depth", "damaged" },
    };

    [Theory]
    [MemberData(nameof(BadPngs))]
    public void A_bad_png_is_refused_in_one_line(string kind, string says)
    {
        byte[] good = PngFiles.Write(Digits.Image(0), 28);
        byte[] bad = kind switch
        {
            "text" => "hello, world: this is text, not a picture, and long enough"u8.ToArray(),
            "header" => good[..20],
            "cut" => good[..^20],
            "length" => [.. good[..33], 0x7F, 0xFF, 0xFF, 0xFF, .. good[37..]],
            "huge" => [.. good[..16], 0, 1, 0, 0, .. good[20..]],
            "bomb" => WithPixels(PngFiles.Pack(new byte[5_000_000])),
            "zlib" => WithPixels([1, 2, 3, 4, 5]),
            "dictionary" => WithPixels([0x78, 0xBB, 1, 2, 3, 4, 5, 6]),
            "short" => WithPixels(PngFiles.Pack(new byte[100])),
            "blank" => PngFiles.Write(new byte[2000], 50),
            "blank28" => PngFiles.Write(new byte[784], 28),
            _ => [.. good[..24], 7, .. good[25..]],
        };
        Assert.Contains(says, Assert.Throws<InputException>(() => PngPicture.Read(bad, new byte[784])).Message, StringComparison.Ordinal);

        byte[] WithPixels(byte[] packed)
        {
            using MemoryStream png = new();
            png.Write(good.AsSpan(0, 33));
            PngFiles.Chunk(png, "IDAT", packed);
            PngFiles.Chunk(png, "IEND", []);
            return png.ToArray();
        }
    }

    [Fact]
    public void Mutated_pngs_are_read_or_refused_but_nothing_else()
    {
        Random random = new(1);
        for (int round = 0; round < 3000; round++)
        {
            (int color, int depth) = PngFiles.Kinds[round % PngFiles.Kinds.Length];
            byte[] png = PngFiles.Write(Digits.Image(round % 40), 28, color, depth, round % 2 == 0);
            for (int i = random.Next(1, 5); i > 0; i--)
            {
                png[random.Next(png.Length)] = (byte)random.Next(256);
            }

            try
            {
                PngPicture.Read(png, new byte[784]);
            }
            catch (InputException)
            {
                // Refused: as good as read.
            }
        }
    }

    private static void Centred(byte[] image)
    {
        double mass = image.Sum(pixel => (double)pixel);
        Assert.Equal(13.5, image.Select((pixel, i) => pixel * (i % 28)).Sum() / mass, 0.6);
        Assert.Equal(13.5, image.Select((pixel, i) => pixel * (i / 28)).Sum() / mass, 0.6);
    }
}
