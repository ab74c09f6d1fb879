using System.Security.Cryptography;
using System.Text.Json.Nodes;
using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>The data of a run, as run.json records it.</summary>
/// <param name="Path">Absolute path, or null for the built-in generated digits.</param>
/// <param name="Count">Number of digits.</param>
/// <param name="Fingerprint">SHA-256 of pixels and labels.</param>
internal sealed record RunData(string? Path, int Count, string Fingerprint)
{
    /// <summary>Describes loaded data.</summary>
    /// <param name="path">Where it was loaded from, or null for the built-in generated digits.</param>
    /// <param name="data">The data.</param>
    public static RunData Of(string? path, DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(data);
        return new(path is null ? null : System.IO.Path.GetFullPath(path), data.Count, data.Fingerprint());
    }
}

/// <summary>What a run was started with: run.json.</summary>
/// <param name="Version">Version of this program.</param>
/// <param name="Started">UTC.</param>
/// <param name="Options">Options as resolved.</param>
/// <param name="InitFrom">Absolute path of the weights it began with, or null for fresh ones.</param>
/// <param name="Data">The data.</param>
/// <param name="DeviceOption">Device as asked for.</param>
/// <param name="Device">Device as found.</param>
/// <param name="Precision">Arithmetic of the step.</param>
/// <param name="Deterministic">Whether a GPU was held to algorithms that give the same bits every time.</param>
/// <param name="Runtime">.NET and operating system.</param>
/// <param name="Cuda">NVIDIA's libraries and cuDNN's algorithms; null on the CPU.</param>
/// <param name="InitFromSha256">SHA-256 of the file <paramref name="InitFrom"/>; null without one, and in runs of older versions.</param>
internal sealed record RunRecord(
    string Version, DateTime Started, TrainingOptions Options, string? InitFrom, RunData Data, string DeviceOption, string Device, Precision Precision, bool Deterministic,
    string Runtime, CudaDetails? Cuda, string? InitFromSha256 = null);

/// <summary>The folder of a run. Each file is written whole or not at all, so a kill at any moment leaves a run that resumes.</summary>
/// <param name="path">The folder.</param>
internal sealed class RunFolder(string path) : IDisposable
{
    /// <summary>In the folder of a study, which holds several runs, the file that says what it was started with.</summary>
    internal const string StudyName = "study.json";

    private const string ModelKey = "model_sha256";
    private const string HistoryHeader = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second";

    private FolderLock? _lock;

    /// <summary>The folder.</summary>
    public string Path { get; } = path;

    /// <summary>The kept weights.</summary>
    public string ModelFile => File("model.safetensors");

    /// <summary>Everything that resuming needs.</summary>
    public string StateFile => File("last.safetensors");

    /// <summary>The run as a page to look at; written by the program, not by this library.</summary>
    public string ReportFile => File("report.html");

    /// <summary>The file that a path to weights leads to: the kept weights of a run, where it leads to the run's folder.</summary>
    /// <param name="path">A file, which is given back, or a folder.</param>
    /// <exception cref="InputException">It is a folder without weights.</exception>
    internal static string WeightsOf(string path)
    {
        RunFolder folder = new(path);
        if (!Directory.Exists(path))
        {
            return RunOf(path) is { } run && System.IO.Path.GetExtension(path) is not (".safetensors" or ".onnx")
                ? throw new InputException($"{path}: is one of a run's files and holds no weights; give the run's folder, {run}")
                : path;
        }

        if (System.IO.File.Exists(folder.ModelFile))
        {
            return folder.ModelFile;
        }

        if (System.IO.File.Exists(folder.File("run.json")))
        {
            throw new InputException($"{path}: is a folder of a run that has kept no weights (no model.safetensors); go on with it first, with cudnn-digits train --resume {path}");
        }

        try
        {
            string[] runs = [.. Directory.GetDirectories(path).Where(sub => System.IO.File.Exists(new RunFolder(sub).ModelFile)).Order(StringComparer.Ordinal)];
            throw new InputException(runs.Length > 0
                ? $"{path}: is a folder of {(runs.Length == 1 ? "one run; give that" : $"{runs.Length} runs; give one of them")}: {string.Join(", ", runs.Take(3))}{(runs.Length > 3 ? ", …" : "")}"
                : $"{path}: is a folder without model.safetensors, so no run's; give the folder that train wrote, or a .safetensors file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: is a folder that cannot be read: {e.Message}", e);
        }
    }

