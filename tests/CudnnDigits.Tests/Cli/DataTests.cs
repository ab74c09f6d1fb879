using System.Security.Cryptography;
using CudnnDigits.Cli;
using CudnnDigits.Cli.Datasets;

namespace CudnnDigits.Tests.Cli;

/// <summary>data show, generate and download.</summary>
public sealed class DataTests : TestsWithFolder
{
    private static readonly byte[] Content = RandomBytes(300_000), OtherContent = [.. Content[..^1], (byte)(Content[^1] ^ 1)];
    private static readonly RemoteFile Known = new("digits.gz", Content.Length, Convert.ToHexStringLower(SHA256.HashData(Content)));

    private TimeSpan _patience = TimeSpan.FromSeconds(20); // this machine may be busy

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Show_finds_what_is_wrong_with_a_set()
    {
        DigitDataset digits = GeneratedDigits.Create(400, seed: 1);
        byte[] pixels = digits.Pixels.ToArray(), labels = digits.Labels.ToArray();
        Image(20).CopyTo(Image(10)); // a copy: both are zeros
        Image(31).CopyTo(Image(45)); // a copy with another label: 1 and 5
        Image(50).Clear();
        Image(60).Clear();
        for (int i = 0; i < 784; i++)
        {
            Image(73)[i] = (byte)(255 - Image(73)[i]);
            Image(84)[i] = i / 28 >= 5 ? Image(4)[i - 5 * 28] : (byte)0; // five rows too low
            Image(95)[i] = (byte)(Image(95)[i] / 60);
        }

        Image(95)[400] = 40; // faint, but not blank
        string sheet = _folder["sheet.png"], csv = _folder.Write("odd.csv", DigitFiles.Csv(new DigitDataset("odd", pixels, labels)));
        JsonElement result = JsonDocument.Parse(Run("data", "show", "--data", csv, "--out", sheet, "--json")).RootElement,
        check = result.GetProperty("check");
        Assert.Equal(400, result.GetProperty("digits").GetInt32());
        Assert.Equal(Enumerable.Repeat(40, 10), Numbers(check.GetProperty("classes")));
        Assert.Equal([50, 60], Numbers(check.GetProperty("blank")));
        Assert.Equal([73], Numbers(check.GetProperty("inverted")));
        Assert.Contains(84, Numbers(check.GetProperty("misplaced")));
        Assert.Equal(95, Numbers(check.GetProperty("unusual"))[0]);
        (int[] Rows, bool Conflict)[] duplicates =
            [.. check.GetProperty("duplicates").EnumerateArray()
            .Select(d => (Numbers(d.GetProperty("rows")), d.GetProperty("conflict").GetBoolean()))];
        Assert.Equal(3, duplicates.Length);
        Assert.Contains(duplicates, d => d.Rows is [10, 20] && !d.Conflict);
        Assert.Contains(duplicates, d => d.Rows is [31, 45] && d.Conflict);
        Assert.Contains(duplicates, d => d.Rows is [50, 60] && !d.Conflict);

        string text = Run("data", "show", "--data", csv, "--out", sheet);
        Assert.Contains("conflicts    1 pictures with different labels: 31 is 1, 45 is 5", text, StringComparison.Ordinal);
        Assert.Contains("blank        2 digits without ink: rows 50, 60, counted from 0", text, StringComparison.Ordinal);
        StbImageSharp.ImageResult picture =
            StbImageSharp.ImageResult.FromMemory(File.ReadAllBytes(sheet), StbImageSharp.ColorComponents.Grey);
        Assert.Equal((1408, 674), (picture.Width, picture.Height)); // ten classes, and a line of odd ones
        Assert.Equal(digits.Image(0)[10 * 28 + 9], picture.Data[(8 + 20) * picture.Width + 8 + 18]); // each pixel twice as large

        Span<byte> Image(int row) => pixels.AsSpan(784 * row, 784);
    }

