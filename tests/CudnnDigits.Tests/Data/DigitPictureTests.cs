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

    /// <summary>
    /// A digit drawn ten times as large, anywhere on a sheet, comes back as it was, but for what rounding to whole pixels of the box costs.
    /// </summary>
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

    private static readonly byte[] Good = PngFiles.Write(Digits.Image(0), 28), Rows = PngFiles.Pixels(Good), Packed = PngFiles.Pack(Rows),
    Words = "Author\0somebody"u8.ToArray();

    private static readonly byte[] TwoColors = PngFiles.Write(Digits.Image(0), 28, PngFiles.Palette, 1),
    WithAlpha = PngFiles.Write(Digits.Image(0), 28, PngFiles.GreyAlpha);

    private static readonly (string Type, byte[] Content) Header = PngFiles.Chunks(Good)[0], Pixels = PngFiles.Chunks(Good)[1],
    End = PngFiles.Chunks(Good)[2];

    private static readonly (string Type, byte[] Content) Transparent = ("tRNS", new byte[2]), Palette = ("PLTE", [0, 0, 0, 255, 255, 255]);

    /// <summary>Bad files, and what the one line must say.</summary>
    private static readonly Dictionary<string, (string Says, byte[] File)> BadPngs = new()
    {
        ["text"] = ("not a PNG", "hello, world: this is text, not a picture, and long enough"u8.ToArray()),
        ["header"] = ("not a PNG", Good[..20]),
        ["cut"] = ("cut off", Good[..^20]),
        ["length"] = ("cut off", [.. Good[..33], 0x7F, 0xFF, 0xFF, 0xFF, .. Good[37..]]),
        ["huge"] = ("pixels; expected at most", [.. Good[..16], 1, 0, 0, 0, .. Good[20..]]),
        ["no width"] = ("0×28 pixels", WithHeader(3, 0)),
        ["bomb"] = ("unpacks to more", WithPixels(PngFiles.Pack(new byte[5_000_000]))),
        ["zlib"] = ("damaged", WithPixels([1, 2, 3, 4, 5])),
        ["short"] = ("damaged: it unpacks to less", WithPixels(PngFiles.Pack(new byte[100]))),
        ["dictionary"] = ("damaged", WithPixels([0x78, 0xBB, 1, 2, 3, 4, 5, 6])),
        ["blank"] = ("blank", PngFiles.Write(new byte[2000], 50)),
        ["blank28"] = ("blank", PngFiles.Write(new byte[784], 28)),
        // The kinds of files of PngSuite that no reader should take: xs1, xs2, xs4, xs7, xcr, xlf, xhd, xc1, xc9, xd0, xd3, xd9, xdt, xcs.
        ["signature: first bit"] = ("not a PNG", [(byte)(Good[0] & 0x7F), .. Good[1..]]),
        ["signature: Q for P"] = ("not a PNG", [Good[0], (byte)'Q', .. Good[2..]]),
        ["signature: small g"] = ("not a PNG", [.. Good[..3], (byte)'g', .. Good[4..]]),
        ["signature: space for LF"] = ("not a PNG", [.. Good[..7], (byte)' ', .. Good[8..]]),
        ["signature: CR added"] = ("not a PNG", [.. Good[..5], 13, .. Good[5..]]),
        ["signature: LF added"] = ("not a PNG", [.. Good[..7], 10, .. Good[7..]]),
        ["header checksum"] = ("the checksum (CRC) of its chunk IHDR is wrong", Flipped(Good, 32)),
        ["colour type 1"] = ("there is no colour type 1 of 8 bits", WithHeader(9, 1)),
        ["colour type 9"] = ("there is no colour type 9 of 8 bits", WithHeader(9, 9)),
        ["depth 0"] = ("there is no colour type 0 of 0 bits", WithHeader(8, 0)),
        ["depth 3"] = ("there is no colour type 0 of 3 bits", WithHeader(8, 3)),
        ["depth 99"] = ("there is no colour type 0 of 99 bits", WithHeader(8, 99)),
        ["no pixels"] = ("it has no pixels", PngFiles.Join(Header, End)),
        ["pixel checksum"] = ("the checksum (CRC) of its chunk IDAT is wrong", Flipped(Good, Good.Length - 13)),
        ["colour type 2 of 4 bits"] =
            ("there is no colour type 2 of 4 bits", PngFiles.Join(("IHDR", [.. Header.Content[..8], 4, 2, 0, 0, 0]), Pixels, End)),
        ["colour type 3 of 16 bits"] =
            ("there is no colour type 3 of 16 bits",
            PngFiles.Join(("IHDR", [.. Header.Content[..8], 16, 3, 0, 0, 0]), Palette, Pixels, End)),
        ["compression"] = ("there is no compression 1", WithHeader(10, 1)),
        ["filter method"] = ("filter method 1", WithHeader(11, 1)),
        ["interlacing"] = ("interlacing 2", WithHeader(12, 2)),
        ["text checksum"] = ("the checksum (CRC) of its chunk tEXt is wrong",
            Flipped(PngFiles.Join(Header, ("tEXt", Words), Pixels, End), 50)),
        ["IHDR twice"] = ("two chunks IHDR", PngFiles.Join(Header, Header, Pixels, End)),
        ["IHDR of 14 bytes"] = ("its chunk IHDR has 14 bytes", PngFiles.Join(("IHDR", [.. Header.Content, 0]), Pixels, End)),
        ["IDAT apart"] = ("not in one row", PngFiles.Join(Header, ("IDAT", Packed[..50]), ("tEXt", Words), ("IDAT", Packed[50..]), End)),
        ["IEND missing"] = ("cut off", PngFiles.Join(Header, Pixels)),
        ["IEND with content"] = ("its chunk IEND is not empty", PngFiles.Join(Header, Pixels, ("IEND", Words))),
        ["unknown critical"] = ("its chunk NEWS is unknown", PngFiles.Join(Header, ("NEWS", Words), Pixels, End)),
        ["chunk without a name"] = ("a chunk has no name", PngFiles.Join(Header, ("te t", Words), Pixels, End)),
        ["palette missing"] = ("its palette is missing", PngFiles.Join(PngFiles.Chunks(TwoColors).Where(chunk => chunk.Type != "PLTE"))),
        ["palette late"] = ("its chunk PLTE is out of place",
            PngFiles.Join(PngFiles.Chunks(PngFiles.Write(Digits.Image(0), 28, PngFiles.Rgb))
            .SelectMany(chunk => chunk.Type == "IDAT" ? [chunk, Palette] : new[] { chunk }))),
        ["palette twice"] = ("its chunk PLTE is out of place", WithPalette(Palette, Palette)),
        ["palette of grey"] = ("its chunk PLTE is out of place", PngFiles.Join(Header, Palette, Pixels, End)),
        ["palette of 4 bytes"] = ("its palette has 4 bytes", WithPalette(("PLTE", new byte[4]))),
        ["palette too long"] = ("its palette has 9 bytes", WithPalette(("PLTE", new byte[9]))),
        ["palette too short"] = ("a pixel's colour is not in its palette", WithPalette(("PLTE", new byte[3]))),
        ["transparency too long"] = ("its chunk tRNS has 3 bytes", WithPalette(Palette, ("tRNS", new byte[3]))),
        ["transparency late"] = ("its chunk tRNS is out of place", PngFiles.Join(Header, Pixels, Transparent, End)),
        ["transparency of alpha"] =
            ("its chunk tRNS is out of place",
            PngFiles.Join(PngFiles.Chunks(WithAlpha).SelectMany(chunk => chunk.Type == "IDAT" ? [Transparent, chunk] : new[] { chunk }))),
        ["row filter 5"] = ("there is no such row filter", WithPixels(PngFiles.Pack([5, .. Rows[1..]]))),
        ["a row more"] = ("it unpacks to more than its pixels", WithPixels(PngFiles.Pack([.. Rows, .. Rows[..29]]))),
        ["a row less"] = ("it unpacks to less than its pixels", WithPixels(PngFiles.Pack(Rows[..^29]))),
        ["Adler-32"] = ("its compressed data", WithPixels([.. Packed[..^1], (byte)(Packed[^1] ^ 1)])),
        ["Adler-32 cut off"] = ("its compressed data is cut off", WithPixels(Packed[..^1])),
        ["Adler-32 missing"] = ("its compressed data is cut off", WithPixels(Packed[..^4])),
    };

    public static TheoryData<string> BadPngNames => [.. BadPngs.Keys];

    [Theory]
    [MemberData(nameof(BadPngNames))]
    public void A_bad_png_is_refused_in_one_line(string kind) =>
        Assert.Contains(BadPngs[kind].Says,
            Assert.Throws<InputException>(() => PictureFile.Read(BadPngs[kind].File, new byte[784])).Message, StringComparison.Ordinal);

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
            .. packed.Select(one => ("IDAT", new[] { one })), .. Enumerable.Repeat(("IDAT", Array.Empty<byte>()), 50_000),
            ("fcTL", new byte[26]), ("fdAT", packed), chunks[2],
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

    public static TheoryData<string> Cases =>
        ["png-bad-crc/idat_crc.png", "png-trailing-bytes/trailing_newline.png", "png-trailing-bytes/trailing_zeros.png"];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Cases_that_went_wrong_go_right(string file)
    {
        byte[] png = File.ReadAllBytes(SharedFiles.Path($"cases/{file}")), image = new byte[784];
        Exception? refused = Record.Exception(() => PictureFile.Read(png, image));
        Assert.Equal(file.Contains("bad", StringComparison.Ordinal), refused is InputException e
            && e.Message.Contains("CRC", StringComparison.Ordinal));
        Assert.Equal(refused is null, image.AsSpan().ContainsAnyExcept((byte)0));
    }

    private static byte[] WithPixels(byte[] data) => PngFiles.WithPixels(Good, data);

    private static byte[] WithHeader(int at, byte value) => PngFiles.Join(("IHDR", With(Header.Content, at, value)), Pixels, End);

    private static byte[] WithPalette(params (string, byte[])[] instead) =>
        PngFiles.Join(PngFiles.Chunks(TwoColors).SelectMany(chunk => chunk.Type == "PLTE" ? instead : [chunk]));

    private static byte[] Flipped(byte[] file, int at) => With(file, at, (byte)(file[at] ^ 1));

    private static byte[] With(byte[] file, int at, byte value) => [.. file[..at], value, .. file[(at + 1)..]];

    private static void Centred(byte[] image)
    {
        double mass = image.Sum(pixel => (double)pixel);
        Assert.Equal(13.5, image.Select((pixel, i) => pixel * (i % 28)).Sum() / mass, 0.6);
        Assert.Equal(13.5, image.Select((pixel, i) => pixel * (i / 28)).Sum() / mass, 0.6);
    }
}
