using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Tests.Data;

/// <summary>
/// Photographs and other JPEGs: every kind, however the camera was held, and what is damaged or made to keep a reader busy.
/// </summary>
public sealed class JpegTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(10, seed: 3);

    public static TheoryData<string> Kinds =>
        ["baseline.jpg", "full-colour.jpg", "progressive.jpg", "grey.jpg", "restarts.jpg", "sampling.jpg"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_usual_kind_of_jpeg_is_read_as_the_png_of_the_same_picture(string name)
    {
        (byte[] expected, int width, int height) = PictureFile.Decode(JpegFiles.Read("seven.png"));
        (byte[] rgba, int ownWidth, int ownHeight) = PictureFile.Decode(JpegFiles.Read(name));
        Assert.Equal((width, height), (ownWidth, ownHeight));
        Assert.InRange(Enumerable.Range(0, width * height).Average(i => Math.Abs(Brightness(rgba, i) - Brightness(expected, i))), 0, 2);
        Assert.All(Enumerable.Range(0, width * height), i => Assert.Equal(255, rgba[4 * i + 3]));
        Assert.True(PictureFile.Read(JpegFiles.Read(name), new byte[784]));

        static double Brightness(byte[] pixels, int i) => 0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2];
    }

    /// <summary>Red ink on green paper of the same brightness.</summary>
    [Fact]
    public void Ink_in_a_photograph_may_differ_by_its_colour_alone()
    {
        byte[] expected = new byte[784], image = new byte[784];
        PictureFile.Read(JpegFiles.Read("seven.png"), expected);
        PictureFile.Read(JpegFiles.Read("red-on-green.jpg"), image);
        Assert.InRange(image.Zip(expected, (one, other) => Math.Abs(one - other)).Average(), 0, 8);
    }

    [Theory]
    [InlineData("printing.jpg", "a JPEG in printing colours (CMYK); save it again in RGB")]
    [InlineData("arithmetic.jpg", "a JPEG with arithmetic coding; save it again")]
    public void Rare_kinds_of_jpeg_are_refused_by_their_name(string name, string says) => AssertRefused(says, JpegFiles.Read(name));

    /// <summary>Where pixel (x, y) of the scene lies in the file, by Exif's orientation.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(0)] // unknown: as it is
    [InlineData(9)]
    public void A_photograph_is_turned_as_the_camera_was_held(int orientation)
    {
        const int Width = 64, Height = 96;
        byte[] scene = new byte[Width * Height];
        for (int i = 0; i < scene.Length; i++)
        {
            scene[i] = (byte)((i % Width < 16 ? 0 : 120) + (i / Width < 16 ? 0 : 110)); // differs in all four corners, along both sides
        }

        bool turned = orientation is >= 5 and <= 8;
        (int width, int height) = turned ? (Height, Width) : (Width, Height);
        byte[] file = new byte[scene.Length];
        for (int y = 0; y < Height; y++)
        {
            for (int x = 0; x < Width; x++)
            {
                // Exif: what the file's row 0 and column 0 are in the scene.
                (int column, int row) = orientation switch
                {
                    2 => (Width - 1 - x, y), // top, right
                    3 => (Width - 1 - x, Height - 1 - y), // bottom, right
                    4 => (x, Height - 1 - y), // bottom, left
                    5 => (y, x), // left, top
                    6 => (y, Width - 1 - x), // right, top
                    7 => (Height - 1 - y, Width - 1 - x), // right, bottom
                    8 => (Height - 1 - y, x), // left, bottom
                    _ => (x, y),
                };
                file[row * width + column] = scene[y * Width + x];
            }
        }

        byte[] jpeg = JpegFiles.Write(file, width, height);
        foreach ((bool little, bool isLong) in new[] { (true, false), (false, false), (true, true), (false, true) })
        {
            AssertScene(JpegFiles.WithOrientation(jpeg, (uint)orientation, little, isLong), 3);
            (string, byte[]) exif = ("eXIf", JpegFiles.Exif((uint)orientation, little, isLong));
            foreach (byte[] png in new[] { PngFiles.Write(file, width), PngFiles.Write(file, width, PngFiles.Rgba, alpha: file) })
            {
                List<(string Type, byte[] Content)> chunks = PngFiles.Chunks(png);
                AssertScene(PngFiles.Join([chunks[0], exif, .. chunks[1..]]), 0);
                byte[] rgba = AssertScene(PngFiles.Join([.. chunks[..^1], exif, chunks[^1]]), 0);
                Assert.All(Enumerable.Range(0, scene.Length),
                    i => Assert.Equal(png[25] == PngFiles.Rgba ? scene[i] : 255, rgba[4 * i + 3]));
            }
        }

        byte[] AssertScene(byte[] picture, double most)
        {
            (byte[] rgba, int ownWidth, int ownHeight) = PictureFile.Decode(picture);
            Assert.Equal((Width, Height), (ownWidth, ownHeight));
            Assert.InRange(Enumerable.Range(0, scene.Length).Average(i => Math.Abs(rgba[4 * i] - scene[i])), 0, most);
            return rgba;
        }
    }

    [Theory]
    [InlineData(1u, 6u, false)]
    [InlineData(6u, 1u, true)]
    [InlineData(0u, 6u, true)] // what makes no sense says nothing
    public void Of_two_orientations_the_first_counts(uint first, uint second, bool turned)
    {
        byte[] jpeg = JpegFiles.WithOrientation(JpegFiles.WithOrientation(JpegFiles.Write(new byte[64 * 96], 64, 96), second, false), first,
            true);
        Assert.Equal(turned ? 96 : 64, PictureFile.Decode(jpeg).Width);
    }

    [Fact]
    public void A_photograph_of_twelve_million_pixels_is_read_in_little_memory_and_as_the_small_one_is()
    {
        byte[] small = Scaled(15), large = Scaled(150), fromSmall = new byte[784], fromLarge = new byte[784];
        byte[] photograph = JpegFiles.Write(large[..(4200 * 2800)], 4200, 2800, quality: 50); // the upper part
        Assert.True(PictureFile.Claim(photograph).Memory is > 30 << 20 and < PictureFormat.MostMemory);
        long before = GC.GetAllocatedBytesForCurrentThread();
        (_, int width, int height) = PictureFile.Decode(photograph);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, PictureFile.Claim(photograph).Memory);
        Assert.Equal((840, 560), (width, height));
        AssertRefused("a picture of 6000×4000 pixels; expected at most ", JpegFiles.WithSize(photograph, 6000, 4000));

        PictureFile.Read(JpegFiles.Write(Scaled(100), 2800, 2800), fromLarge);
        PictureFile.Read(JpegFiles.Write(small, 420, 420), fromSmall);
        Assert.InRange(fromLarge.Zip(fromSmall, (one, other) => Math.Abs(one - other)).Average(), 0, 6);

        static byte[] Scaled(int by) =>
            [.. Enumerable.Range(0, 28 * by * 28 * by)
            .Select(i => (byte)(255 - Digits.Image(7)[i / (28 * by) / by * 28 + i % (28 * by) / by]))];
    }

    private static readonly byte[] Good = JpegFiles.Read("grey.jpg");

    private static readonly int Frame = JpegFiles.Find(Good, 0xC0), Scan = JpegFiles.Find(Good, 0xDA), Codes = JpegFiles.Find(Good, 0xC4),
    Steps = JpegFiles.Find(Good, 0xDB), Length = 2 + Good[Frame + 3];

    /// <summary>Bad files, and what the one line must say.</summary>
    private static readonly Dictionary<string, (string Says, byte[] File)> BadJpegs = new()
    {
        ["cut in the pixels"] = ("cut off", Good[..(Scan + 100)]),
        ["cut in the tables"] = ("cut off", Good[..(Codes + 10)]),
        ["no end"] = ("cut off", Good[..^2]),
        ["start only"] = ("cut off", Good[..3]),
        ["no pixels"] = ("pixels are missing", [.. Good[..Scan], 0xFF, 0xD9]),
        ["no tables"] = ("a table of codes (DHT) is missing", [.. Good[..Codes], .. Good[Scan..]]),
        ["no steps"] = ("a table of steps (DQT) is missing", [.. Good[..Steps], .. Good[Frame..]]),
        ["two frames"] = ("it has two frames", [.. Good[..Frame], .. Good[Frame..(Frame + Length)], .. Good[Frame..]]),
        ["12 bits"] = ("a JPEG of 12 bits a colour", With(Frame + 4, 12)),
        ["no width"] = ("a picture of 0×120 pixels", JpegFiles.WithSize(Good, 0, 120)),
        ["huge"] = ("a picture of 65535×65535 pixels; expected at most", JpegFiles.WithSize(Good, 65535, 65535)),
        ["segment without length"] = ("a segment has no length", [.. Good[..2], 0xFF, 0xE0, 0, 1, .. Good[2..]]),
        ["overfull codes"] = ("a table of codes (DHT) is damaged", With(Codes + 5, 3)),
        ["twice"] = ("its pixels come twice", [.. Good[..^2], .. Good[Scan..]]),
        ["few bytes and many pixels"] = ("pixels are missing", JpegFiles.WithSize(Good, 3000, 3000)),
        ["most pixels taken out"] = ("pixels are missing", [.. Good[..(Scan + 20)], .. Good[^2..]]),
        ["scan of nothing"] = ("a scan is of no colour", With(Scan + 5, 77)),
        ["sampling"] = ("its colours are sampled in no", With(Frame + 11, 0x51)),
    };

    public static TheoryData<string> BadJpegNames => [.. BadJpegs.Keys];

    [Theory]
    [MemberData(nameof(BadJpegNames))]
    public void A_bad_jpeg_is_refused_in_one_line(string kind) => AssertRefused(BadJpegs[kind].Says, BadJpegs[kind].File);

    /// <summary>Each pass visits every block of the picture, and takes ten bytes of the file.</summary>
    [Fact]
    public void A_picture_in_thousands_of_passes_is_refused_at_once()
    {
        byte[] good = JpegFiles.Read("progressive.jpg");
        int scan = JpegFiles.Find(good, 0xDA), end = scan + 2;
        while (good[end] != 0xFF || good[end + 1] == 0)
        {
            end++;
        }

        byte[] bomb = [.. good[..scan], .. Enumerable.Repeat(good[scan..end], 10_000).SelectMany(pass => pass), .. good[scan..]];
        AssertRefused("in more than 64 passes", bomb);
    }

    [Fact]
    public void Bytes_after_the_end_of_a_jpeg_are_ignored()
    {
        byte[] good = JpegFiles.Read("baseline.jpg"), image = new byte[784], same = new byte[784];
        PictureFile.Read(good, image);
        PictureFile.Read([.. good, .. good, .. new byte[1000]], same);
        Assert.Equal(image, same);
    }

    /// <summary>
    /// Nothing but a refusal in one line, or some picture of the size that the file states; in bounded time and memory. The decoder has no
    /// checksum to go by, so that damaged pixels are seen as they are, as browsers show them.
    /// </summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void Damaged_jpegs_are_refused_or_read_within_bounds(string name)
    {
        byte[] good = JpegFiles.WithOrientation(JpegFiles.Read(name), 6, littleEndian: true);
        foreach (Mutation mutation in Mutations.Of(good, usually: 40, seed: name.Length))
        {
            Stopwatch time = Stopwatch.StartNew();
            long before = GC.GetAllocatedBytesForCurrentThread(), memory = PictureFile.Claim(mutation.Bytes).Memory;
            Exception? wrong = Record.Exception(() => PictureFile.Read(mutation.Bytes, new byte[784]));
            Assert.True(wrong is null
                || (wrong is InputException && wrong.Message.Length < 300 && !wrong.Message.Contains('\n', StringComparison.Ordinal)),
                $"{mutation}: {wrong}");
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before <= (32 << 20) + memory,
                $"{mutation}: {GC.GetAllocatedBytesForCurrentThread() - before} bytes where {memory} were counted");
            Assert.True(time.Elapsed < TimeSpan.FromSeconds(20), $"{mutation}: {time.Elapsed}");
        }
    }

    [Theory]
    [InlineData("\0\0\0\u0018ftypheic\0\0\0\0mif1heic", "a HEIC picture, not a PNG or JPEG; save it as one of these")]
    [InlineData("\0\0\0\u001cftypavif\0\0\0\0", "an AVIF picture, not")]
    [InlineData("RIFF\u0010\0\0\0WEBPVP8 ", "a WebP picture, not")]
    [InlineData("GIF89a", "a GIF picture, not")]
    [InlineData("BM\u0010\0\0\0\0\0\0\0\u0036\0", "a BMP picture, not")]
    [InlineData("II*\0", "a TIFF picture, not")]
    [InlineData("MM\0*", "a TIFF picture, not")]
    [InlineData("<svg xmlns=", "an SVG picture, not")]
    [InlineData("<?xml version='1.0'?><svg>", "an SVG picture, not")]
    [InlineData("%PDF-1.4", "a PDF document, not")]
    [InlineData("PK\u0003\u0004", "a zip file, not")]
    [InlineData("", "not a PNG or JPEG")]
    [InlineData("hello", "not a PNG or JPEG")]
    public void Files_of_other_kinds_are_named(string head, string says) => AssertRefused(says, Encoding.Latin1.GetBytes(head));

    private static void AssertRefused(string says, byte[] file) =>
        Assert.Contains(says, Assert.Throws<InputException>(() => PictureFile.Read(file, new byte[784])).Message, StringComparison.Ordinal);

    private static byte[] With(int at, byte value) => [.. Good[..at], value, .. Good[(at + 1)..]];
}