    [Fact]
    public void Show_looks_into_folders_and_zips_and_names_what_is_no_part_of_them()
    {
        DigitDataset digits = GeneratedDigits.Create(30, seed: 1);
        _folder.Write("idx/train-images-idx3-ubyte", DigitFiles.IdxImages(digits));
        _folder.Write("idx/train-labels-idx1-ubyte", DigitFiles.IdxLabels(digits));
        _folder.Write("idx/train-images-idx3-ubyte.gz.crdownload", [1]);
        Assert.Contains("not used     train-images-idx3-ubyte.gz.crdownload\n",
            Run("data", "show", "--data", _folder["idx"], "--out", _folder["a.png"]), StringComparison.Ordinal);

        byte[] csv = DigitFiles.Csv(digits), test = DigitFiles.Csv(DigitFiles.WithoutLabels(digits));
        string zip = _folder.Write("kaggle.zip", DigitFiles.Zip(("train.csv", csv), ("test.csv", test), ("notes.txt", [1])));
        Assert.Contains("not used     notes.txt", Run("data", "show", "--data", zip, "--out", _folder["a.png"]), StringComparison.Ordinal);
        Assert.Contains("30 digits, no labels", Run("data", "show", "--data", zip, "--part", "test", "--out", _folder["a.png"]),
            StringComparison.Ordinal);
        CliProgram.Result shown = CliProgram.Run("data", "show", "--part", "test", "--out", _folder["a.png"]).Succeeded();
        Assert.Contains("12,000 digits", shown.Output, StringComparison.Ordinal);
        Assert.Equal("warning   --part: the built-in digits have no parts; all digits are shown\n", shown.Error);
        CliProgram.AssertRefused("no such file", "data", "show", "--data", _folder["absent.csv"]);
        CliProgram.AssertRefused("cannot be written", "data", "show", "--out", _folder["absent/a.png"]);
    }

    [LongFact]
    public void The_layout_of_a_table_is_said_once_and_nothing_of_Kaggles_own()
    {
        DigitDataset digits = GeneratedDigits.Create(60, seed: 1);
        string kaggle = Encoding.UTF8.GetString(DigitFiles.Csv(digits)), path = _folder["a.csv"], weights = _folder["w.safetensors"],
        sheet = _folder["a.png"];
        const string Layout = "a table: no header, label in column 1, pixels in columns 2 to 785";
        Checkpoint.SaveWeights(weights, Initializer.Create(DigitNetworks.Simple, 0), 1);
        File.WriteAllText(path, kaggle);
        Assert.DoesNotContain("found", Run("data", "show", "--data", path, "--out", sheet), StringComparison.Ordinal);
        Assert.DoesNotContain("found", CliProgram.Run("evaluate", "--device", "cpu", "--weights", weights, "--data", path).Error,
            StringComparison.Ordinal);
        string expected = Predict();

        File.WriteAllText(path, kaggle[(kaggle.IndexOf('\n', StringComparison.Ordinal) + 1)..]);
        Assert.Contains($"found        {Layout}\n", Run("data", "show", "--data", path, "--out", sheet), StringComparison.Ordinal);
        Assert.Equal(Layout, JsonDocument.Parse(Run("data", "show", "--data", path, "--out", sheet, "--json"))
            .RootElement.GetProperty("found").GetString());
        Assert.Contains($"found     {Layout}\n", CliProgram.Run("evaluate", "--device", "cpu", "--weights", weights, "--data", path).Error,
            StringComparison.Ordinal);
        Assert.Equal(expected, Predict());

        string Predict()
        {
            Run("predict", "--device", "cpu", "--weights", weights, "--data", path, "--out", _folder["out.csv"]);
            return File.ReadAllText(_folder["out.csv"]);
        }
    }

    [Fact]
    public void Digits_counted_in_a_smaller_range_are_told_of()
    {
        DigitDataset digits = GeneratedDigits.Create(60, seed: 1);
        byte[] pixels = [.. digits.Pixels.ToArray().Select(value => (byte)(value / 16))];
        string path = _folder.Write("small.csv", DigitFiles.Csv(new DigitDataset("", pixels, digits.Labels.ToArray()))),
        weights = _folder["w.safetensors"];
        Checkpoint.SaveWeights(weights, Initializer.Create(DigitNetworks.Simple, 0), 1);
        const string Says = "the largest pixel of the 60 digits is 15, and the networks expect ink of up to 255: multiply the pixels by "
            + "17 first\n";
        Assert.Contains($"warning   {Says}", CliProgram.Run("evaluate", "--device", "cpu", "--weights", weights, "--data", path).Error,
            StringComparison.Ordinal);
        Assert.Contains($"range        {Says}", Run("data", "show", "--data", path, "--out", _folder["a.png"]), StringComparison.Ordinal);
        Assert.Null(PixelScale.Warning(digits));
        Assert.Null(PixelScale.Warning(new DigitDataset("", pixels[..(5 * 784)], null))); // few may be faint
        Assert.Null(PixelScale.Warning(new DigitDataset("", new byte[60 * 784], null))); // blank, which is another matter
    }

