using CudnnDigits.Cli.Datasets;

namespace CudnnDigits.Tests.Data;

/// <summary>How people lay pictures out in folders: what is taken, what is told, and what is refused since it is not clear.</summary>
public sealed class PictureLayoutTests : TestsWithFolder
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(20, seed: 8);
    private static readonly string[] Words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

    [Theory]
    [InlineData("{0}")]
    [InlineData("0{0}")]
    [InlineData("{0} ")]
    [InlineData("{1}")]
    [InlineData("{0} - {1}")] // torchvision
    [InlineData("{0}_{1}")]
    [InlineData("class_{0}")]
    [InlineData("digit{0}")]
    [InlineData("Digit-{0}")]
    [InlineData("Label {0}")]
    [InlineData("n{0}")]
    public void A_folders_name_may_say_its_digit_in_many_ways(string name)
    {
        WriteAll(name + "/{2}.png");
        AssertAll(Read());
    }

    [Fact]
    public void Digits_and_words_may_stand_beside_each_other()
    {
        WriteAll("{0}/{2}.png");
        Directory.Move(_folder["9"], _folder["nine"]);
        AssertAll(Read());
    }

    [Theory]
    [InlineData("7", 7)]
    [InlineData("007", 7)]
    [InlineData("10", 10)]
    [InlineData("Seven", 7)]
    [InlineData("class 7 (seven)", 7)]
    [InlineData("7 - eight", null)]
    [InlineData("part_7", null)]
    [InlineData("train_1", null)]
    [InlineData("Sample007", null)]
    [InlineData("mnist_2", null)]
    [InlineData("version 2", null)]
    [InlineData("7 - Copy", null)]
    [InlineData("-1", null)]
    [InlineData("2_3", null)]
    [InlineData("7.5", null)]
    [InlineData("letters", null)]
    [InlineData("99999999999999999999", null)]
    [InlineData("class", null)]
    [InlineData("", null)]
    public void A_name_says_a_number_or_something_else(string name, int? number) => Assert.Equal(number, DigitName.Number(name));

    [Theory]
    [InlineData("train", "test")]
    [InlineData("Train", "VAL")]
    [InlineData("train_set", "test_set")]
    [InlineData("train_1", "test_1")]
    [InlineData("trainingSet", "testSet")]
    [InlineData("trainingSet/trainingSet", "testSet/testSet")]
    [InlineData("MNIST - JPG - training", "MNIST - JPG - testing")]
    [InlineData("train/images", "test/images")]
    public void A_part_may_be_named_in_many_ways_and_its_pictures_lie_deeper(string train, string test)
    {
        WriteAll(train + "/{0}/{2}.png");
        Write($"{test}/3/a.png", Digits.Image(0));
        AssertAll(Read());
        DigitDataset evaluated = Read(DataPart.Evaluation);
        Assert.Equal((1, 3), (evaluated.Count, evaluated.Labels[0]));
        Assert.EndsWith("no pictures of 0, 1, 2, 4, 5, 6, 7, 8, 9", evaluated.Warning, StringComparison.Ordinal);
        Assert.Null(Read(DataPart.Prediction).Warning);
    }

    [Fact]
    public void Folders_of_digits_beside_a_part_to_test_with_are_to_train_on()
    {
        WriteAll("{0}/{2}.png");
        Write("test/3/a.png", Digits.Image(0));
        DigitDataset data = Read(), evaluated = Read(DataPart.Evaluation);
        AssertAll(data);
        Assert.Equal((null, 1), (data.Warning, evaluated.Count));
        Assert.DoesNotContain("not taken", evaluated.Warning, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("10/a.png", "holds pictures in 10, which is no digit; name it 0 if it holds zeros, or take it away")] // as in SVHN
    [InlineData("10/a.png|11/a.png|12/a.png", "holds pictures in 10, 11 …, which are no digits; take them away")] // EMNIST's letters
    [InlineData("class_10/a.png", "holds pictures in class_10, which is no digit")]
    [InlineData("4/2/a.png", "4: holds folders of digits itself, beside folders of one digit each; give it alone, or take it away")]
    [InlineData("4/test/a.png", "4: holds folders of digits itself")]
    [InlineData("train_1/a.png|train_2/a.png", "holds several folders to train on (train_1, train_2); give one of them")]
    [InlineData("train/a/1.png|train/b/1.png", "train: holds several folders of digits (a, b); give one of them, or name them 0 to 9")]
    [InlineData("7/a.pgm", "a.pgm: a PNM picture, not a PNG or JPEG; save it as one of these, or take it away")]
    [InlineData("7/a", "a: a PNM picture, not a PNG or JPEG; save it as one of these, or take it away")]
    [InlineData("7/a.psd|7/b.webp|8/c.jp2|8/d.dng",
        "a.psd: a PNM picture, not a PNG or JPEG; save it as one of these, or take it away (the first of 4 pictures that cannot be read)")]
    public void What_could_be_meant_otherwise_or_would_be_lost_is_refused(string more, string says)
    {
        WriteAll("{0}/{2}.png");
        foreach (string name in more.Split('|'))
        {
            Write(name, name.EndsWith(".png", StringComparison.Ordinal) ? PngFiles.Write(Digits.Image(0), 28)
                : "P5 28 28 255\n"u8.ToArray());
        }

        Assert.Contains(says, Assert.Throws<InputException>(() => Read()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_passed_over_is_told()
    {
        WriteAll("{0}/{2}.png");
        Directory.Delete(_folder["3"], recursive: true);
        _folder.Make("3");
        Write("a.png", Digits.Image(0));
        Write("letters/a/a.png", Digits.Image(0));
        Write("notes/a.txt", [1]);
        Write("7 - Copy/a.png", Digits.Image(0));
        Write("7/a.txt", [1]);
        DigitDataset data = Read();
        Assert.Equal(18, data.Count);
        Assert.Equal("pictures by class: 18 PNG, taken as they are; 1 other file passed over (7/a.txt)", data.Found);
        Assert.Equal(
            $"{_folder.Path}: no pictures of 3; {_folder.Path}: 1 picture beside its folders (a.png) is not taken; {_folder.Path}: the "
                + "pictures in 7 - Copy, letters are not taken",
            data.Warning);
    }

    [Fact]
    public void Folders_beside_parts_and_beside_pictures_without_labels_are_told()
    {
        WriteAll("{0}/{2}.png");
        WriteAll("train/{0}/{2}.png");
        WriteAll("test/{0}/{2}.png");
        WriteAll("train_small/{0}/{2}.png");
        DigitDataset data = Read();
        Assert.Equal((20, $"{_folder.Path}: the pictures in 0, 1 … are not taken"), (data.Count, data.Warning));

        Directory.Move(_folder["train"], _folder["validation"]);
        Directory.Move(_folder["train_small"], _folder["elsewhere"]);
        Enumerable.Range(0, 10).ToList().ForEach(digit => Directory.Delete(_folder[$"{digit}"], recursive: true));
        Assert.Contains("holds no folder train with pictures; give the folder that you mean",
            Assert.Throws<InputException>(() => Read()).Message, StringComparison.Ordinal);

        Write("scans/1.png", Digits.Image(0));
        Write("scans/more/2.png", Digits.Image(1));
        DigitDataset scans = new PictureContainer().ReadFolder(_folder["scans"], DataPart.Prediction);
        Assert.Equal((1, $"{_folder["scans"]}: the pictures in more are not taken"), (scans.Count, scans.Warning));
    }

    [Fact]
    public void Pictures_without_an_extension_are_known_by_their_first_bytes()
    {
        WriteAll("{0}/{2}");
        Write("7/notes", [1, 2, 3]);
        DigitDataset data = Read();
        AssertAll(data);
        Assert.EndsWith("; 1 other file passed over (7/notes)", data.Found, StringComparison.Ordinal);
    }

    [Fact]
    public void What_systems_leave_behind_is_no_picture()
    {
        WriteAll("{0}/{2}.png");
        foreach (string folder in new[] { "@eaDir/1.png", ".ipynb_checkpoints", "__MACOSX", "$RECYCLE.BIN", "#recycle" })
        {
            Write($"7/{folder}/SYNOPHOTO_THUMB_M.jpg", [1]);
        }

        DigitDataset data = Read();
        AssertAll(data);
        Assert.Null(data.Warning);
    }

    [Fact]
    public void Links_are_followed_but_never_in_a_circle()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows lets only administrators make links");
        WriteAll("elsewhere/digits/{0}/{2}.png");
        _folder.Make("digits");
        for (int digit = 0; digit < 10; digit++)
        {
            Directory.CreateSymbolicLink(_folder[$"digits/{digit}"], _folder[$"elsewhere/digits/{digit}"]);
        }

        Link(("7/a", "."), ("7/b", "."), ("7/all", ".."), ("3/other", "../7"), ("9/nowhere", "nowhere"));
        Directory.CreateSymbolicLink(_folder["digits/seven"], "7");
        AssertAll(new PictureContainer().ReadFolder(_folder["digits"], DataPart.Training));

        Write("others/8.png", Digits.Image(0));
        Directory.CreateSymbolicLink(_folder["digits/8/more"], _folder["others"]);
        Assert.Equal(21, new PictureContainer().ReadFolder(_folder["digits"], DataPart.Training).Count);

        Link(("7/0", ".."), ("train", "."), ("2/train", ".."), ("1/top", "../../.."));
        Assert.Equal(21, new PictureContainer().ReadFolder(_folder["elsewhere/digits"], DataPart.Training).Count);

        Link([.. from one in Enumerable.Range(0, 10) from other in Enumerable.Range(0, 10) where one != other && (one, other) != (7, 0)
            select ($"{one}/{other}", $"../{other}")]);
        Assert.Equal(21, new PictureContainer().ReadFolder(_folder["elsewhere/digits"], DataPart.Training).Count); // and soon

        void Link(params (string Link, string Target)[] links) =>
            Array.ForEach(links, one => Directory.CreateSymbolicLink(_folder["elsewhere/digits/" + one.Link], one.Target));
    }

    /// <summary>The picture {2} of a digit {0}, whose name is {1}.</summary>
    private void WriteAll(string pattern)
    {
        for (int row = 0; row < Digits.Count; row++)
        {
            Write(string.Format(CultureInfo.InvariantCulture, pattern, Digits.Labels[row], Words[Digits.Labels[row]], row),
                Digits.Image(row));
        }
    }

    private void Write(string name, ReadOnlySpan<byte> image)
    {
        byte[] bytes = image.Length == DigitDataset.PixelCount ? PngFiles.Write(image, 28) : image.ToArray();
        _folder.Write(name, bytes);
    }

    private DigitDataset Read(DataPart part = DataPart.Training) => new PictureContainer().ReadFolder(_folder.Path, part);

    /// <summary>All pictures, each once and with its own label.</summary>
    private static void AssertAll(DigitDataset data)
    {
        Assert.Equal(Sorted(Digits), Sorted(data));

        static string[] Sorted(DigitDataset digits) =>
            [.. Enumerable.Range(0, digits.Count).Select(row => $"{digits.Labels[row]} {Convert.ToHexString(digits.Image(row))}")
            .Order(StringComparer.Ordinal)];
    }
}
