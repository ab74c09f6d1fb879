using System.IO.Compression;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Datasets;

internal sealed record DataShowResult(
    string Data, string? Found, int Digits, bool Labelled, string Fingerprint, DatasetCheck Check, string Sheet);

internal sealed record DataGenerateResult(int Digits, ulong Seed, string[] Files);

internal sealed record DataDownloadResult(string Folder, string[] Files, int Downloaded);

internal static class DataCommand
{
    /// <summary>MNIST as distributed since 1998, with the checksums that data loaders of all languages use.</summary>
    private static readonly RemoteFile[] Mnist =
    [
        new("train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        new("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        new("t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        new("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ];

    /// <summary>The mirrors that PyTorch and TensorFlow use.</summary>
    private static readonly Uri[] Mirrors =
        [new("https://ossci-datasets.s3.amazonaws.com/mnist/"), new("https://storage.googleapis.com/cvdf-datasets/mnist/")];

    private const string Set = "mnist";

    private static readonly Option<string?> Data =
        CommonOptions.Value("--data", "PATH", $"Digits: {DataSource.Expected}. Default: built-in generated digits.");

    private static readonly Option<string?> Part =
        CommonOptions.Choice("--part", "Part of the set to show. Default: train.", "train", "test");

    private static readonly Option<string> Sheet =
        CommonOptions.OutFile("The contact sheet, a PNG; - is standard output.", "contact-sheet.png");

    private static readonly Option<int?> Count = CommonOptions.Ranged(
        "--count", "N", $"How many. Default: {GeneratedDigits.DefaultCount}, what train makes for itself.", 1, PixelBuffer.Most);

    private static readonly Option<string> Generated = new("--out")
    {
        Description = "A .csv or .csv.gz file in Kaggle's layout, which - (standard output), a device and a FIFO get too; "
            + "else a folder for MNIST's IDX files.",
        HelpName = "PATH",
        Required = true,
    };

    private static readonly Argument<string> Downloaded = new("SET")
    {
        Description = "mnist: 60,000 digits to train on and 10,000 to test, 12 MB.",
        CompletionSources = { Set },
    };

    private static readonly Option<string?> Folder = CommonOptions.OutFolder($"Folder for the files. Default: {CacheFolder.Of(Set)}.");
    private static readonly Option<string[]> Mirror = new("--mirror")
    {
        Description = "Address of a folder that has the files, tried before the public mirrors.",
        HelpName = "URL",
    };

    public static Command Create() => new("data", "Show a data set, generate digits, or download MNIST.")
    {
        CommonOptions.NewCommand(
            "show", "Show class counts, duplicates, odd digits and files, and write a contact sheet.",
            [Data, Part, Sheet, CommonOptions.Json], Show),
        CommonOptions.NewCommand(
            "generate", "Write the built-in digits to a file, as Kaggle's CSV or MNIST's IDX.",
            [Count, TrainingOptionSet.Seed, Generated, CommonOptions.Json], Generate),
        CommonOptions.NewCommand(
            "download", "Download MNIST from public mirrors and verify it. Continues an interrupted download.",
            [Downloaded, Folder, Mirror, CommonOptions.Quiet, CommonOptions.Json], result => Download(result).GetAwaiter().GetResult()),
    };

    private static void Show(ParseResult result)
    {
        string? path = result.GetValue(Data);
        string sheet = result.GetRequiredValue(Sheet);
        OutputFile output = new(Sheet.Name, sheet, result.GetValue(CommonOptions.Json), DataSource.FilesOf(path));
        DigitDataset data = path is null ? GeneratedDigits.Create()
            : DataSource.Read(path, result.GetValue(Part) == "test" ? DataPart.Prediction : DataPart.Training);
        CommonOptions.Note("warning", data.Warning);
        bool hasParts = path is not null && (Directory.Exists(path) || DataSource.Head(path).AsSpan().StartsWith("PK"u8));
        CommonOptions.Note("warning", hasParts || result.GetValue(Part) is null ? null
            : $"{Part.Name}: {(path is null ? "the built-in digits have" : "this file has")} no parts; all digits are shown");
        DatasetCheck check = DatasetCheck.Of(data, path);
        IEnumerable<int> conflicts = check.Duplicates.Where(duplicates => duplicates.Conflict).SelectMany(duplicates => duplicates.Rows);
        int[] odd = [.. check.Blank, .. check.Inverted, .. conflicts, .. check.Unusual, .. check.Misplaced];
        output.Write(stream => stream.Write(ContactSheet.Draw(data, [.. odd.Distinct()])));
        output.Tell(
            new DataShowResult(data.Name, data.Found, data.Count, data.HasLabels, data.Fingerprint(), check, sheet),
            Format(data, check, output));
    }

    private static string Format(DigitDataset data, DatasetCheck check, OutputFile sheet)
    {
        IReadOnlyList<Duplicates> duplicates = check.Duplicates;
        Duplicates[] conflicts = [.. duplicates.Where(one => one.Conflict)];
        string labels = string.Join("; ", conflicts.Take(5)
            .Select(one => string.Join(", ", one.Rows.Zip(one.Labels, (row, label) => $"{row} is {label}"))));
        int more = check.UnusedFiles.Length - 10;
        (string Name, string? Text)[] lines =
        [
            ("data", $"{data.Name}: {Figures.Count(data.Count, "digit")}{(data.HasLabels ? "" : ", no labels")}, "
                + $"SHA-256 {data.Fingerprint()}"),
            ("found", data.Found),
            ("classes", data.HasLabels ? string.Join("  ", check.Classes.Select((count, digit) => $"{digit}: {count:N0}")) : null),
            ("mean ink", $"{check.MeanInk:F1} of 255 ({check.MeanInk / 2.55:F2} %)"),
            ("duplicates", duplicates.Count == 0 ? "none" : $"{duplicates.Count:N0} pictures more than once, "
                + $"{duplicates.Sum(one => one.Rows.Length - 1):N0} copies: {Rows([.. duplicates.SelectMany(one => one.Rows)])}"),
            ("conflicts", conflicts.Length == 0 ? null : $"{conflicts.Length:N0} pictures with different labels: {labels}"),
            ("blank", Count(check.Blank, "without ink")),
            ("inverted", Count(check.Inverted, "with dark ink on light paper; the networks expect light on dark")),
            ("misplaced", Count(check.Misplaced, "off the middle: not normalised as MNIST is")),
            ("unusual ink", Count(check.Unusual, $"with much more or less ink than {(check.Unusual.Length == 1 ? "its" : "their")} class")),
            ("orientation", check.Orientation),
            ("range", check.Range),
            ("not used", check.UnusedFiles.Length == 0 ? null
                : string.Join(", ", check.UnusedFiles.Take(10)) + (more > 0 ? $" and {more} more" : "")),
            ("sheet", $"{sheet}"),
        ];
        return string.Join(Environment.NewLine, lines.Where(line => line.Text is not null).Select(line => $"{line.Name,-12} {line.Text}"));

        static string Count(int[] rows, string what) =>
            rows.Length == 0 ? "none" : $"{rows.Length:N0} digit{(rows.Length == 1 ? "" : "s")} {what}: {Rows(rows)}";
    }

    /// <summary>"rows 3, 5, 8 …, counted from 0".</summary>
    private static string Rows(int[] rows) =>
        $"row{(rows.Length == 1 ? "" : "s")} {DataSource.Some(rows.Select(row => $"{row}"), 8)}, counted from 0";

    private static void Generate(ParseResult result)
    {
        string path = result.GetRequiredValue(Generated);
        bool EndsIn(string ending) => path.EndsWith(ending, StringComparison.OrdinalIgnoreCase);
        bool isStream = OutputFile.IsStream(path), isTable = isStream || EndsIn(".csv") || EndsIn(".csv.gz");
        if (!isTable)
        {
            CommonOptions.CreateFolder(path);
            if (new IdxContainer().FilesIn(path).FirstOrDefault() is { } found)
            {
                throw new InputException(
                    $"{path}: holds digits already ({Path.GetFileName(found)}); choose another {Generated.Name}, or take them away");
            }
        }

        string[] files = isTable ? [path] : [.. Mnist.Take(2).Select(file => Path.Combine(path, file.Name))];
        bool json = result.GetValue(CommonOptions.Json);
        OutputFile[] outputs = [.. files.Select(file => new OutputFile(Generated.Name, file, json, []))];
        int count = result.GetValue(Count) ?? GeneratedDigits.DefaultCount;
        ulong seed = TrainingOptionSet.Resolve(result).Seed;
        DigitDataset digits = GeneratedDigits.Create(count, seed);
        Action<Stream>[] writers =
            isTable ? [WriteTable] : [file => IdxFile.WriteImages(file, digits), file => IdxFile.WriteLabels(file, digits)];
        foreach ((OutputFile output, Action<Stream> write) in outputs.Zip(writers))
        {
            output.Write(file =>
            {
                using GZipStream? packed = !isTable || EndsIn(".gz") ? new(file, CompressionLevel.Optimal, leaveOpen: true) : null;
                write(packed ?? file);
            });
        }

        outputs[0].Tell(
            new DataGenerateResult(count, seed, files),
            $"{Figures.Count(count, "digit")}\n{string.Join('\n', outputs.Select(file => $"file      {file}"))}"
                + (isStream ? "" : $"\nnext      {ThisProgram.Command("train", "--data", path)}"));

        void WriteTable(Stream file)
        {
            using StreamWriter writer = new(file, leaveOpen: true);
            DigitCsv.Write(writer, digits);
        }
    }

    private static async Task Download(ParseResult result)
    {
        if (result.GetRequiredValue(Downloaded) is var other && !other.Equals(Set, StringComparison.OrdinalIgnoreCase))
        {
            throw new InputException($"{other}: is no set that can be downloaded; expected {Set}");
        }

        string folder = result.GetValue(Folder) ?? CacheFolder.Of(Set);
        Uri[] mirrors = [.. (result.GetValue(Mirror) ?? []).Select(AddressOf), .. Mirrors];
        CommonOptions.CreateFolder(folder);
        using Interruption interruption = new();
        using DownloadProgress progress = new(result.GetValue(CommonOptions.Quiet), Mnist.Sum(file => file.Bytes));
        using Downloader downloader = new(mirrors, folder, progress.Report);
        int downloaded = 0;
        foreach (RemoteFile file in Mnist)
        {
            bool fetched = await downloader.Download(file, interruption.Token);
            downloaded += fetched ? 1 : 0;
            progress.Done(file, fetched);
        }

        CliJson.Print(
            result, new DataDownloadResult(folder, [.. Mnist.Select(file => file.Name)], downloaded),
            $"mnist     {folder}\nnext      {ThisProgram.Command("train", "--data", folder)}");
    }

    private static Uri AddressOf(string mirror) =>
        Uri.TryCreate(mirror.TrimEnd('/') + "/", UriKind.Absolute, out Uri? address) && address.Scheme is "http" or "https" ? address
            : throw new InputException($"--mirror {mirror}: is no address; expected such as https://example.org/mnist/");
}