    /// <summary>What a run held out is found in what it was given, beside labelled digits to test on.</summary>
    [Fact]
    public void A_subset_is_of_the_digits_that_were_trained_on_where_there_are_others_to_test_on()
    {
        string zip = _folder.Write("mnist.zip",
            DigitFiles.Zip(("train.csv", DigitFiles.Csv(GeneratedDigits.Create(50, seed: 1))),
            ("test.csv", DigitFiles.Csv(GeneratedDigits.Create(30, seed: 2))))), run = _folder["run"];
        Run("train", "--device", "cpu", "--quiet", "--model", "simple", "--epochs", "1", "--data", zip, "--out", run);
        Assert.Contains("of 10 digits", Run("evaluate", "--device", "cpu", "--weights", run, "--data", zip, "--subset", "validation"),
            StringComparison.Ordinal);
        Assert.Contains("of 30 digits", Run("evaluate", "--device", "cpu", "--weights", run, "--data", zip), StringComparison.Ordinal);
    }

    [Fact]
    public void Show_reads_gzip_data_by_the_name_of_a_zip_file()
    {
        string path = _folder.Write("digits.zip", DigitFiles.Gzip(DigitFiles.Csv(GeneratedDigits.Create(30, seed: 1))));
        Assert.Contains("30 digits", Run("data", "show", "--data", path, "--out", _folder["a.png"]), StringComparison.Ordinal);
    }