    private static readonly string[] Files = ["run.json", "metrics.json", "history.csv", "report.html", "model.safetensors", "last.safetensors"];

    /// <summary>The folder of the run that a file belongs to, as it would be given; null where it is no run's.</summary>
    internal static string? RunOf(string file)
    {
        string folder = System.IO.Path.GetDirectoryName(file) is { Length: > 0 } above ? above : ".";
        return Files.Contains(System.IO.Path.GetFileName(file)) && System.IO.File.Exists(file) && System.IO.File.Exists(System.IO.Path.Combine(folder, "run.json")) ? folder : null;
    }

    /// <summary>
    /// Makes a folder for a new run and writes run.json. Other processes are kept from writing there until it is disposed.
    /// </summary>
    /// <param name="path">The folder; may exist if it is empty, or holds but what a kill left half-written.</param>
    /// <param name="record">What the run is started with.</param>
    /// <exception cref="InputException">It holds something already, is being written, or cannot be written.</exception>
    public static RunFolder Create(string path, RunRecord record)
    {
        RunFolder folder = new(path);
        folder._lock = FolderLock.TakeEmpty(path) ?? throw new InputException(System.IO.File.Exists(folder.File("run.json"))
            ? $"{path}: holds a run already; continue it with --resume {path}, or choose another --out"
            : $"{path}: is not empty; choose another --out");
        folder.WriteRecord(record);
        return folder;
    }

    /// <summary>Opens a run to go on with it. Other processes are kept from writing there until it is disposed.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="record">What the run was started with.</param>
    /// <exception cref="InputException">There is no run, run.json is damaged, or another process is writing there.</exception>
    public static RunFolder Open(string path, out RunRecord record)
    {
        RunFolder folder = new(path);
        folder.ReadRecord(); // nothing is written into a folder that holds no run
        folder._lock = FolderLock.Take(path);
        record = folder.ReadRecord(); // as whoever wrote there last has left it
        return folder;
    }

    /// <summary>Lets other processes write here.</summary>
    public void Dispose()
    {
        _lock?.Dispose();
        _lock = null;
    }

    /// <summary>Reads run.json of an existing run.</summary>
    /// <exception cref="InputException">There is none, or it is damaged.</exception>
    public RunRecord ReadRecord()
    {
        RunRecord record = RecordFile.Read(File("run.json"), TrainingJson.Default.RunRecord) ?? throw HoldsNoRun();
        try
        {
            record.Options.Checked();
            BackendFactory.CheckDevice(record.DeviceOption);
            return Enum.IsDefined(record.Precision) ? record : throw new ArgumentException($"precision is {record.Precision}");
        }
        catch (Exception e) when (e is ArgumentException or InputException)
        {
            throw new InputException($"{File("run.json")}: is damaged: {e.Message}; bring back a copy of it", e);
        }
    }

    /// <summary>Reads metrics.json; null where the run has not ended.</summary>
    /// <exception cref="InputException">It is damaged, or run.json, history.csv or the weights are no longer those of the run.</exception>
    public Metrics? ReadMetrics()
    {
        string file = File("metrics.json");
        if (!System.IO.File.Exists(file))
        {
            return null;
        }

        string? model = null;
        Metrics? metrics = RecordFile.Read(
            file, TrainingJson.Default.Metrics, HowToMend, WhatLedToMetrics(), "history.csv", content => model = content.Remove(ModelKey, out JsonNode? sum) ? sum?.ToString() : null);
        bool hasItsModel = model is null || (System.IO.File.Exists(ModelFile) ? Sha256(ModelFile) == model : !System.IO.File.Exists(StateFile)); // tune removes both
        if (!hasItsModel)
        {
            throw new InputException($"{ModelFile}: is not what the run has kept; {HowToMend}");
        }

        return metrics is null || metrics.IsPossible ? metrics : throw new InputException($"{file}: is damaged, its numbers do not fit each other; {HowToMend}");
    }

