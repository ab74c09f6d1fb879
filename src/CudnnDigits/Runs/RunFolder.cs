using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using CudnnDigits.Data;
using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Runs;

/// <summary>The data of a run, as run.json records it; the path is absolute, or null for the built-in generated digits.</summary>
internal sealed record RunData(string? Path, int Count, string Fingerprint)
{
    public static RunData Of(string? path, DigitDataset data) =>
        new(path is null ? null : System.IO.Path.GetFullPath(path), data.Count, data.Fingerprint());
}

/// <summary>run.json: what a run was started with; random weights if InitFrom is null. Older versions lack the last two members.</summary>
internal sealed record RunRecord(
    string Version, DateTime Started, TrainingOptions Options, string? InitFrom, RunData Data, string DeviceOption, string Device,
    Precision Precision, bool Deterministic, string Runtime, CudaDetails? Cuda, string? InitFromSha256 = null,
    CudaKernels Kernels = CudaKernels.Auto)
{
    /// <summary>What <see cref="RunFolder.ForgetKernels"/> has found in the file.</summary>
    [JsonIgnore]
    public string? GoneKernels { get; init; }
}

/// <summary>The folder of a run. Each file is written whole or not at all, so a killed run can be resumed from any moment.</summary>
internal sealed class RunFolder(string path) : IDisposable
{
    /// <summary>The file that marks the folder of a study, which contains several runs.</summary>
    internal const string StudyName = "study.json";

    private const string RecordName = "run.json", MetricsName = "metrics.json", HistoryName = "history.csv";
    private const string ReportName = "report.html", ModelName = "model.safetensors", StateName = "last.safetensors";
    private const string ModelKey = "model_sha256";
    private const string HistoryHeader =
        "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second";

    private static readonly string[] Names = [RecordName, MetricsName, HistoryName, ReportName, ModelName, StateName];

    private FolderLock? _lock;

    public string Path { get; } = path;

    /// <summary>The kept weights.</summary>
    public string ModelFile => FileOf(ModelName);

    /// <summary>Everything that is needed to resume.</summary>
    public string StateFile => FileOf(StateName);

    /// <summary>The run as a web page. The program writes it, not this library.</summary>
    public string ReportFile => FileOf(ReportName);

    private string RecordFilePath => FileOf(RecordName);

    private string MetricsFile => FileOf(MetricsName);

    private string HistoryFile => FileOf(HistoryName);

    /// <summary>The file with weights that a path leads to: for the folder of a run, its kept weights; for a file, that file.</summary>
    internal static string WeightsOf(string path)
    {
        if (!Directory.Exists(path))
        {
            return RunOf(path) is { } run && System.IO.Path.GetExtension(path) is not (".safetensors" or ".onnx")
                ? throw new InputException($"{path}: is one of a run's files and holds no weights; give the run's folder, {run}")
                : path;
        }

        RunFolder folder = new(path);
        if (File.Exists(folder.ModelFile))
        {
            return folder.ModelFile;
        }

        if (File.Exists(folder.RecordFilePath))
        {
            throw new InputException($"{path}: is a folder of a run that has kept no weights yet (no {ModelName}); "
                + "wait for its first epoch, or go on with it first (train --resume)");
        }

        string[] runs = [.. InputFile.Reading(path, () => Directory.GetDirectories(path))
            .Where(sub => File.Exists(new RunFolder(sub).ModelFile)).Order(StringComparer.Ordinal)];
        string advice = runs.Length == 1 ? "one run; give that" : $"{runs.Length} runs; give one of them";
        IEnumerable<string> first = runs.Take(3).Select(run => run.Contains(' ') ? $"'{run}'" : run);
        throw new InputException(runs.Length > 0
            ? $"{path}: is a folder of {advice}: {string.Join(", ", first)}{(runs.Length > 3 ? ", …" : "")}"
            : $"{path}: is a folder, but not a run's: it has no {ModelName}; give the folder that train wrote, or a .safetensors file");
    }