    [Fact]
    public void Digits_that_are_not_upright_are_told_of()
    {
        DigitDataset digits = GeneratedDigits.Create(100, seed: 1);
        byte[] transposed = new byte[digits.Pixels.Length];
        for (int i = 0; i < transposed.Length; i++)
        {
            transposed[i] = digits.Image(i / 784)[i % 28 * 28 + i % 784 / 28];
        }

        string path = _folder.Write("emnist.csv", DigitFiles.Csv(new DigitDataset("", transposed, digits.Labels.ToArray()))),
        weights = _folder["w.safetensors"];
        Checkpoint.SaveWeights(weights, Initializer.Create(DigitNetworks.Simple, 0), 1);
        Assert.Contains("orientation  the digits seem to be transposed (rows and columns exchanged, as in EMNIST's files)",
            Run("data", "show", "--data", path, "--out", _folder["a.png"]), StringComparison.Ordinal);
        foreach (string[] command in new string[][] { ["evaluate", "--weights", weights],
            ["train", "--quiet", "--model", "simple", "--epochs", "1", "--out", _folder["run"]] })
        {
            CliProgram.Result result = CliProgram.Run([.. command, "--device", "cpu", "--data", path]).Succeeded();
            Assert.Contains("warning   the digits seem to be transposed", result.Error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [LongData("digits.csv")]
    [LongData("digits.csv.gz")]
    [InlineData("digits")]
    public void Generate_writes_what_train_would_make(string name)
    {
        string path = _folder[name];
        Run("data", "generate", "--count", "120", "--seed", "3", "--out", path);
        Assert.Equal(GeneratedDigits.Create(120, 3).Fingerprint(), DataSource.Open(path, DataPart.Training).Fingerprint());
        CliProgram.AssertRefused("cannot be", "data", "generate", "--out", "/proc/no/digits");
        CliProgram.AssertRefused("--count is 0", "data", "generate", "--count", "0", "--out", path);
        CliProgram.AssertRefused("--out", "data", "generate");
        Assert.SkipUnless(Directory.Exists("/proc/self"), "needs /proc"); // a folder that is there and takes no files
        CliProgram.AssertRefused("/proc/digits.csv: cannot be written: Access to the path '/proc/digits.csv' is denied", "data", "generate",
            "--out", "/proc/digits.csv");
    }

    [Theory]
    [InlineData("train-images-idx3-ubyte")]
    [InlineData("train-labels-idx1-ubyte.gz")]
    [InlineData("t10k-images.idx3-ubyte")]
    public void Generate_writes_into_no_folder_that_has_digits(string name)
    {
        _folder.Write(name, "mine");
        CliProgram.AssertRefused($"{_folder.Path}: holds digits already ({name}); choose another --out", "data", "generate", "--count",
            "10", "--out", _folder.Path);
        Assert.Equal("mine", File.ReadAllText(_folder[name]));
        Assert.Single(Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public async Task A_connection_that_is_cut_again_and_again_is_gone_on_with()
    {
        using LyingServer server =
            new(LyingServer.CutAfter(Content, 100_000), LyingServer.CutAfter(Content, 50_000), LyingServer.CutAfter(Content, 1),
            LyingServer.Honest(Content));
        Assert.True(await Download(server.Address));
        Assert.Equal([null, 100_000, 150_000, 150_001], server.Requests.Select(request => request.From));
        Assert.All(server.Requests, request => Assert.Equal("/mnist/digits.gz", request.Path));
        AssertDownloaded();
        Assert.False(await Download(server.Address)); // there already
        Assert.Equal(4, server.Requests.Count);
    }

    [Fact]
    public async Task What_an_earlier_attempt_left_is_gone_on_with()
    {
        await File.WriteAllBytesAsync(_folder["digits.gz.part"], Content[..123_456], Cancellation);
        using LyingServer server = new(LyingServer.Honest(Content));
        Assert.True(await Download(server.Address));
        Assert.Equal(123_456, Assert.Single(server.Requests).From);
        AssertDownloaded();
    }

    [Fact]
    public async Task A_download_goes_where_a_link_leads_and_into_no_device()
    {
        _folder.Make("disk");
        File.CreateSymbolicLink(_folder["digits.gz"], "disk/digits.gz");
        using LyingServer server = new(LyingServer.Honest(Content));
        Assert.True(await Download(server.Address));
        Assert.Equal("disk/digits.gz", new FileInfo(_folder["digits.gz"]).LinkTarget);
        Assert.Equal(Content, await File.ReadAllBytesAsync(_folder["disk/digits.gz"], Cancellation));

        File.Delete(_folder["digits.gz"]);
        FileNodes.Fifo(_folder["digits.gz"]);
        await Assert.ThrowsAsync<InputException>(() => Download(server.Address));
        Assert.Equal(FileKind.Special, FileNodes.Kind(_folder["digits.gz"]));
    }

    /// <summary>Servers that lie, and what is said of those whose file must come from elsewhere.</summary>
    private static readonly Dictionary<string, (string Says, Func<LyingServer.Request, Stream, Task> Act)> Liars = new()
    {
        ["no ranges"] = ("", LyingServer.WithoutRanges(Content)),
        ["other part"] = ("", LyingServer.OtherPart(Content)),
        ["no length, short"] = ("", LyingServer.Promise(Content[..5000], null)),
        ["range refused"] = ("", LyingServer.Status("416 Range Not Satisfiable")),
        ["server error"] = ("", LyingServer.Status("503 Service Unavailable")),
        ["stalls"] = ("", LyingServer.Stall(Content, 2000)),
        ["promises more"] = ("promises 300,001 bytes, expected 300,000", LyingServer.Promise([.. Content, 1], Content.Length + 1)),
        ["promises less"] = ("promises 299,999 bytes, expected 300,000", LyingServer.Promise(Content[..^1], Content.Length - 1)),
        ["sends more"] = ("sends more than the file's 300,000 bytes", LyingServer.Promise([.. Content, .. Content], null)),
        ["other content"] = ("checksum is wrong", LyingServer.Promise(OtherContent, OtherContent.Length)),
        ["not found"] = ("answered 404", LyingServer.Status("404 Not Found")),
    };

    public static TheoryData<string> Lies => [.. Liars.Keys];

    /// <summary>A liar that a second attempt can do without is forgiven; one with another file is left for the next mirror.</summary>
    [Theory]
    [MemberData(nameof(Lies))]
    public async Task A_server_that_lies_costs_time_but_nothing_else(string lie)
    {
        (string says, Func<LyingServer.Request, Stream, Task> act) = Liars[lie];
        _folder.Write("digits.gz.part", Content[..1000]);
        using LyingServer liar = new(act, LyingServer.Honest(Content)), persistent = new(act), honest = new(LyingServer.Honest(Content));
        if (says.Length == 0)
        {
            _patience = TimeSpan.FromSeconds(0.5); // with a server that stalls
            Assert.True(await Download(liar.Address)); // the second attempt
            Assert.InRange(liar.Requests.Count, 1, 2);
        }
        else
        {
            Assert.Contains(says, (await Assert.ThrowsAsync<RunFailedException>(() => Download(persistent.Address))).Message,
                StringComparison.Ordinal);
            Assert.Single(persistent.Requests);
            Assert.False(File.Exists(_folder["digits.gz"]));
            Assert.True(await Download(persistent.Address, honest.Address)); // the next mirror
        }

        AssertDownloaded();
    }

    [Fact]
    public async Task Cancelling_keeps_what_has_arrived()
    {
        using LyingServer server = new(LyingServer.Stall(Content, 70_000));
        using CancellationTokenSource source = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        using Downloader downloader = new([server.Address], _folder.Path, (_, bytes) =>
        {
            if (bytes == 70_000)
            {
                source.Cancel();
            }
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => downloader.Download(Known, source.Token));
        Assert.Equal(Content[..70_000], await File.ReadAllBytesAsync(_folder["digits.gz.part"], Cancellation));
    }

    [Fact]
    public void The_program_tries_the_given_mirror_first_and_says_why_it_failed()
    {
        using LyingServer server = new(LyingServer.Promise(new byte[10], 10));
        CliProgram.Result result =
            CliProgram.Run("data", "download", "mnist", "--mirror", server.Address.ToString(), "--out", _folder["mnist"]);
        Assert.Equal("/mnist/train-images-idx3-ubyte.gz", server.Requests.First().Path);
        if (result.ExitCode != 0) // without a network
        {
            Assert.Equal(1, result.ExitCode);
            Assert.Contains("train-images-idx3-ubyte.gz could not be downloaded; 3 mirrors tried",
                Assert.Single(result.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
            Assert.Empty(Directory.GetFiles(_folder["mnist"]));
        }

        CliProgram.AssertRefused("--mirror ftp://x: is no address", "data", "download", "mnist", "--mirror", "ftp://x");
        CliProgram.AssertRefused("cifar", "data", "download", "cifar");
    }

    [Fact]
    public void Downloads_go_where_the_platform_keeps_caches()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "looks at XDG_CACHE_HOME");
        string Help(string cache) =>
            string.Concat(CliProgram.RunIn(_folder.Path, [("XDG_CACHE_HOME", cache), ("HOME", "/home/ada")], "data", "download", "--help")
            .Output.Where(letter => !char.IsWhiteSpace(letter)));
        Assert.Contains("/var/caches/cudnn-digits/mnist", Help("/var/caches"), StringComparison.Ordinal);
        Assert.Contains("/home/ada/.cache/cudnn-digits/mnist", Help("relative"), StringComparison.Ordinal);
    }

    private async Task<bool> Download(params Uri[] mirrors)
    {
        using Downloader downloader =
            new(mirrors, _folder.Path, (_, _) => { }) { Patience = _patience, FirstPause = TimeSpan.FromMilliseconds(1) };
        return await downloader.Download(Known, Cancellation);
    }

    private void AssertDownloaded()
    {
        Assert.Equal(Content, File.ReadAllBytes(_folder["digits.gz"]));
        Assert.False(File.Exists(_folder["digits.gz.part"]));
    }

    private static byte[] RandomBytes(int count)
    {
        byte[] bytes = new byte[count];
        new Random(5).NextBytes(bytes);
        return bytes;
    }

    private static int[] Numbers(JsonElement array) => [.. array.EnumerateArray().Select(value => value.GetInt32())];

    private static string Run(params string[] arguments) => CliProgram.Run(arguments).Succeeded().Output;
}