    /// <summary>Reads history.csv; empty where no epoch has ended.</summary>
    /// <exception cref="InputException">It is damaged.</exception>
    public IReadOnlyList<EpochRecord> ReadHistory()
    {
        bool hasEnded = System.IO.File.Exists(File("metrics.json")); // asked first: from then on the rows are complete
        string[] lines = ReadHistoryLines();
        List<EpochRecord> history = [];
        for (int row = 0; row < lines.Length; row++)
        {
            bool good = row == 0 ? lines[0] == HistoryHeader : ReadEpoch(lines[row]) is { } epoch && IsNext(epoch);
            if (!good)
            {
                throw new InputException($"{HistoryFile}: row {row + 1} is damaged; {HowToMend}");
            }
        }

        // The rows were written from the state's epochs, which have a checksum; until the run ends it may have more.
        if (Checkpoint.TryReadHistory(StateFile, ReadRecord()) is { } kept)
        {
            int wrong = history.FindIndex(epoch => epoch.Epoch > kept.Count || Row(kept[epoch.Epoch - 1]) != lines[epoch.Epoch]);
            wrong = wrong < 0 && hasEnded && history.Count < kept.Count ? history.Count : wrong;
            if (wrong >= 0)
            {
                throw new InputException($"{HistoryFile}: row {wrong + 2} is {(wrong < history.Count ? "damaged" : "missing")}; {HowToMend}");
            }
        }

        return history;

        bool IsNext(EpochRecord epoch)
        {
            history.Add(epoch);
            return EpochRecord.IsPossible(epoch, history.Count, history[0]);
        }
    }

    /// <summary>Reads last.safetensors; null where a run was killed before it could save anything.</summary>
    /// <param name="network">The run's network.</param>
    /// <param name="record">What the run was started with; its number of epochs may have changed since.</param>
    /// <param name="data">The run's digits; null where they are not at hand, and the state's counters are not compared with them.</param>
    /// <exception cref="InputException">It is damaged, none of this run's, or missing though the run has trained.</exception>
    public TrainingState? ReadState(NetworkSpec network, RunRecord record, DigitDataset? data)
    {
        ArgumentNullException.ThrowIfNull(record);
        if (!System.IO.Path.Exists(StateFile))
        {
            string? kept = System.IO.File.Exists(ModelFile) ? $"start a new run (--init-from takes {ModelFile})" : ReadHistory().Count > 0 ? $"take {Path} away and train it anew" : null;
            return kept is null ? null : throw new InputException($"{StateFile}: is missing, though the run has trained; bring it back, or {kept}");
        }

        RecordFile.CheckPlain(StateFile);
        TrainingOptions options = record.Options;
        TrainingState state = Checkpoint.LoadState(StateFile, network, out StateOrigin origin);
        if (origin.Options is { } trainedWith && trainedWith with { Epochs = options.Epochs } != options)
        {
            throw new InputException($"{File("run.json")}: is damaged: its options are not those that {StateFile} was trained with; bring back a copy of it");
        }

        if (origin.Started is { } started && started != Checkpoint.Started(record))
        {
            throw new InputException($"{StateFile}: is of another run than {File("run.json")}; bring back its own");
        }

        if (origin.Data is { } trainedOn && trainedOn != record.Data.Fingerprint)
        {
            throw new InputException($"{StateFile}: was trained on other digits than those of {File("run.json")}; bring back its own");
        }

        if (data is not null)
        {
            state.CheckFits(StateFile, options, options.Split.Draw(data.Labels).Training.Length);
        }

        return state;
    }

    /// <summary>Writes run.json.</summary>
    /// <param name="record">What the run is started with.</param>
    public void WriteRecord(RunRecord record) => RecordFile.Write(File("run.json"), record, TrainingJson.Default.RunRecord);

    /// <summary>Writes last.safetensors, then what follows from it: history.csv and, once anything is trained, model.safetensors.</summary>
    /// <param name="state">The state.</param>
    /// <param name="record">What the run was started with.</param>
    public void Save(TrainingState state, RunRecord record)
    {
        ArgumentNullException.ThrowIfNull(state);
        ArgumentNullException.ThrowIfNull(record);
        Checkpoint.SaveState(StateFile, state, record);
        AtomicFile.WriteText(HistoryFile, writer => WriteHistory(writer, state.History));
        if (state.Optimizer.Step > 0)
        {
            SplitRecord split = new(record.Options.Split, record.Data.Fingerprint);
            Checkpoint.SaveWeights(ModelFile, state.Kept(record.Options), state.Optimizer.Step, split.ToMetadata());
        }
    }

