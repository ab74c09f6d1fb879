using CudnnDigits.Cli.Datasets;

namespace CudnnDigits.Tests.Cli;

/// <summary>Folders of pictures as data, in the program: what the library does not read itself, from the command line.</summary>
public sealed class PictureFolderTests(RunningServer server) : TestsWithFolder, IClassFixture<RunningServer>
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(30, seed: 6);

    [Theory]
    [InlineData("", "")]
    [InlineData("train/", "test/")]
    [InlineData("training/", "testing/")]
    public void Pictures_by_class_are_digits_with_labels(string train, string test)
    {
        for (int row = 0; row < Digits.Count; row++)
        {
            _folder.Write($"digits/{(row < 20 ? train : test)}{Digits.Labels[row]}/{row}.png", PngFiles.Write(Digits.Image(row), 28));
        }

        JsonElement shown = Show("digits");
        int expected = train.Length == 0 ? 30 : 20;
        Assert.Equal((expected, true), (shown.GetProperty("digits").GetInt32(), shown.GetProperty("labelled").GetBoolean()));
        Assert.Equal(Enumerable.Repeat(expected / 10, 10),
            shown.GetProperty("check").GetProperty("classes").EnumerateArray().Select(count => count.GetInt32()));
        Assert.Equal($"pictures by class: {expected} PNG, taken as they are", shown.GetProperty("found").GetString());
        Assert.Empty(shown.GetProperty("check").GetProperty("unused_files").EnumerateArray());

        using JsonDocument evaluated =
            JsonDocument.Parse(Run("evaluate", "--weights", server.WeightsFile, "--data", _folder["digits"], "--device", "cpu", "--json"));
        Assert.Equal(train.Length == 0 ? 30 : 10, evaluated.RootElement.GetProperty("samples").GetInt32());
        Assert.InRange(evaluated.RootElement.GetProperty("accuracy").GetDouble(), 0.9, 1);
    }

    /// <summary>Digits in a corner of gray sheets: a reader that only shrinks the sheets reads none of them.</summary>
    [Fact]
    public void Sheets_by_class_are_normalised_as_serve_does()
    {
        for (int row = 0; row < 10; row++)
        {
            int digit = row;
            byte[] sheet = [.. Enumerable.Range(0, 300 * 200).Select(i => (byte)(200 - (i % 300 < 112 && i / 300 < 112
                ? Digits.Image(digit)[i / 300 / 4 * 28 + i % 300 / 4] / 2 : 0)))];
            (string end, byte[] file) = row % 2 == 0 ? ("png", PngFiles.Write(sheet, 300)) : ("jpg", JpegFiles.Write(sheet, 300, 200));
            _folder.Write($"sheets/{Digits.Labels[row]}/{row}.{end}", file);
        }

        CliProgram.Result result =
            CliProgram.Run("evaluate", "--weights", server.WeightsFile, "--data", _folder["sheets"], "--device", "cpu", "--json")
            .Succeeded();
        Assert.Contains("pictures by class: 5 PNG and 5 JPEG, normalised as MNIST is", result.Error, StringComparison.Ordinal);
        using JsonDocument evaluated = JsonDocument.Parse(result.Output);
        Assert.InRange(evaluated.RootElement.GetProperty("accuracy").GetDouble(), 0.9, 1);
    }

    /// <summary>As Kaggle has MNIST as JPEG: pictures to test with have no labels.</summary>
    [Fact]
    public void Digits_to_train_on_are_evaluated_on_where_those_to_test_with_have_no_labels()
    {
        for (int row = 0; row < Digits.Count; row++)
        {
            string inner = row < 20 ? $"trainingSet/{Digits.Labels[row]}" : "testSet";
            _folder.Write($"digits/{inner}/img_{row}.png", PngFiles.Write(Digits.Image(row), 28));
        }

        PictureContainer container = new();
        Assert.Equal((20, true), Shape(DataPart.Training));
        Assert.Equal((20, true), Shape(DataPart.Evaluation));
        Assert.Equal((10, false), Shape(DataPart.Prediction));

        (int, bool) Shape(DataPart part)
        {
            DigitDataset data = container.ReadFolder(_folder["digits"], part);
            return (data.Count, data.HasLabels);
        }
    }

    [LongFact]
    public void A_network_is_trained_on_pictures_and_the_run_goes_on_with_them()
    {
        for (int row = 0; row < Digits.Count; row++)
        {
            _folder.Write($"digits/class_{Digits.Labels[row]}/{row}.jpg", JpegFiles.Write(Digits.Image(row).ToArray(), 28, 28));
        }

        Run("train", "--data", _folder["digits"], "--model", "simple", "--epochs", "1", "--out", _folder["run"], "--device", "cpu",
            "--quiet");
        Run("train", "--resume", _folder["run"], "--epochs", "2", "--device", "cpu", "--quiet");
        _folder.Write("digits/class_1/100.png", PngFiles.Write(Digits.Image(0), 28));
        CliProgram.AssertProgramRefuses("is not the data that", "train", "--resume", _folder["run"], "--epochs", "3", "--quiet");
    }

    [Fact]
    public void Pictures_without_labels_are_read_in_the_natural_order_of_their_names()
    {
        int[] order = [.. Enumerable.Range(0, 12)];
        foreach (int row in order)
        {
            _folder.Write($"pictures/scan {row}.{(row % 2 == 0 ? "png" : "JPG")}", row % 2 == 0 ? PngFiles.Write(Digits.Image(row), 28)
                : JpegFiles.Write(Digits.Image(row).ToArray(), 28, 28));
        }

        CliProgram.Result result =
            CliProgram.Run("predict", "--weights", server.WeightsFile, "--data", _folder["pictures"], "--out", _folder["out.csv"],
            "--device", "cpu").Succeeded();
        Assert.Contains("pictures in the order of their names, from scan 0.png to scan 11.JPG: 6 PNG and 6 JPEG", result.Output
            + result.Error, StringComparison.Ordinal);
        string[] labels = [.. File.ReadAllLines(_folder["out.csv"]).Skip(1).Select(line => line.Split(',')[1])];
        Assert.InRange(labels.Zip(order).Count(pair => pair.First == $"{Digits.Labels[pair.Second]}"), 11, 12);

        Run("predict", "--weights", server.WeightsFile, "--data", _folder["pictures/scan 7.JPG"], "--out", _folder["one.csv"], "--device",
            "cpu");
        Assert.Equal(["ImageId,Label", $"1,{Digits.Labels[7]}"], File.ReadAllLines(_folder["one.csv"]));
        CliProgram.AssertProgramRefuses("the digits have no labels", "evaluate", "--weights", server.WeightsFile, "--data",
            _folder["pictures"]);
    }

    [Theory]
    [InlineData("7.heic", "\0\0\0\u0018ftypheic\0\0\0\0", "a HEIC picture, not a PNG or JPEG; save it as one of these, or take it away")]
    [InlineData("7.png", "", "not a PNG or JPEG; take it away")]
    [InlineData("7.jpeg", "\u00ff\u00d8\u00ff\u00e0", "the JPEG is damaged: it is cut off; save it again, or take it away")]
    [InlineData("7.dng", "II*\0", "a TIFF picture, not a PNG or JPEG; save it as one of these, or take it away")]
    public void One_bad_picture_is_named(string name, string bytes, string says)
    {
        for (int row = 0; row < Digits.Count; row++)
        {
            _folder.Write($"digits/{Digits.Labels[row]}/{row}.png", PngFiles.Write(Digits.Image(row), 28));
        }

        _folder.Write($"digits/7/{name}", System.Text.Encoding.Latin1.GetBytes(bytes));
        CliProgram.AssertProgramRefuses($"{Path.Combine(_folder["digits"], "7", name)}: {says}", "data", "show", "--data",
            _folder["digits"], "--out", _folder["sheet.png"]);
    }

    /// <summary>Names that say a number, but not that it is the digit: folds, versions, writers.</summary>
    [Theory]
    [InlineData("versions/1/train/{0}", 30)] // as kagglehub keeps them
    [InlineData("mnist_2/{0}", 30)]
    [InlineData("writer 3/{0}", 30)]
    [InlineData("run_1/plots", 0)]
    public void A_number_in_a_folders_name_is_no_label_where_it_counts_something_else(string name, int labelled)
    {
        foreach (int row in Enumerable.Range(0, Digits.Count))
        {
            _folder.Write($"data/{string.Format(CultureInfo.InvariantCulture, name, Digits.Labels[row])}/{row}.png",
                PngFiles.Write(Digits.Image(row), 28));
        }

        JsonElement shown = Show("data");
        Assert.Equal((30, labelled > 0), (shown.GetProperty("digits").GetInt32(), shown.GetProperty("labelled").GetBoolean()));
        Assert.Equal(labelled,
            shown.GetProperty("check").GetProperty("classes").EnumerateArray().Sum(count => count.GetInt32() == 3 ? 3 : 0));
    }

    [Theory]
    [InlineData("fold_{1}/{0}", "fold_0, fold_1 …")]
    [InlineData("part_{1}", "part_0, part_1 …")]
    [InlineData("Sample00{0}", "Sample000, Sample001 …")]
    [InlineData("{1}/train/{0}", "0, 1 …")]
    public void Several_folders_of_digits_are_named_and_none_is_chosen(string name, string named)
    {
        foreach (int row in Enumerable.Range(0, Digits.Count))
        {
            _folder.Write($"data/{string.Format(CultureInfo.InvariantCulture, name, Digits.Labels[row], row % 3)}/{row}.png",
                PngFiles.Write(Digits.Image(row), 28));
        }

        CliProgram.AssertProgramRefuses(
            $"{_folder["data"]}: holds several folders of digits ({named}); give one of them, or name them 0 to 9 where each holds one "
                + "digit",
            "data", "show", "--data", _folder["data"], "--out", _folder["sheet.png"]);
    }

    [Fact]
    public void A_digit_without_pictures_is_a_warning_even_where_the_program_is_quiet()
    {
        for (int row = 0; row < Digits.Count; row++)
        {
            _folder.Write($"digits/{Digits.Labels[row]}/{row}.png", PngFiles.Write(Digits.Image(row), 28));
        }

        Directory.Delete(_folder["digits/9"], recursive: true);
        string warning = $"warning   {_folder["digits"]}: no pictures of 9";
        string[][] commands =
            [["data", "show", "--out", _folder["sheet.png"], "--json"],
            ["train", "--model", "simple", "--epochs", "1", "--out", _folder["run"], "--device", "cpu", "--quiet"]];
        foreach (string[] command in commands)
        {
            CliProgram.Result result = CliProgram.Run([.. command, "--data", _folder["digits"]]);
            Assert.Equal((0, warning), (result.ExitCode, result.Error.Trim()));
        }
    }

    [Fact]
    public void What_is_not_a_picture_beside_pictures_is_passed_over_and_shown()
    {
        _folder.Write("digits/3/a.png", PngFiles.Write(Digits.Image(3), 28));
        _folder.Write("digits/3/._a.png", [1, 2, 3]);
        _folder.Write("digits/3/Thumbs.db", [1]);
        _folder.Write("digits/notes.txt", [1]);
        _folder.Write("digits/A/b.png", PngFiles.Write(Digits.Image(3), 28));
        JsonElement shown = Show("digits");
        Assert.Equal(1, shown.GetProperty("digits").GetInt32());
        Assert.Equal("pictures by class: 1 PNG, taken as they are; 1 other file passed over (3/Thumbs.db)",
            shown.GetProperty("found").GetString());
        Assert.Equal(["A", "notes.txt"],
            shown.GetProperty("check").GetProperty("unused_files").EnumerateArray().Select(file => file.GetString()));
    }

    [Fact]
    public void What_is_written_is_none_of_the_pictures_that_are_read()
    {
        _folder.Write("digits/3/a.png", PngFiles.Write(Digits.Image(3), 28));
        CliProgram.AssertProgramRefuses("that this command reads", "data", "show", "--data", _folder["digits"], "--out",
            _folder["digits/3/a.png"]);
    }

    [Fact]
    public void The_help_and_the_refusal_name_all_that_is_taken()
    {
        string help = Run("data", "show", "--help"), refusal = CliProgram.Run("train", "--data", _folder.Write("what", [0, 1, 2])).Error;
        foreach (string word in new[] { "CSV", "IDX", "npz", "Parquet", "PNG or JPEG" })
        {
            Assert.Contains(word, help.ReplaceLineEndings(" "), StringComparison.Ordinal);
            Assert.Contains(word, refusal, StringComparison.Ordinal);
        }
    }

    private JsonElement Show(string data)
    {
        using JsonDocument shown =
            JsonDocument.Parse(Run("data", "show", "--data", _folder[data], "--out", _folder["sheet.png"], "--json"));
        return shown.RootElement.Clone();
    }

    private static string Run(params string[] arguments) => CliProgram.Run(arguments).Succeeded().Output;
}