    /// <summary>The folder of the run that a file belongs to, written as in the file's path; null if it belongs to none.</summary>
    internal static string? RunOf(string file)
    {
        string folder = System.IO.Path.GetDirectoryName(file) is { Length: > 0 } above ? above : ".";
        bool isNamedSo = Names.Contains(System.IO.Path.GetFileName(file)) && File.Exists(file);
        return isNamedSo && File.Exists(new RunFolder(folder).RecordFilePath) ? folder : null;
    }

    /// <summary>
    /// How runs split their data: the one whose folder holds a file of weights, before it the one whose weights that began with, and so
    /// on, as far as their folders are still there.
    /// </summary>
    internal static IEnumerable<SplitRecord> SplitsBehind(string? weights)
    {
        for (DateTime before = DateTime.MaxValue; TryReadRecord() is { } record && record.Started < before;) // else made there since
        {
            yield return new SplitRecord(record.Options.Split, record.Data.Fingerprint);
            (before, weights) = (record.Started, record.InitFrom);
        }

        RunRecord? TryReadRecord()
        {
            try
            {
                return RunOf(weights ?? "") is { } run ? new RunFolder(run).ReadRecord() : null;
            }
            catch (InputException)
            {
                return null; // what a damaged run was trained on is unknown
            }
        }
    }

    /// <summary>Creates the folder of a new run and writes run.json. Other processes cannot write there until it is disposed.</summary>
    public static RunFolder Create(string path, RunRecord record)
    {
        RunFolder folder = new(path);
        folder._lock = FolderLock.TakeEmpty(path) ?? throw folder.IsOccupied();
        folder.WriteRecord(record);
        return folder;
    }

    /// <summary>Opens a run to continue it. Other processes cannot write there until it is disposed.</summary>
    public static RunFolder Open(string path, out RunRecord record)
    {
        RunFolder folder = new(path);
        folder.ReadRecord(); // before the lock: nothing is written into a folder that holds no run
        folder._lock = FolderLock.Take(path);
        record = folder.ReadRecord(); // again: another process may have changed it before the lock was taken
        return folder;
    }

    public void Dispose()
    {
        _lock?.Dispose();
        _lock = null;
    }

    /// <summary>Has auto choose where a record names kernels that only older versions had, and returns their name; else null.</summary>
    internal static string? ForgetKernels(JsonObject? machine)
    {
        string? gone = machine?["kernels"]?.ToString().ToLowerInvariant();
        return gone is "hybrid" or "warpgroups" && machine!.Remove("kernels") ? gone : null;
    }

    public RunRecord ReadRecord()
    {
        string? gone = null;
        RunRecord record = RecordFile.Read(
            RecordFilePath, TrainingJson.Default.RunRecord, take: content => gone = ForgetKernels(content)) ?? throw HoldsNoRun();
        try
        {
            record.Options.Checked();
            DeviceName.Ordinal(record.DeviceOption);
            return !Enum.IsDefined(record.Precision) ? throw new ArgumentException($"precision is {record.Precision}")
                : !Enum.IsDefined(record.Kernels) ? throw new ArgumentException($"kernels is {record.Kernels}")
                : record with { GoneKernels = gone };
        }
        catch (Exception e) when (e is ArgumentException or InputException)
        {
            throw new InputException($"{RecordFilePath}: is damaged: {e.Message}; restore a copy of it", e);
        }
    }

    /// <summary>Reads metrics.json. Null if the run has not ended.</summary>
    public Metrics? ReadMetrics()
    {
        string? model = null;
        Metrics? metrics = RecordFile.Read(
            MetricsFile, TrainingJson.Default.Metrics, HowToMend, (HistoryName, WhatLedToMetrics),
            content => model = content.Remove(ModelKey, out JsonNode? sum) ? sum?.ToString() : null);
        if (model is not null && !(File.Exists(ModelFile) ? Sha256(ModelFile) == model : !File.Exists(StateFile))) // tune deletes both
        {
            throw new InputException($"{ModelFile}: is not what the run has kept; {HowToMend}");
        }

        return metrics is null || metrics.IsPossible
            ? metrics
            : throw new InputException($"{MetricsFile}: is damaged: its numbers contradict each other; {HowToMend}");
    }

