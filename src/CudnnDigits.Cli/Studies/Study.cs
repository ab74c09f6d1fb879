using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Studies;

/// <summary>study.json. Size counts seeds in compare and repeat, folds in crossval, epochs in tune; Models are those of compare.</summary>
internal sealed record StudyRecord(
    string Command, string Version, DateTime Started, RunData Data, Machine Machine, TrainingOptions Options, int Size,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Models = null)
{
    /// <summary>What <see cref="RunFolder.ForgetKernels"/> has found in the file.</summary>
    [JsonIgnore]
    public string? GoneKernels { get; init; }
}

internal readonly record struct StudyPlan(TrainingOptions Options, int Size, IReadOnlyList<string>? Models = null);

/// <summary>A run of a study that has ended, with the metrics of the last epoch's weights.</summary>
internal sealed record FinishedRun(RunFolder Folder, TrainingOptions Options, IReadOnlyList<EpochRecord> History, Metrics Metrics)
{
    public EpochRecord Last => History[^1];

    /// <summary>Reads a run; null where it has not ended.</summary>
    public static FinishedRun? Read(string path)
    {
        RunFolder folder = new(path);
        return folder.ReadMetrics() is { } metrics && folder.ReadHistory() is { Count: > 0 } history
            ? new FinishedRun(folder, folder.ReadRecord().Options, history, metrics)
            : null;
    }
}

