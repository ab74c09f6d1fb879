using CudnnDigits.Cli.Datasets.Parquet;

namespace CudnnDigits.Tests.Data;

/// <summary>
/// Parquet as Hugging Face keeps MNIST. The files in tests/CudnnDigits.Tests/Parquet were written by Parquet.Net 6.1.0 from
/// GeneratedDigits.Create(20, 4), in two row groups (snappy), and GeneratedDigits.Create(10, 5) with dictionaries (all others); version-2
/// has the second version's pages and comes from Apache's arrow-rs.
/// </summary>
public sealed class ParquetTests : TestsWithFolder
{
    private static readonly DigitDataset Twenty = GeneratedDigits.Create(20, seed: 4), Ten = GeneratedDigits.Create(10, seed: 5);

    [Theory]
    [InlineData("snappy")]
    [InlineData("zstandard")]
    [InlineData("gzip")]
    [InlineData("brotli")]
    [InlineData("plain")]
    [InlineData("version-2")]
    public void Pictures_and_labels_are_read_however_they_are_packed(string codec)
    {
        DigitDataset data = Read(FileOf(codec));
        DigitFiles.AssertSame(codec == "snappy" ? Twenty : Ten, data);
        Assert.Contains("columns image.bytes and label", data.Found, StringComparison.Ordinal);
    }

    [Fact]
    public void A_packing_that_is_not_read_is_named() =>
        Assert.Contains("is packed by LZ4; expected Snappy", Assert.Throws<InputException>(() => Read(FileOf("lz4"))).Message,
        StringComparison.Ordinal);

    [Theory]
    [InlineData("train-00000-of-00001.parquet", "test-00000-of-00001.parquet")]
    [InlineData("train/0000.parquet", "test/0000.parquet")]
    public void Of_a_folder_the_part_that_is_wanted_is_read(string train, string test)
    {
        ParquetContainer container = new();
        foreach ((string name, string file) in new[] { (train, "snappy"), (test, "zstandard") })
        {
            Directory.CreateDirectory(Path.GetDirectoryName(_folder[name])!);
            File.Copy(FileOf(file), _folder[name]);
        }

        DigitFiles.AssertSame(Twenty, container.ReadFolder(_folder.Path, DataPart.Training));
        DigitFiles.AssertSame(Ten, container.ReadFolder(_folder.Path, DataPart.Evaluation));
        DigitFiles.AssertSame(Ten, container.ReadFolder(_folder.Path, DataPart.Prediction));
        Assert.Equal(2, container.FilesIn(_folder.Path).Count());
        File.Copy(FileOf("plain"), _folder[train.Replace("0000", "00010", StringComparison.Ordinal)]);
        Assert.Equal(30, container.ReadFolder(_folder.Path, DataPart.Training).Count);
    }

    [Theory]
    [InlineData("mnist-train.parquet", "mnist-test.parquet")]
    [InlineData("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet")]
    public void Digits_to_train_on_are_not_scored_where_there_are_others(string train, string test)
    {
        File.Copy(FileOf("snappy"), _folder[train]);
        File.Copy(FileOf("zstandard"), _folder[test]);
        DigitFiles.AssertSame(Twenty, new ParquetContainer().ReadFolder(_folder.Path, DataPart.Training));
        DigitFiles.AssertSame(Ten, new ParquetContainer().ReadFolder(_folder.Path, DataPart.Evaluation));
    }

    [Fact]
    public void A_file_that_is_missing_of_several_is_named()
    {
        foreach (string name in new[] { "train-00000-of-00003", "train-00002-of-00003", "test-00000-of-00001" })
        {
            File.Copy(FileOf("plain"), _folder[name + ".parquet"]);
        }

        InputException e = Assert.Throws<InputException>(() => new ParquetContainer().ReadFolder(_folder.Path, DataPart.Training));
        Assert.Contains("train-00001-of-00003.parquet is missing (2 of 3 files are there)", e.Message, StringComparison.Ordinal);
        Assert.Equal(10, new ParquetContainer().ReadFolder(_folder.Path, DataPart.Evaluation).Count);
        File.Copy(FileOf("plain"), _folder["train-00001-of-00003.parquet"]);
        Assert.Equal(30, new ParquetContainer().ReadFolder(_folder.Path, DataPart.Training).Count);
    }

    [Fact]
    public void The_column_label_is_the_label_whatever_stands_before_it()
    {
        double?[] zeros = [.. Enumerable.Repeat<double?>(0, 10)];
        DigitFiles.AssertSame(Ten, Read(Write(new("digit", 2, zeros), new("class", 2, zeros), new("Label", 2, Labels))));
        Assert.Contains("columns digit and class may both be the labels",
            Assert.Throws<InputException>(() => Read(Write(new("digit", 2, Labels), new("class", 2, zeros)))).Message,
            StringComparison.Ordinal);
    }