    /// <summary>Reads history.csv. Empty if no epoch has ended.</summary>
    public IReadOnlyList<EpochRecord> ReadHistory()
    {
        bool hasEnded = File.Exists(MetricsFile); // asked first: once this file exists, all rows have been written
        string[] lines = ReadHistoryLines();
        Require(lines is [] or [HistoryHeader, ..], 1, "damaged");
        List<EpochRecord> history = [];
        foreach (EpochRecord? epoch in lines.Skip(1).Select(ReadEpoch))
        {
            int row = history.Count + 1;
            Require(epoch is not null && EpochRecord.IsPossible(epoch, row, history.FirstOrDefault(epoch)), row + 1, "damaged");
            history.Add(epoch);
        }

        // The state contains the same epochs under a checksum. Until the run ends, it may contain more of them.
        if (Checkpoint.TryReadHistory(StateFile, ReadRecord()) is { } kept)
        {
            int wrong = history.FindIndex(epoch => epoch.Epoch > kept.Count || Row(kept[epoch.Epoch - 1]) != lines[epoch.Epoch]);
            Require(wrong < 0, wrong + 2, "damaged");
            Require(!hasEnded || history.Count >= kept.Count, history.Count + 2, "missing");
        }

        return history;

        void Require([DoesNotReturnIf(false)] bool holds, int row, string otherwise)
        {
            if (!holds)
            {
                throw new InputException($"{HistoryFile}: row {row} is {otherwise}; {HowToMend}");
            }
        }
    }

    /// <summary>Reads last.safetensors; null if the run was killed before it saved anything. Null for data checks no digits.</summary>
    public TrainingState? ReadState(NetworkSpec network, RunRecord record, DigitDataset? data)
    {
        if (!System.IO.Path.Exists(StateFile))
        {
            string? advice = File.Exists(ModelFile) ? $"start a new run (--init-from takes {ModelFile})"
                : ReadHistory().Count > 0 ? $"delete {Path} and train it again"
                : null;
            return advice is null ? null : throw new InputException(
                $"{StateFile}: is missing, though the run has trained; restore it, or {advice}");
        }

        RecordFile.CheckPlain(StateFile);
        TrainingOptions options = record.Options;
        TrainingState state = Checkpoint.LoadState(StateFile, network, out StateOrigin origin);
        string? fault = origin.Options is { } used && used with { Epochs = options.Epochs } != options // --resume may add epochs
                ? $"{RecordFilePath}: is damaged: its options are not those that {StateFile} was trained with; restore a copy of it"
            : origin.Started is { } started && started != Checkpoint.Started(record)
                ? $"{StateFile}: is of another run than {RecordFilePath}; restore the right one"
            : origin.Data is { } trainedOn && trainedOn != record.Data.Fingerprint
                ? $"{StateFile}: was trained on other digits than those of {RecordFilePath}; restore the right one"
            : state.Optimizer.Average is null != (options.Ema == 0)
                ? $"{StateFile}: holds {(options.Ema == 0 ? "an" : "no")} average of the weights, and the run trains with ema "
                    + $"{options.Ema}; restore the right one"
            : null;
        if (data is not null && fault is null)
        {
            state.CheckFits(StateFile, options, options.Split.Draw(data.Labels).Training.Length);
        }

        return fault is null ? state : throw new InputException(fault);
    }

    public void WriteRecord(RunRecord record) => RecordFile.Write(RecordFilePath, record, TrainingJson.Default.RunRecord);

    /// <summary>Writes last.safetensors, then history.csv and, once anything is trained, model.safetensors.</summary>
    public void Save(TrainingState state, RunRecord record)
    {
        Checkpoint.SaveState(StateFile, state, record);
        string[] rows = [HistoryHeader, .. state.History.Select(Row), ""];
        AtomicFile.WriteText(HistoryFile, string.Join('\n', rows));
        if (state.Optimizer.Step > 0)
        {
            SplitRecord split = new(record.Options.Split, record.Data.Fingerprint);
            Checkpoint.SaveWeights(ModelFile, state.Kept(record.Options), state.Optimizer.Step, split.ToMetadata());
        }
    }