/// <summary>Several runs that answer one question, in folders under one; run once more, it goes on where it stopped.</summary>
internal sealed class Study(string folder, FolderLock? folderLock, StudyRecord record, DigitDataset? data, IDisposable? gpu, bool quiet)
    : IDisposable
{
    internal const string RecordName = RunFolder.StudyName, PageName = "report.html";

    private static readonly Option<string?> Resume = CommonOptions.Value("--resume", "DIR", "Continue an interrupted study.");

    private readonly Dictionary<string, DigitDataset> _loaded = data is null ? [] : new() { [record.Data.Path ?? ""] = data }; // by path
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private double _workLeft, _workDone;

    public string Folder { get; } = folder;

    public StudyRecord Record { get; } = record;

    /// <summary>Its digits; null where it is only read.</summary>
    public DigitDataset? Data { get; } = data;

    public string PageFile => Path.Combine(Folder, PageName);

    public string ResumeWith => ThisProgram.Command(Record.Command, "--resume", Folder);

    public static Option<string?> Out(string command) =>
        CommonOptions.OutFolder($"Folder of the study. Default: runs/{command}-<UTC time>.");

    public static bool IsResumed(ParseResult result) => result.GetValue(Resume) is not null;

    /// <summary>The command of a study: its own options, then those that every study has.</summary>
    public static Command CommandOf(string name, string help, Action<ParseResult> run, IEnumerable<Option> own) =>
        CommonOptions.NewCommand(name, help, [.. own, Resume, .. Machine.Options, CommonOptions.Quiet, CommonOptions.Json], run);

    public static bool IsIn(string path) => File.Exists(Path.Combine(path, RecordName));

    /// <summary>The folder of the study that a file, other than the page, belongs to; null if it belongs to none.</summary>
    public static string? Of(string file) => File.Exists(file) && Path.GetDirectoryName(file) is { } folder && IsIn(folder)
        && Path.GetFileName(file) is RecordName or "compare.json" or "compare.txt" or "crossval.json" or "repeat.json" or "tune.json"
            or "tune.svg" or "trials.csv" ? folder : null;

    public static Study Read(string path) => new(path, null, ReadRecord(path, command: null), null, null, quiet: true);

    /// <summary>Continues the study of --resume, or makes a new one, under runs/ if --out names no folder.</summary>
    public static Study Open(ParseResult result, Func<StudyPlan> plan)
    {
        bool quiet = result.GetValue(TrainingOptionSet.Quiet);
        string? resumed = result.GetValue(Resume);
        StudyRecord record = resumed is null ? NewRecord(result, plan()) : RecordToResume(result, resumed);
        FolderLock? folderLock = resumed is null ? null : FolderLock.Take(resumed);
        IDisposable gpu = record.Machine.Prepare(record.Options); // opens while the data are read
        try
        {
            DigitDataset data = CommonOptions.LoadTraining(record.Data.Path, quiet);
            if (resumed is not null)
            {
                return data.Fingerprint() == record.Data.Fingerprint
                    ? new Study(resumed, folderLock, record, data, gpu, quiet)
                    : throw new InputException(
                        $"{data.Name}: is not the data that {resumed} was started with; restore that, or start a new study");
            }

            record = record with { Data = RunData.Of(record.Data.Path, data) };
            string folder = result.GetValue<string?>("--out") ?? CommonOptions.NewFolder(record.Command, record.Started);
            folderLock = FolderLock.TakeEmpty(folder) ?? throw IsOccupied(folder);
            RecordFile.Write(Path.Combine(folder, RecordName), record, StudyJson.Default.StudyRecord);
            return new Study(folder, folderLock, record, data, gpu, quiet);
        }
        catch
        {
            gpu.Dispose();
            throw;
        }
    }

    private static InputException IsOccupied(string folder)
    {
        if (!IsIn(folder))
        {
            return new InputException($"{folder}: is not empty; choose another --out");
        }

        using FolderLock free = FolderLock.Take(folder); // throws, and names the process, while the study runs
        string goOn = ThisProgram.Command(ReadRecord(folder, command: null).Command, "--resume", folder);
        return new InputException($"{folder}: holds a study already; go on with {goOn}, or choose another --out");
    }

    /// <summary>The record of a new study, before its data are read.</summary>
    private static StudyRecord NewRecord(ParseResult result, StudyPlan plan) => new(
        result.CommandResult.Command.Name, Checkpoint.Version, DateTime.UtcNow,
        new RunData(result.GetValue(TrainingOptionSet.Data), 0, ""), Machine.From(result), plan.Options, plan.Size, plan.Models);

    /// <summary>The record of a study that goes on; beside --resume, only device and threads may change.</summary>
    private static StudyRecord RecordToResume(ParseResult result, string folder)
    {
        Command command = result.CommandResult.Command;
        IEnumerable<Option> free = [Resume, TrainingOptionSet.Quiet, TrainingOptionSet.Json, .. Machine.Options.Except(Machine.FixedByRun)];
        if (command.Options.Except(free).FirstOrDefault(option => result.GetResult(option) is { Implicit: false }) is { } given)
        {
            throw new InputException(
                $"{given.Name} cannot be changed by --resume; a {command.Name} goes on as it was started, but for --device and --threads");
        }

        StudyRecord record = ReadRecord(folder, command.Name);
        CommonOptions.NoteGoneKernels(command.Name, record.GoneKernels);
        return record with { Machine = record.Machine.MovedBy(result) };
    }

    /// <summary>Says how much there is to do, for the time left.</summary>
    public void Plan(IEnumerable<TrainingOptions> runs) => _workLeft = runs.Sum(Work);

    /// <summary>Trains one run to its end, or reads it if it has ended. The label is for people: "fold 2 of 5".</summary>
    public FinishedRun Run(string name, string label, TrainingOptions options, CancellationToken cancellation)
    {
        string path = Path.Combine(Folder, name);
        CheckPlace(path, options);
        _workLeft -= Work(options);
        if (FinishedRun.Read(path) is { } ended)
        {
            return ended;
        }

        if (Data is null)
        {
            throw new InputException($"{Folder}: has not ended ({label}); if it is not running, go on with {ResumeWith}");
        }

        TrainingReporter reporter = TrainingReporter.Create(quiet, options, label, isFirst: _workDone == 0);
        if (cancellation.IsCancellationRequested)
        {
            reporter.Advise($"interrupted before {label}; saved: go on with", ResumeWith);
            cancellation.ThrowIfCancellationRequested();
        }

        using (TrainingRun run = File.Exists(Path.Combine(path, "run.json"))
            ? TrainingRun.Resume(RunFolder.Open(path, out RunRecord begun), begun, Data, Record.Machine)
            : TrainingRun.Create(_ => path, (Data, Record.Data), options, Record.Machine))
        {
            run.Train(reporter, ResumeWith, cancellation);
        }

        _workDone += Work(options);
        FinishedRun finished = FinishedRun.Read(path)!;
        TimeSpan? timeLeft = _workLeft > 0 ? TimeSpan.FromSeconds(_clock.Elapsed.TotalSeconds / _workDone * _workLeft) : null;
        reporter.RunEnd(finished.Metrics.Accuracy, timeLeft);
        return finished;
    }

    public void Dispose()
    {
        gpu?.Dispose();
        folderLock?.Dispose();
    }

    public IReadOnlyList<RunReport> Load(IEnumerable<FinishedRun> runs) =>
        [.. runs.Select(run => RunReport.Load(run.Folder.Path, _loaded))];

    /// <summary>Writes the page and the result beside the runs, and prints the latter.</summary>
    public void End<T>(ParseResult parsed, T result, string page, string text)
    {
        Write(PageName, page);
        Write($"{Record.Command}.json", CliJson.Format(isJson: true, result, "") + "\n");
        CliJson.Print(parsed, result, text);
    }

    public void Write(string name, string text) => AtomicFile.WriteText(Path.Combine(Folder, name), text);

    private void CheckPlace(string path, TrainingOptions options)
    {
        bool holdsRun = File.Exists(Path.Combine(path, "run.json"));
        if (holdsRun
            ? new RunFolder(path).ReadRecord() is var run && (run.Data.Fingerprint != Record.Data.Fingerprint || run.Options != options)
            : Directory.Exists(path) && !FolderLock.IsEmpty(path))
        {
            string what = holdsRun ? "is another run than the one that" : "holds something other than the run that";
            throw new InputException($"{path}: {what} this {Record.Command} makes there; move it away");
        }
    }

    /// <summary>Multiply-adds of a run, in relation to those of other runs: a larger network takes longer.</summary>
    private static double Work(TrainingOptions options)
    {
        NetworkSpec network = options.CreateNetwork();
        return options.Epochs * network.Layers.Zip(network.Outputs).Sum(layer => layer.First switch
        {
            Conv2dLayer conv => (double)layer.Second.Size * conv.InChannels * conv.Kernel * conv.Kernel,
            LinearLayer linear => (double)linear.InFeatures * linear.OutFeatures,
            _ => 0,
        });
    }

    /// <summary>Refuses a record that no command writes, before anything is made of it.</summary>
    private static StudyRecord Checked(string file, StudyRecord record)
    {
        try
        {
            bool isOwn = record is { Command: "compare", Options.Epochs: 0 }; // the epochs of each network's own
            TrainingOptions options = (isOwn ? record.Options with { Epochs = 1 } : record.Options).Checked();
            Check(options.Epochs <= CommonOptions.MostEpochs, "epochs", options.Epochs);
            Check(options.BatchSize <= CommonOptions.MostBatch, "batch_size", options.BatchSize);
            (int least, int most) = record.Command switch
            {
                "compare" => (1, CommonOptions.MostSeeds),
                "repeat" => (2, CommonOptions.MostSeeds),
                "crossval" => (Math.Max(2, options.Folds), Math.Min(options.Folds, CommonOptions.MostFolds)),
                _ => (Rung.LeastBudget(options.Epochs), CommonOptions.MostBudget),
            };
            Check(record.Size >= least && record.Size <= most, "size", record.Size);
            Check(record.Machine.Threads is >= 0 and <= BackendOptions.MostThreads, "threads", record.Machine.Threads);
            Check(record.Machine.Precision is not { } precision || Enum.IsDefined(precision), "precision", record.Machine.Precision);
            Check(Enum.IsDefined(record.Machine.Kernels), "kernels", record.Machine.Kernels);
            DeviceName.Ordinal(record.Machine.Device);
            Check(record.Models is not { } models || CompareCommand.AreModels(models), "models", string.Join(',', record.Models ?? []));
            return record;
        }
        catch (Exception e) when (e is ArgumentException or InputException)
        {
            throw new InputException($"{file}: is damaged: {e.Message}; restore a copy of it, or start a new study", e);
        }

        static void Check(bool holds, string name, object? value)
        {
            if (!holds)
            {
                throw new ArgumentException($"{name} is {value}");
            }
        }
    }

    private static StudyRecord ReadRecord(string folder, string? command)
    {
        string file = Path.Combine(folder, RecordName);
        string? gone = null;
        StudyRecord record = RecordFile.Read(
            file, StudyJson.Default.StudyRecord, take: content => gone = RunFolder.ForgetKernels(content["machine"] as JsonObject))
            ?? throw new InputException(
                $"{folder}: holds no {command ?? "study"} (no {RecordName}); give the folder that {command ?? "a study"} wrote");
        return command is null || record.Command == command
            ? Checked(file, record) with { GoneKernels = gone }
            : throw new InputException(
                $"{folder}: holds a {record.Command}; go on with {ThisProgram.Command(record.Command, "--resume", folder)}");
    }
}

/// <summary>JSON in snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(StudyRecord))]
[JsonSerializable(typeof(CrossvalResult))]
[JsonSerializable(typeof(TuneResult))]
internal sealed partial class StudyJson : JsonSerializerContext;