    /// <summary>Writes metrics.json, which says that the run has ended.</summary>
    /// <param name="metrics">The kept weights' metrics.</param>
    public void WriteMetrics(Metrics metrics) => RecordFile.Write(
        File("metrics.json"), metrics, TrainingJson.Default.Metrics, WhatLedToMetrics(), (ModelKey, System.IO.File.Exists(ModelFile) ? Sha256(ModelFile) : null));

    /// <summary>Takes metrics.json away: a run that goes on has not ended.</summary>
    /// <exception cref="InputException">It is a folder.</exception>
    public void DiscardMetrics()
    {
        string file = File("metrics.json");
        if (Directory.Exists(file))
        {
            throw new InputException($"{file}: is a folder; move it away");
        }

        System.IO.File.Delete(file);
    }

    private static void WriteHistory(TextWriter writer, IEnumerable<EpochRecord> history)
    {
        writer.Write(HistoryHeader + "\n");
        foreach (EpochRecord e in history)
        {
            writer.Write(Row(e) + "\n");
        }
    }

    private static string Row(EpochRecord e) => string.Create(
        CultureInfo.InvariantCulture,
        $"{e.Epoch},{e.TrainLoss:R},{e.TrainAccuracy:R},{e.ValidationLoss:R},{e.ValidationAccuracy:R},{e.LearningRate:G7},{e.Seconds:F3},{e.ImagesPerSecond:F1}");

    private static EpochRecord? ReadEpoch(string line)
    {
        double?[] cells = [.. line.Split(',').Select(cell => double.TryParse(cell, CultureInfo.InvariantCulture, out double value) ? value : (double?)null)];
        return cells is [{ } epoch, { } trainLoss, { } trainAccuracy, var validationLoss, var validationAccuracy, { } rate, { } seconds, { } speed]
            && epoch == (int)epoch ? new EpochRecord((int)epoch, trainLoss, trainAccuracy, validationLoss, validationAccuracy, rate, seconds, speed)
            : null;
    }

    /// <summary>What the SHA-256 of metrics.json covers beside itself: which run it is, and what history.csv says.</summary>
    private string WhatLedToMetrics() => string.Join('\n', [Checkpoint.Started(ReadRecord()), .. ReadHistoryLines()]);

    private string[] ReadHistoryLines() =>
        System.IO.File.Exists(HistoryFile) ? [.. RecordFile.ReadText(HistoryFile).TrimEnd().Split('\n').Select(line => line.TrimEnd('\r'))] : [];

    /// <summary>SHA-256 of a file, in hexadecimal.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InputException">It cannot be read.</exception>
    internal static string Sha256(string path)
    {
        try
        {
            using FileStream file = System.IO.File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    private InputException HoldsNoRun()
    {
        try
        {
            if (RunOf(Path) is { } run)
            {
                return new InputException($"{Path}: is one of a run's files; give the run's folder, {run}");
            }

            _ = Directory.Exists(Path) && Directory.EnumerateFileSystemEntries(Path).Any();
            return new InputException(
                System.IO.File.Exists(Path) ? $"{Path}: is a file, and holds no run; give the folder that train wrote"
                : !Directory.Exists(Path) ? $"{Path}: no such folder, so it holds no run; give the one that train wrote"
                : System.IO.File.Exists(File(StudyName)) ? $"{Path}: holds no run (no run.json), but a study; go on with the command that began it, or give the folder of one of its runs"
                : $"{Path}: holds no run (no run.json); give the folder that train wrote");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new InputException($"{Path}: cannot be read: {e.Message.TrimEnd('.')}; give a folder that you may read", e);
        }
    }

    private string HistoryFile => File("history.csv");

    private string HowToMend => System.IO.File.Exists(StateFile) ? "train --resume writes it again" : $"bring back a copy of it, or take {Path} away and train it anew";

    private string File(string name) => System.IO.Path.Combine(Path, name);
}