    /// <summary>Writes metrics.json, which marks the run as ended.</summary>
    public void WriteMetrics(Metrics metrics)
    {
        string? model = File.Exists(ModelFile) ? Sha256(ModelFile) : null;
        RecordFile.Write(MetricsFile, metrics, TrainingJson.Default.Metrics, WhatLedToMetrics(), (ModelKey, model));
    }

    /// <summary>Deletes metrics.json: a run that continues has not ended.</summary>
    public void DiscardMetrics()
    {
        if (Directory.Exists(MetricsFile))
        {
            throw new InputException($"{MetricsFile}: is a folder; move it away");
        }

        File.Delete(MetricsFile);
    }

    private static string Row(EpochRecord e) => string.Create(
        CultureInfo.InvariantCulture,
        $"{e.Epoch},{e.TrainLoss:R},{e.TrainAccuracy:R},{e.ValidationLoss:R},{e.ValidationAccuracy:R},"
        + $"{e.LearningRate:G7},{e.Seconds:F3},{e.ImagesPerSecond:F1}");

    private static EpochRecord? ReadEpoch(string line)
    {
        double?[] cells = Array.ConvertAll(
            line.Split(','), cell => double.TryParse(cell, CultureInfo.InvariantCulture, out double value) ? value : (double?)null);
        return cells is [{ } epoch, { } loss, { } accuracy, var validationLoss, var validationAccuracy, { } rate, { } seconds, { } speed]
            && epoch == (int)epoch
                ? new EpochRecord((int)epoch, loss, accuracy, validationLoss, validationAccuracy, rate, seconds, speed)
                : null;
    }

    /// <summary>What the SHA-256 of metrics.json also covers: when the run was started, and the content of history.csv.</summary>
    private string WhatLedToMetrics() => string.Join('\n', [Checkpoint.Started(ReadRecord()), .. ReadHistoryLines()]);

    private string[] ReadHistoryLines() => File.Exists(HistoryFile)
        ? [.. RecordFile.ReadText(HistoryFile).TrimEnd().Split('\n').Select(line => line.TrimEnd('\r'))]
        : [];

    /// <summary>SHA-256 of a file, in hexadecimal.</summary>
    internal static string Sha256(string path) => InputFile.Reading(path, () =>
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    });

    private InputException IsOccupied()
    {
        if (!File.Exists(RecordFilePath))
        {
            return new InputException($"{Path}: is not empty; choose another --out");
        }

        using FolderLock free = FolderLock.Take(Path); // throws, and names the process, while the run is being trained
        return new InputException($"{Path}: holds a run already; continue it with train --resume, or choose another --out");
    }

    private InputException HoldsNoRun()
    {
        if (Directory.Exists(Path))
        {
            InputFile.Reading(Path, () => Directory.EnumerateFileSystemEntries(Path).Any()); // throws if the folder may not be read
        }

        string what = RunOf(Path) is { } run ? $"is one of a run's files; give the run's folder, {run}"
            : File.Exists(Path) ? "is a file, and holds no run; give the folder that train wrote"
            : !Directory.Exists(Path) ? "no such folder; give a run folder, such as runs/first"
            : File.Exists(FileOf(StudyName))
                ? "holds no run (no run.json), but a study; continue it with --resume of the command that began it "
                    + "(compare, crossval, repeat or tune), or give the folder of one of its runs"
            : "holds no run (no run.json); give the folder that train wrote";
        return new InputException($"{Path}: {what}");
    }

    private string HowToMend => File.Exists(StateFile)
        ? "train --resume writes it again"
        : $"restore a copy of it, or delete {Path} and train it again";

    private string FileOf(string name) => System.IO.Path.Combine(Path, name);
}