    /// <summary>pandas' to_parquet of Kaggle's table.</summary>
    [Fact]
    public void A_table_of_pixels_is_read()
    {
        ParquetFiles.Column[] pixels =
            [.. Enumerable.Range(0, 784)
            .Select(i => new ParquetFiles.Column($"pixel{i}", 2, [.. Enumerable.Range(0, 10).Select(row => (double?)Ten.Image(row)[i])]))];
        ParquetFiles.Column label = new("label", 2, Labels),
        index = new("__index_level_0__", 2, [.. Enumerable.Range(0, 10).Select(row => (double?)row)]);
        string path = _folder.Write("table.parquet", ParquetFiles.Write(null, [label, .. pixels, index]));
        DigitFiles.AssertSame(Ten, Read(path));
        Assert.Equal("Parquet, columns pixel0 to pixel783 and label", Read(path).Found);
        _folder.Write("table.parquet", ParquetFiles.Write(null, [label, .. pixels.Select(
            pixel => pixel with { Type = 5, Values = [.. pixel.Values.Select(value => value / 255)] })]));
        DigitFiles.AssertSame(Ten, Read(path));
        Assert.Equal("Parquet, columns pixel0 to pixel783 (0 to 1, taken times 255) and label", Read(path).Found);
        _folder.Write("table.parquet", ParquetFiles.Write(null, [label, .. pixels.Reverse()]));
        Assert.Contains("expected one of pictures' files", Assert.Throws<InputException>(() => Read(path)).Message,
            StringComparison.Ordinal);
        _folder.Write("table.parquet",
            ParquetFiles.Write(null, [label, .. pixels[..783], pixels[783] with { Values = [.. Enumerable.Repeat<double?>(256, 10)] }]));
        Assert.Contains("pixel783 of row 0 (from 0) is 256, expected a whole number 0 to 255",
            Assert.Throws<InputException>(() => Read(path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public void Labels_are_read_of_every_type(int type) =>
        DigitFiles.AssertSame(Ten, Read(Write(new ParquetFiles.Column("label", type, Labels))));

    [Fact]
    public void Hidden_labels_are_passed_over_for_prediction_and_refused_else()
    {
        foreach ((double? hidden, string says) in new (double?, string)[] { (-1, "label of row 0 (from 0) is -1"),
            (null, "a value of column label is missing (null)") })
        {
            string path = Write(new ParquetFiles.Column("label", 2, [.. Enumerable.Repeat(hidden, 10)]));
            DigitDataset data = Read(path, DataPart.Prediction);
            DigitFiles.AssertSame(DigitFiles.WithoutLabels(Ten), data);
            Assert.Contains($"labels passed over ({says}", data.Found, StringComparison.Ordinal);
            Assert.Contains(says, Assert.Throws<InputException>(() => Read(path)).Message, StringComparison.Ordinal);
        }
    }

    private static readonly byte[] Good = File.ReadAllBytes(FileOf("plain"));

    /// <summary>Bad files, and what the one line must say.</summary>
    private static readonly Dictionary<string, (string Says, byte[] File)> BadFiles = new()
    {
        ["cut"] = ("cut off, or damaged at its end", Good[..^100]),
        ["short"] = ("the Parquet file is cut off", Good[..10]),
        ["endless number"] = ("description is damaged", [.. "PAR1"u8, 0x15, 0xFF, 0xFF, 3, 0, 0, 0, .. "PAR1"u8]),
        // at which Parquet.Net 6.1.0 reads on for ever
        ["long description"] = ("states a description of", [.. Good[..^8], 255, 255, 255, 127, .. "PAR1"u8]),
        // {2: [{4: "r"}], 4: [{1: [], 3: 2^41}]}
        ["many rows"] = ("more than can be read from",
            [.. "PAR1"u8, 0x29, 0x1C, 0x48, 1, (byte)'r', 0, 0x29, 0x1C, 0x19, 0x0C, 0x26, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0, 0,
            20, 0, 0, 0, .. "PAR1"u8]),
        ["encrypted"] = ("encrypted", [.. Good[..^4], .. "PARE"u8]),
    };

    public static TheoryData<string> BadFileNames => [.. BadFiles.Keys];

    [Theory]
    [MemberData(nameof(BadFileNames))]
    public void A_bad_file_is_refused_in_one_line(string kind) =>
        Assert.Contains(BadFiles[kind].Says,
            Assert.Throws<InputException>(() => Read(_folder.Write("bad.parquet", BadFiles[kind].File))).Message, StringComparison.Ordinal);

    [Fact]
    public void Of_a_table_without_pictures_the_columns_are_named()
    {
        byte[] good = [.. Good];
        int at = good.AsSpan().LastIndexOf("bytes"u8);
        while (at >= 0)
        {
            "other"u8.CopyTo(good.AsSpan(at));
            at = good.AsSpan(0, at).LastIndexOf("bytes"u8);
        }

        Assert.Contains(
            "its columns are image.other, image.path, label; expected one of pictures' files",
            Assert.Throws<InputException>(() => Read(_folder.Write("other.parquet", good))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("snappy")]
    [InlineData("zstandard")]
    [InlineData("gzip")]
    [InlineData("plain")]
    [InlineData("version-2")]
    public void Damaged_files_are_refused_or_read_within_the_bounds_of_the_file(string codec)
    {
        foreach (Mutation mutation in Mutations.Of(File.ReadAllBytes(FileOf(codec)), usually: 60, seed: codec.Length))
        {
            string path = _folder.Write("damaged.parquet", mutation.Bytes);
            Stopwatch time = Stopwatch.StartNew();
            Exception? wrong = Record.Exception(() => Read(path));
            Assert.True(wrong is null
                || (wrong is InputException && wrong.Message.Length < 600 && !wrong.Message.Contains('\n', StringComparison.Ordinal)),
                $"{mutation}: {wrong}");
            Assert.True(time.Elapsed < TimeSpan.FromSeconds(20), $"{mutation}: {time.Elapsed}");
        }
    }

    private static string FileOf(string codec) =>
        Path.Combine(SharedFiles.RepositoryRoot, "tests/CudnnDigits.Tests/Parquet", codec + ".parquet");

    private static double?[] Labels => [.. Ten.Labels.ToArray().Select(label => (double?)label)];

    private string Write(params ParquetFiles.Column[] columns) => _folder.Write("written.parquet", ParquetFiles.Write(Ten, columns));

    private static DigitDataset Read(string path, DataPart part = DataPart.Training)
    {
        using InputFile file = InputFile.Open(path, "");
        return new ParquetContainer().Read(file, path, part);
    }
}
