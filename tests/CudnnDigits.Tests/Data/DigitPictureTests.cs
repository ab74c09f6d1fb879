using System.Numerics;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Serve;

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
            Assert.False(PictureFile.Read(png, image));
            Assert.Equal(Digits.Image(row).ToArray().Select(pixel => PngFiles.Quantize(pixel, bitDepth)), image);
        }
    }

    [Fact]
    public void What_we_write_as_png_reads_back()
    {
        byte[] image = new byte[784];
        PictureFile.Read(Picture.ToPng(Digits.Image(5), 28, 28), image);
        Assert.Equal(Digits.Image(5).ToArray(), image);
    }

    [Fact]
    public void Dark_ink_on_light_paper_and_ink_on_glass_are_the_same_digit()
    {
        byte[] ink = Digits.Image(7).ToArray(), image = new byte[784];
        PictureFile.Read(PngFiles.Write([.. ink.Select(pixel => (byte)(255 - pixel))], 28), image);
        Assert.Equal(ink, image);
        foreach (byte colour in new byte[] { 0, 255 }) // black or white strokes on a transparent canvas
        {
            PictureFile.Read(PngFiles.Write([.. Enumerable.Repeat(colour, 784)], 28, PngFiles.Rgba, alpha: ink), image);
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

            Assert.True(PictureFile.Read(PngFiles.Write(sheet, width), image));
            byte[] digit = Digits.Image(row).ToArray(); // in any contrast; the picture's is brought to full
            double alike = Product(image, digit) / Math.Sqrt(Product(image, image) * Product(digit, digit));
            Assert.True(alike > 0.88, $"digit {row}: {alike:F3}");
            Centred(image);
        }
    }

    private static double Product(byte[] a, byte[] b) => a.Zip(b, (x, y) => (double)x * y).Sum();

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
        { "no width", "0×28 pixels" },
        { "bomb", "unpacks to more" },
        { "zlib", "damaged" },
        { "short", "damaged: it unpacks to less" },
        { "dictionary", "damaged" },
        { "blank", "blank" },
        { "blank28", "blank" },

        // The kinds of PngSuite's files that no reader should take: xs1, xs2, xs4, xs7, xcr, xlf, xhd, xc1, xc9, xd0, xd3, xd9, xdt, xcs.
        { "signature: first bit", "not a PNG" },
        { "signature: Q for P", "not a PNG" },
        { "signature: small g", "not a PNG" },
        { "signature: space for LF", "not a PNG" },
        { "signature: CR added", "not a PNG" },
        { "signature: LF added", "not a PNG" },
        { "header checksum", "the checksum (CRC) of its chunk IHDR is wrong" },
        { "colour type 1", "there is no colour type 1 of 8 bits" },
        { "colour type 9", "there is no colour type 9 of 8 bits" },
        { "depth 0", "there is no colour type 0 of 0 bits" },
        { "depth 3", "there is no colour type 0 of 3 bits" },
        { "depth 99", "there is no colour type 0 of 99 bits" },
        { "no pixels", "it has no pixels" },
        { "pixel checksum", "the checksum (CRC) of its chunk IDAT is wrong" },

        { "colour type 2 of 4 bits", "there is no colour type 2 of 4 bits" },
        { "colour type 3 of 16 bits", "there is no colour type 3 of 16 bits" },
        { "compression", "there is no compression 1" },
        { "filter method", "filter method 1" },
        { "interlacing", "interlacing 2" },
        { "text checksum", "the checksum (CRC) of its chunk tEXt is wrong" },
        { "IHDR twice", "two chunks IHDR" },
        { "IHDR of 14 bytes", "its chunk IHDR has 14 bytes" },
        { "IDAT apart", "not in one row" },
        { "IEND missing", "cut off" },
        { "IEND with content", "its chunk IEND is not empty" },
        { "unknown critical", "its chunk NEWS is unknown" },
        { "chunk without a name", "a chunk has no name" },
        { "palette missing", "its palette is missing" },
        { "palette late", "its chunk PLTE is out of place" },
        { "palette twice", "its chunk PLTE is out of place" },
        { "palette of grey", "its chunk PLTE is out of place" },
        { "palette of 4 bytes", "its palette has 4 bytes" },
        { "palette too long", "its palette has 9 bytes" },
        { "palette too short", "a pixel's colour is not in its palette" },
        { "transparency too long", "its chunk tRNS has 3 bytes" },
        { "transparency late", "its chunk tRNS is out of place" },
        { "transparency of alpha", "its chunk tRNS is out of place" },
        { "row filter 5", "there is no such row filter" },
        { "a row more", "it unpacks to more than its pixels" },
        { "a row less", "it unpacks to less than its pixels" },
        { "Adler-32", "its compressed data" },
        { "Adler-32 cut off", "its compressed data is cut off" },
        { "Adler-32 missing", "its compressed data is cut off" },
    };

    [Theory]
    [MemberData(nameof(BadPngs))]
    public void A_bad_png_is_refused_in_one_line(string kind, string says)
    {
        ArgumentNullException.ThrowIfNull(kind);
        byte[] good = PngFiles.Write(Digits.Image(0), 28), rows = PngFiles.Pixels(good), packed = PngFiles.Pack(rows), text = "Author\0somebody"u8.ToArray();
        byte[] twoColors = PngFiles.Write(Digits.Image(0), 28, PngFiles.Palette, 1), withAlpha = PngFiles.Write(Digits.Image(0), 28, PngFiles.GreyAlpha);
        List<(string Type, byte[] Content)> chunks = PngFiles.Chunks(good);
        (string, byte[]) header = chunks[0], pixels = chunks[1], end = chunks[2], transparent = ("tRNS", new byte[2]), palette = ("PLTE", [0, 0, 0, 255, 255, 255]);
        byte[] bad = kind switch
        {
            "text" => "hello, world: this is text, not a picture, and long enough"u8.ToArray(),
            "header" => good[..20],
            "cut" => good[..^20],
            "length" => [.. good[..33], 0x7F, 0xFF, 0xFF, 0xFF, .. good[37..]],
            "huge" => [.. good[..16], 1, 0, 0, 0, .. good[20..]],
            "no width" => WithHeader(3, 0),
            "bomb" => WithPixels(PngFiles.Pack(new byte[5_000_000])),
            "zlib" => WithPixels([1, 2, 3, 4, 5]),
            "dictionary" => WithPixels([0x78, 0xBB, 1, 2, 3, 4, 5, 6]),
            "short" => WithPixels(PngFiles.Pack(new byte[100])),
            "blank" => PngFiles.Write(new byte[2000], 50),
            "blank28" => PngFiles.Write(new byte[784], 28),
            "signature: first bit" => [(byte)(good[0] & 0x7F), .. good[1..]],
            "signature: Q for P" => [good[0], (byte)'Q', .. good[2..]],
            "signature: small g" => [.. good[..3], (byte)'g', .. good[4..]],
            "signature: space for LF" => [.. good[..7], (byte)' ', .. good[8..]],
            "signature: CR added" => [.. good[..5], 13, .. good[5..]],
            "signature: LF added" => [.. good[..7], 10, .. good[7..]],
            "header checksum" => Flipped(32),
            "colour type 1" => WithHeader(9, 1),
            "colour type 9" => WithHeader(9, 9),
            "depth 0" => WithHeader(8, 0),
            "depth 3" => WithHeader(8, 3),
            "depth 99" => WithHeader(8, 99),
            "no pixels" => PngFiles.Join(header, end),
            "pixel checksum" => Flipped(good.Length - 13),
            "colour type 2 of 4 bits" => PngFiles.Join(("IHDR", [.. header.Item2[..8], 4, 2, 0, 0, 0]), pixels, end),
            "colour type 3 of 16 bits" => PngFiles.Join(("IHDR", [.. header.Item2[..8], 16, 3, 0, 0, 0]), palette, pixels, end),
            "compression" => WithHeader(10, 1),
            "filter method" => WithHeader(11, 1),
            "interlacing" => WithHeader(12, 2),
            "text checksum" => PngFiles.Join(header, ("tEXt", text), pixels, end) is var file ? [.. file[..50], (byte)(file[50] ^ 1), .. file[51..]] : [],
            "IHDR twice" => PngFiles.Join(header, header, pixels, end),
            "IHDR of 14 bytes" => PngFiles.Join(("IHDR", [.. header.Item2, 0]), pixels, end),
            "IDAT apart" => PngFiles.Join(header, ("IDAT", packed[..50]), ("tEXt", text), ("IDAT", packed[50..]), end),
            "IEND missing" => PngFiles.Join(header, pixels),
            "IEND with content" => PngFiles.Join(header, pixels, ("IEND", text)),
            "unknown critical" => PngFiles.Join(header, ("NEWS", text), pixels, end),
            "chunk without a name" => PngFiles.Join(header, ("te t", text), pixels, end),
            "palette missing" => PngFiles.Join(PngFiles.Chunks(twoColors).Where(chunk => chunk.Type != "PLTE")),
            "palette late" => PngFiles.Join(PngFiles.Chunks(PngFiles.Write(Digits.Image(0), 28, PngFiles.Rgb)).SelectMany(chunk => chunk.Type == "IDAT" ? [chunk, palette] : new[] { chunk })),
            "palette twice" => WithPalette(palette, palette),
            "palette of grey" => PngFiles.Join(header, palette, pixels, end),
            "palette of 4 bytes" => WithPalette(("PLTE", new byte[4])),
            "palette too long" => WithPalette(("PLTE", new byte[9])),
            "palette too short" => WithPalette(("PLTE", new byte[3])),
            "transparency too long" => WithPalette(palette, ("tRNS", new byte[3])),
            "transparency late" => PngFiles.Join(header, pixels, transparent, end),
            "transparency of alpha" => PngFiles.Join(PngFiles.Chunks(withAlpha).SelectMany(chunk => chunk.Type == "IDAT" ? [transparent, chunk] : new[] { chunk })),
            "row filter 5" => WithPixels(PngFiles.Pack([5, .. rows[1..]])),
            "a row more" => WithPixels(PngFiles.Pack([.. rows, .. rows[..29]])),
            "a row less" => WithPixels(PngFiles.Pack(rows[..^29])),
            "Adler-32" => WithPixels([.. packed[..^1], (byte)(packed[^1] ^ 1)]),
            "Adler-32 cut off" => WithPixels(packed[..^1]),
            _ => WithPixels(packed[..^4]),
        };
        Assert.Contains(says, Assert.Throws<InputException>(() => PictureFile.Read(bad, new byte[784])).Message, StringComparison.Ordinal);

        byte[] WithPixels(byte[] data) => PngFiles.WithPixels(good, data);

        byte[] WithHeader(int at, byte value) => PngFiles.Join(("IHDR", [.. header.Item2[..at], value, .. header.Item2[(at + 1)..]]), pixels, end);

        byte[] WithPalette(params (string, byte[])[] instead) => PngFiles.Join(PngFiles.Chunks(twoColors).SelectMany(chunk => chunk.Type == "PLTE" ? instead : [chunk]));

        byte[] Flipped(int at) => [.. good[..at], (byte)(good[at] ^ 1), .. good[(at + 1)..]];
    }

    [Fact]
    public void Bytes_after_the_end_of_a_png_are_ignored()
    {
        byte[] png = PngFiles.Write(Digits.Image(0), 28), image = new byte[784];
        foreach (byte[] more in new byte[][] { [10], new byte[512], png, png[8..] })
        {
            PictureFile.Read([.. png, .. more], image);
            Assert.Equal(Digits.Image(0).ToArray(), image);
        }
    }

    /// <summary>
    /// An animation's chunks, a text in every language, a picture in 100,000 pieces: none of the reader's business, and no work
    /// for it.
    /// </summary>
    [Fact]
    public void Chunks_that_do_not_matter_are_passed_over_however_many()
    {
        List<(string Type, byte[] Content)> chunks = PngFiles.Chunks(PngFiles.Write(Digits.Image(0), 28));
        byte[] packed = chunks[1].Content, image = new byte[784];
        IEnumerable<(string, byte[])> many =
        [
            chunks[0], ("acTL", new byte[8]), ("fcTL", new byte[26]), .. Enumerable.Repeat(("tEXt", "a\0b"u8.ToArray()), 50_000),
            .. packed.Select(one => ("IDAT", new[] { one })), .. Enumerable.Repeat(("IDAT", Array.Empty<byte>()), 50_000), ("fcTL", new byte[26]), ("fdAT", packed), chunks[2],
        ];
        byte[] png = PngFiles.Join(many);
        long before = GC.GetAllocatedBytesForCurrentThread();
        PictureFile.Read(png, image);
        Assert.Equal(Digits.Image(0).ToArray(), image);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 8 << 20);
    }

    /// <summary>
    /// A few thousand bytes that state as many pixels as a picture may have: memory for those, several times over, and no more.
    /// </summary>
    [Fact]
    public void A_tiny_file_of_a_large_picture_takes_memory_for_its_pixels()
    {
        byte[] png = PngFiles.Write(new byte[PictureFile.MostSide * PictureFile.MostSide], PictureFile.MostSide, PngFiles.Palette, 1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<InputException>(() => PictureFile.Read(png, new byte[784]));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 24 << 20);
    }

    public static TheoryData<string> Cases => ["png-bad-crc/idat_crc.png", "png-trailing-bytes/trailing_newline.png", "png-trailing-bytes/trailing_zeros.png"];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Cases_that_went_wrong_go_right(string file)
    {
        byte[] png = File.ReadAllBytes(SharedFiles.Path($"cases/{file}")), image = new byte[784];
        Exception? refused = Record.Exception(() => PictureFile.Read(png, image));
        Assert.Equal(file.Contains("bad", StringComparison.Ordinal), refused is InputException e && e.Message.Contains("CRC", StringComparison.Ordinal));
        Assert.Equal(refused is null, image.AsSpan().ContainsAnyExcept((byte)0));
    }

    private static void Centred(byte[] image)
    {
        double mass = image.Sum(pixel => (double)pixel);
        Assert.Equal(13.5, image.Select((pixel, i) => pixel * (i % 28)).Sum() / mass, 0.6);
        Assert.Equal(13.5, image.Select((pixel, i) => pixel * (i / 28)).Sum() / mass, 0.6);
    }
}
