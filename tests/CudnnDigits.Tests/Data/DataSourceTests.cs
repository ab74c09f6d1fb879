namespace CudnnDigits.Tests.Data;

public sealed class DataSourceTests : TestsWithFolder
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(12);
    private static readonly byte[] Csv = DigitFiles.Csv(Digits), TestCsv = DigitFiles.Csv(DigitFiles.WithoutLabels(Digits));

    [Fact]
    public void Kaggle_csv_is_read_plain_gzipped_and_zipped()
    {
        DigitFiles.AssertSame(Digits, Open("train.csv", Csv));
        DigitFiles.AssertSame(Digits, Open("train.csv.gz", DigitFiles.Gzip(Csv)));
        byte[] zip = DigitFiles.Zip(("sample_submission.csv", "ImageId,Label\n"u8.ToArray()), ("test.csv", TestCsv), ("train.csv", Csv));
        DigitFiles.AssertSame(Digits, Open("digit-recognizer.zip", zip));
        DigitDataset prediction = Open("digit-recognizer.zip", zip, DataPart.Prediction);
        Assert.False(prediction.HasLabels);
        Assert.Equal(Digits.Pixels.ToArray(), prediction.Pixels.ToArray());
    }

    [Fact]
    public void Csv_may_have_a_byte_order_mark_windows_line_ends_quotes_and_no_last_newline()
    {
        string text = Encoding.UTF8.GetString(Csv).TrimEnd('\n').Replace("\n", "\r\n", StringComparison.Ordinal)
            .Replace("label,", "\"label\",", StringComparison.Ordinal);
        DigitFiles.AssertSame(Digits, Open("train.csv", [0xEF, 0xBB, 0xBF, .. Encoding.UTF8.GetBytes(text)]));
    }

    [Theory]
    [InlineData("")]
    [InlineData(".gz")]
    public void Mnist_idx_is_read_from_a_folder(string suffix)
    {
        foreach ((string name, byte[] bytes) in new[]
        {
            ("train-images-idx3-ubyte", DigitFiles.IdxImages(Digits)), ("train-labels-idx1-ubyte", DigitFiles.IdxLabels(Digits)),
        })
        {
            _folder.Write(name + suffix, suffix == "" ? bytes : DigitFiles.Gzip(bytes));
        }

        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Training));
        DigitFiles.AssertSame(Digits, DataSource.Open(_folder.Path, DataPart.Evaluation)); // no t10k files: the training set
        AssertRefused("t10k-images", () => DataSource.Open(_folder.Path, DataPart.Prediction));
    }

    /// <summary>Each edit of a good file, and what the one line must say.</summary>
    public static TheoryData<string, string, string> BadCsv => new()
    {
        { "", "", "is empty" },
        { "header only", "", "no digits" },
        { "label,pixel0", "lable,pixel0", "row 1, column 1 is headed 'lable'" },
        { "pixel7,", "pixel8,", "row 1, column 9 is headed 'pixel8', expected 'pixel7'" },
        { ",pixel783\n", "\n", "row 1 has 784 columns, expected 785" },
        { ",pixel783\n", ",pixel783,pixel784\n", "row 1 has 786 columns, expected 785" },
        { "\n0,", "\n10,", "row 2, column label is '10', expected a digit 0 to 9" },
        { "\n1,", "\n-1,", "row 3, column label is '-1'" },
        { "\n1,", "\n,", "row 3, column label is empty" },
        { "\n1,0,", "\n1,256,", "row 3, column pixel0 is '256', expected a whole number 0 to 255" },
        { "\n1,0,", "\n1,-3,", "row 3, column pixel0 is '-3'" },
        { "\n1,0,", "\n1,,", "row 3, column pixel0 is empty" },
        { "\n1,0,", "\n1,ink,", "row 3, column pixel0 is 'ink'" },
        { "\n1,0,", "\n1,0.5,", "row 3, column pixel0 is '0.5'" },
        { "\n1,0,", "\n1,:,", "row 3, column pixel0 is ':'" }, // beside the digits in ASCII
        { "\n1,0,", "\n1,/,", "row 3, column pixel0 is '/'" },
        { "\n1,0,", "\n1,1:,", "row 3, column pixel0 is '1:'" },
        { "\n1,0,", "\n1,25\0,", "row 3, column pixel0 is '25?'" }, // half of the number is gone
        { "\n1,0,", "\n1\0,0,", "row 3, column label is '1?'" },
        { "\n1,0,", "\n1,4294967296,", "row 3, column pixel0 is '4294967296'" },
        { "\n1,0,", "\n1,", "row 3 has 784 columns, expected 785" },
        { "\n1,0,", "\n1,0,0,", "row 3 has 786 columns, expected 785" },
        { "\n1,0,", "\n\"1,0,", "row 3" },
    };

    [Theory]
    [MemberData(nameof(BadCsv))]
    public void Bad_csv_is_refused_with_file_row_and_column(string find, string replace, string says)
    {
        string good = Encoding.UTF8.GetString(Csv);
        string text = find switch
        {
            "" => "",
            "header only" => good[..(good.IndexOf('\n', StringComparison.Ordinal) + 1)],
            _ => ReplaceFirst(good, find, replace),
        };
        AssertRefused(says, () => Open("digits.csv", Encoding.UTF8.GetBytes(text)));
    }

    /// <summary>A row of bytes is read in one pass, and any other field by field: both must come to the same.</summary>
    [Theory]
    [InlineData("\n1,0,", "\n1,\"0\",")]
    [InlineData("\n1,0,", "\n1.0,0,")]
    [InlineData("\n1,0,", "\n1,0.0,")]
    [InlineData("\n1,0,", "\n1,0e0,")]
    [InlineData("\n1,0,", "\n 1, 0 ,")]
    [InlineData("\n1,0,", "\n1,0000000000000,")]
    [InlineData("\n1,0,", "\n'1',0,")]
    [InlineData("\n", "\r\n")]
    public void A_number_may_be_written_otherwise_in_one_row(string find, string replace)
    {
        string text = Encoding.UTF8.GetString(Csv);
        Assert.Contains(find, text, StringComparison.Ordinal);
        DigitFiles.AssertSame(Digits,
            Open("digits.csv", Encoding.UTF8.GetBytes(find == "\n" ? text.Replace(find, replace, StringComparison.Ordinal)
            : ReplaceFirst(text, find, replace))));
    }

    [Fact]
    public void Files_that_are_not_there_or_not_csv_are_refused()
    {
        AssertRefused("no such file", () => DataSource.Open(_folder["absent.csv"], DataPart.Training));
        AssertRefused("idx3-ubyte", () => DataSource.Open(_folder.Path, DataPart.Training));
        byte[] junk = new byte[100_000];
        new Random(1).NextBytes(junk);
        AssertRefused("junk.csv", () => Open("junk.csv", junk));
        AssertRefused("zero.csv", () => Open("zero.csv", new byte[1_000_000]));
        AssertRefused("digits.csv", () => Open("digits.csv", Csv[..(Csv.Length - 100)]));
        AssertRefused("no label column", () => Open("test.csv", TestCsv));
    }

    [Fact]
    public void Damaged_archives_are_refused()
    {
        byte[] gzip = DigitFiles.Gzip(Csv), zip = DigitFiles.Zip(("train.csv", Csv));
        AssertRefused("a.csv.gz", () => Open("a.csv.gz", gzip[..(gzip.Length / 2)]));
        AssertRefused("c.csv.gz", () => Open("c.csv.gz", [.. gzip[..(gzip.Length - 8)], 1, 2, 3, 4, 5, 6, 7, 8]));
        AssertRefused("d.zip", () => Open("d.zip", zip[..(zip.Length / 2)]));
        AssertRefused("e.zip", () => Open("e.zip", []));
        AssertRefused("holds no train.csv", () => Open("f.zip", DigitFiles.Zip(("other.csv", Csv), ("another.csv", Csv))));
    }

    [Fact]
    public void A_gzip_that_lacks_its_last_bytes_is_refused()
    {
        byte[] gzip = DigitFiles.Gzip(Csv);
        for (int length = gzip.Length - 1; length >= gzip.Length - 24; length--)
        {
            AssertRefused("cut.csv.gz", () => Open("cut.csv.gz", gzip[..length]));
        }
    }

    /// <summary>Every way in which a file may stand in a zip file, damaged or not, and what the one line must say.</summary>
    public static TheoryData<int, string> ZipKinds
    {
        get
        {
            TheoryData<int, string> kinds = [];
            ZipKind[] whole = [ZipKind.Deflated, ZipKind.Stored, ZipKind.Descriptor, ZipKind.Stored | ZipKind.Descriptor, ZipKind.Zip64,
                ZipKind.Stored | ZipKind.Zip64, ZipKind.Descriptor | ZipKind.Zip64];
            foreach (ZipKind kind in whole)
            {
                kinds.Add((int)kind, "");
                kinds.Add((int)(kind | ZipKind.WrongChecksum),
                    "digits.zip/train.csv: its checksum (CRC-32) is wrong; download the zip file again");
                kinds.Add((int)(kind | ZipKind.OneByteMore), "digits.zip/train.csv: ");
                kinds.Add((int)(kind | ZipKind.OneByteLess), "digits.zip/train.csv: ");
                kinds.Add((int)(kind | ZipKind.Encrypted), "digits.zip/train.csv: is encrypted; unpack the zip file with its password");
            }

            kinds.Add((int)(ZipKind.Zip64 | ZipKind.Huge), "where the zip file states 1099511627776");
            kinds.Add((int)ZipKind.OtherMethod, "packed by another method than deflate");
            return kinds;
        }
    }

    [Theory]
    [MemberData(nameof(ZipKinds))]
    public void A_file_of_a_zip_file_is_read_and_checked_to_its_end(int kind, string says)
    {
        byte[] zip = ZipFiles.Write(("sample_submission.csv", "ImageId,Label\n"u8.ToArray(), ZipKind.Deflated),
            ("train.csv", Csv, (ZipKind)kind));
        if (says.Length == 0)
        {
            DigitFiles.AssertSame(Digits, Open("digits.zip", zip));
        }
        else
        {
            AssertRefused(says, () => Open("digits.zip", zip));
        }
    }

    [Fact]
    public void No_flipped_bit_of_a_zip_file_changes_a_digit()
    {
        byte[] zip = ZipFiles.Write(("train.csv", Csv, ZipKind.Stored));
        for (int flip = 0; flip < 200; flip++)
        {
            byte[] bad = (byte[])zip.Clone();
            bad[30 + "train.csv".Length + flip * Csv.Length / 200] ^= 1; // the label of a row, for one: 2 is 3
            AssertRefused("digits.zip", () => Open("digits.zip", bad));
        }

        AssertRefused("CRC-32", () => DataSource.Open(SharedFiles.Path("cases/zip-bad-crc/train.zip"), DataPart.Training));
    }

    /// <summary>RFC 1952: a file is one member or several, each with fields of its own; zeros may pad it.</summary>
    [Fact]
    public void Every_valid_gzip_file_is_read()
    {
        byte[] gzip = DigitFiles.Gzip(Csv), half = DigitFiles.Gzip(Csv[..9000]), rest = DigitFiles.Gzip(Csv[9000..]),
        empty = DigitFiles.Gzip([]);
        byte[] header = [0x1F, 0x8B, 8, 2 + 4 + 8 + 16, 1, 2, 3, 4, 0, 3, 5, 0, 1, 2, 3, 4, 5, .. "train.csv\0a comment\0"u8];
        byte[] checkedHeader = [.. header, .. BitConverter.GetBytes((ushort)PlainInflate.Crc32(header))];
        foreach (byte[] good in new byte[][]
        {
            gzip, [.. half, .. rest], [.. empty, .. half, .. empty, .. empty, .. rest, .. empty], [.. gzip, .. new byte[1]],
            [.. gzip, .. new byte[100_000]], [.. checkedHeader, .. gzip[10..]],
        })
        {
            DigitFiles.AssertSame(Digits, Open("train.csv.gz", good));
            DigitFiles.AssertSame(Digits, Open("train", good)); // known by its first bytes
        }

        byte[] wrong = [.. checkedHeader, .. gzip[10..]];
        wrong[5] ^= 1;
        AssertRefused("checksum of the gzip header", () => Open("train.csv.gz", wrong));
    }

    [Fact]
    public void A_gzip_file_that_is_damaged_anywhere_is_never_a_shorter_one()
    {
        byte[] rows = DigitFiles.Csv(new DigitDataset("", Digits.Pixels[..784].ToArray(), Digits.Labels[..1].ToArray()));
        byte[] gzip = DigitFiles.Gzip(rows), members = [.. gzip, .. DigitFiles.Gzip("1,2,3\n"u8.ToArray())];
        for (int length = 0; length < gzip.Length; length += length is > 40 and < 2000 ? 19 : 1)
        {
            AssertRefused("cut.csv.gz", () => Open("cut.csv.gz", gzip[..length]));
        }

        for (int length = gzip.Length + 1; length < members.Length; length++)
        {
            AssertRefused("cut.csv.gz", () => Open("cut.csv.gz", members[..length]));
        }

        for (int bit = 0; bit < 64; bit++)
        {
            byte[] bad = (byte[])gzip.Clone();
            bad[gzip.Length - 8 + bit / 8] ^= (byte)(1 << bit % 8);
            AssertRefused("CRC-32", () => Open("trailer.csv.gz", bad));
        }

        foreach (byte[] more in new byte[][] { [1], [0, 0, 1], [0x1F], [0x1F, 0x8B], gzip[..30], new byte[3000].Append((byte)7).ToArray() })
        {
            AssertRefused("more.csv.gz", () => Open("more.csv.gz", [.. gzip, .. more]));
        }

        AssertRefused("long.csv.gz", () => Open("long.csv.gz", [.. gzip[..^8], 0, .. gzip[^8..]])); // a trailer of nine bytes
        AssertRefused("lost.csv.gz",
            () => Open("lost.csv.gz", [.. gzip, 0x1F, 0x8C, .. gzip[2..]])); // a second member whose first bytes are damaged
    }

    /// <summary>What cannot be read twice, and whose length nobody knows.</summary>
    [Fact]
    public void Digits_are_read_from_a_pipe()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs mkfifo");
        DigitFiles.AssertSame(Digits, Open(Pipe(Csv)));
        DigitFiles.AssertSame(Digits, Open(Pipe(DigitFiles.Gzip(Csv))));
        AssertRefused("is not a regular file", () => Open(Pipe(DigitFiles.Zip(("train.csv", Csv)))));
        AssertRefused("compressed data is cut off", () => Open(Pipe(DigitFiles.Gzip(Csv)[..^1])));
        AssertRefused("the file is empty", () => Open(Pipe([])));

        static DigitDataset Open(string path) => DataSource.Open(path, DataPart.Training);

        string Pipe(byte[] content)
        {
            string pipe = _folder[$"pipe{Guid.NewGuid():N}"], file = _folder.Write("content", content);
            using (Process made = Process.Start("mkfifo", pipe))
            {
                made.WaitForExit();
            }

            Process.Start("sh", ["-c", $"cat '{file}' > '{pipe}'"]).Dispose();
            return pipe;
        }
    }

    /// <summary>Bytes without end and without a line end: as a header, or as a row.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_line_without_end_is_refused_early(int goodLines)
    {
        using Endless text = new(Csv[..(goodLines * (Array.IndexOf(Csv, (byte)'\n') + 1))], (byte)'1');
        AssertCheap(4 << 20, "endless", () => DigitCsv.Read(text, "endless"));
        Assert.InRange(text.Taken, 0, 2 << 20);
    }

    [Fact]
    public void Memory_follows_what_is_there_not_what_is_promised()
    {
        string images = _folder.Write("train-images-idx3-ubyte", DigitFiles.Header(0x00000803, 1u << 31, 28, 28));
        AssertCheap(1 << 20, "promises 2147483648 digits but ends after 0", () => DataSource.Open(_folder.Path, DataPart.Training));
        File.Delete(images);
        byte[] zip = ZipFiles.Write(("train.csv", Csv, ZipKind.Zip64 | ZipKind.Huge));
        AssertCheap(4 << 20, "where the zip file states 1099511627776", () => Open("huge.zip", zip));
        byte[] zeros = DigitFiles.Gzip(new byte[64 << 20]);
        AssertCheap(4 << 20, "zeros.csv.gz", () => Open("zeros.csv.gz", zeros));
    }

    [Fact]
    public void An_archive_that_unpacks_without_end_is_refused()
    {
        string row = "0" + string.Concat(Enumerable.Repeat(",0", 784)) + "\n", header = Encoding.UTF8.GetString(Csv).Split('\n')[0] + "\n";
        byte[] many = Encoding.UTF8.GetBytes(header + string.Concat(Enumerable.Repeat(row, 30_000)));
        AssertRefused("100 times its size", () => Open("bomb.zip", DigitFiles.Zip(("train.csv", many))));
        AssertRefused("100 times its size", () => Open("bomb.csv.gz", DigitFiles.Gzip(many)));
    }

    /// <summary>Headers of image and label files, and what the one line must say.</summary>
    public static TheoryData<uint[], uint[], string> BadIdx => new()
    {
        { [0x00000801, 12, 28, 28], [0x00000801, 12], "begins with 0x00000801, expected 0x00000803" },
        { [0x00000803, 12, 28, 28], [0x00000803, 12], "begins with 0x00000803, expected 0x00000801" },
        { [0x00000D03, 12, 28, 28], [0x00000801, 12], "train-images-idx3-ubyte: is an IDX file of real numbers: write it as bytes" },
        { [0x00000803, 12, 28, 28], [0x00000C01, 12], "train-labels-idx1-ubyte: is an IDX file of 32-bit numbers: write it as bytes" },
        { [0x00000803, 12, 32, 32], [0x00000801, 12], "32×32" },
        { [0x00000803, 13, 28, 28], [0x00000801, 13], "promises 13 digits but ends after 12" },
        { [0x00000803, 11, 28, 28], [0x00000801, 11], "goes on after" },
        { [0x00000803, 4_000_000_000, 28, 28], [0x00000801, 12], "promises 4000000000 digits but ends after 12" },
        { [0x00000803, 12, 28, 28], [0x00000801, 11], "11 labels for the 12 images" },
        { [0x00000803, 12, 28, 28], [0x00000801, 4_000_000_000], "4000000000 labels" },
        { [0x00000803], [0x00000801, 12], "cut off within its 16-byte header" },
    };

    [Theory]
    [MemberData(nameof(BadIdx))]
    public void Bad_idx_is_refused(uint[] imageHeader, uint[] labelHeader, string says)
    {
        ArgumentNullException.ThrowIfNull(imageHeader);
        _folder.Write("train-images-idx3-ubyte", [.. DigitFiles.Header(imageHeader), .. imageHeader.Length > 1 ? Digits.Pixels : []]);
        _folder.Write("train-labels-idx1-ubyte", [.. DigitFiles.Header(labelHeader), .. Digits.Labels]);
        AssertRefused(says, () => DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void An_idx_label_over_nine_is_refused()
    {
        byte[] labels = DigitFiles.IdxLabels(Digits);
        labels[^1] = 10;
        _folder.Write("train-images-idx3-ubyte", DigitFiles.IdxImages(Digits));
        _folder.Write("train-labels-idx1-ubyte", labels);
        AssertRefused("label 11 (from 0) is 10", () => DataSource.Open(_folder.Path, DataPart.Training));
    }

    [Fact]
    public void The_real_digits_are_those_known()
    {
        DigitDataset data = SharedFiles.TrainingDigits;
        Assert.Equal(42_000, data.Count);
        Assert.Equal([4147, 4700, 4229, 4352, 4102, 3805, 4060, 4335, 4066, 4204],
            Enumerable.Range(0, 10).Select(digit => data.Labels.Count((byte)digit)));
    }

    internal static void AssertRefused(string says, Action action)
    {
        InputException e = Assert.Throws<InputException>(action);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    internal static bool Refused(Action action)
    {
        try
        {
            action();
            return false;
        }
        catch (InputException)
        {
            return true;
        }
    }

    private static void AssertCheap(long mostBytes, string says, Action action)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        AssertRefused(says, action);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, mostBytes);
    }

    private static string ReplaceFirst(string text, string find, string replace)
    {
        int at = text.IndexOf(find, StringComparison.Ordinal);
        Assert.True(at >= 0, $"the good file holds no '{find}'");
        return text[..at] + replace + text[(at + find.Length)..];
    }

    private DigitDataset Open(string name, byte[] bytes, DataPart part = DataPart.Training) =>
        DataSource.Open(_folder.Write(name, bytes), part);

    /// <summary>Some bytes, then one for ever.</summary>
    private sealed class Endless(byte[] first, byte then) : ReadOnlyStream
    {
        public long Taken { get; private set; }

        public override int Read(Span<byte> buffer)
        {
            if (Taken == 0 && first.Length > 0)
            {
                first.CopyTo(buffer);
                Taken = first.Length;
                return first.Length;
            }

            buffer.Fill(then);
            Taken += buffer.Length;
            return buffer.Length;
        }
    }
}
