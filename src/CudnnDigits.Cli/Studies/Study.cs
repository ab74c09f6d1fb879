using System.CommandLine;
using System.Text.Json.Serialization;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;
using CudnnDigits.Data;
using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Runs;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Studies;

/// <summary>What a study was started with: study.json.</summary>
/// <param name="Command">The command that made it: compare, crossval, repeat or tune.</param>
/// <param name="Options">What its runs have in common.</param>
/// <param name="Size">How large it is: seeds of compare and repeat, folds of crossval, epochs of tune.</param>
/// <param name="Models">Networks that compare compares; null elsewhere, and in records of versions that compared the report's.</param>
internal sealed record StudyRecord(
    string Command, string Version, DateTime Started, RunData Data, Machine Machine, TrainingOptions Options, int Size,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Models = null);

/// <summary>What a new study begins with; see <see cref="StudyRecord"/>.</summary>
internal readonly record struct StudyPlan(TrainingOptions Options, int Size, IReadOnlyList<string>? Models = null);

/// <summary>A run of a study that has ended, with the metrics of the last epoch's weights.</summary>
internal sealed record FinishedRun(RunFolder Folder, TrainingOptions Options, IReadOnlyList<EpochRecord> History, Metrics Metrics)
{
    public EpochRecord Last => History[^1];

    /// <summary>Reads a run that has ended; null where it has not.</summary>
    public static FinishedRun? Read(string path)
    {
        RunFolder folder = new(path);
        return folder.ReadMetrics() is { } metrics && folder.ReadHistory() is { Count: > 0 } history
            ? new FinishedRun(folder, folder.ReadRecord().Options, history, metrics)
            : null;
    }
}

/// <summary>
/// Several runs that answer one question, in folders under one. What has ended is not trained again, what was interrupted goes
/// on where it stopped, so a study resumes by running it once more.
/// </summary>
internal sealed class Study : IDisposable
{
    internal const string RecordName = RunFolder.StudyName, PageName = "report.html";

    /// <summary>The options that every study has.</summary>
    public static readonly Option<string?> Out = CommonOptions.OutFolder("Folder of the study. Default: runs/<command>-<UTC time>.");
    private static readonly Option<string?> Resume = new("--resume") { Description = "Continue an interrupted study.", HelpName = "DIR" };

    private readonly DigitDataset? _data;
    private readonly bool _quiet;
    private readonly IDisposable? _gpu; // open from the first run to the last
    private readonly IDisposable? _lock; // null where a study is only read
    private readonly Dictionary<string, DigitDataset> _loaded = [];
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private double _work, _workDone, _workSkipped;
    private bool _hasTold;

    private Study(string path, FolderLock? @lock, StudyRecord record, DigitDataset? data, IDisposable? gpu, bool quiet) =>
        (Folder, _lock, Record, _data, _gpu, _quiet) = (path, @lock, record, data, gpu, quiet);

    public string Folder { get; }

    public StudyRecord Record { get; }

    /// <summary>Its digits, unless it is only read.</summary>
    public DigitDataset Data => _data ?? throw new InvalidOperationException("a study that is read has no data");

    /// <summary>Whether there is nothing to be trained.</summary>
    public bool IsRead => _lock is null;

    /// <summary>Its page.</summary>
    public string PageFile => Path.Combine(Folder, PageName);

    /// <summary>The command that goes on with it.</summary>
    public string ResumeWith => ThisProgram.Command(Record.Command, "--resume", Folder);

    /// <summary>Whether --resume is given.</summary>
    public static bool IsResumed(ParseResult result) => result.GetValue(Resume) is not null;

    /// <summary>"1 epoch", "3 epochs".</summary>
    public static string Epochs(int count) => $"{count} epoch{(count == 1 ? "" : "s")}";

    /// <summary>The command of a study: its own options, then those that every study has.</summary>
    public static Command CommandOf(string name, string help, Func<ParseResult, int> run, IEnumerable<Option> own) =>
        CommonOptions.NewCommand(
            name, help, [.. own, Resume, .. Machine.Options, CommonOptions.Quiet, CommonOptions.Json], result => run(result));

    /// <summary>Prints a study's result: the JSON object where --json asks for it, else the text for people.</summary>
    public static void Tell(ParseResult result, string json, string text)
    {
        bool isResult = result.GetValue(TrainingOptionSet.Json);
        StandardStreams.Tell(isResult, isResult ? json : text);
    }

    /// <summary>Makes the folder of a new study; a new one under runs/ if --out names none.</summary>
    private static Study Create(ParseResult result, StudyPlan plan)
    {
        (TrainingOptions options, int size, IReadOnlyList<string>? models) = plan;
        Machine machine = Machine.From(result);
        return Begin(machine, options, gpu =>
        {
            string command = result.CommandResult.Command.Name;
            bool quiet = result.GetValue(TrainingOptionSet.Quiet);
            string? dataPath = result.GetValue(TrainingOptionSet.Data);
            DigitDataset data = CommonOptions.LoadTraining(dataPath, quiet);
            StudyRecord record = new(
                command, Checkpoint.Version, DateTime.UtcNow, RunData.Of(dataPath, data), machine, options, size, models);
            string folder = result.GetValue<string?>("--out") ?? CommonOptions.NewFolder(command, record.Started);
            string file = Path.Combine(folder, RecordName);
            string goOn = ThisProgram.Command(command, "--resume", folder);
            FolderLock folderLock = FolderLock.TakeEmpty(folder) ?? throw new InputException(
                $"{folder}: {(File.Exists(file) ? $"holds a study already; go on with {goOn}, or" : "is not empty;")} "
                + "choose another --out");
            RecordFile.Write(file, record, StudyJson.Default.StudyRecord);
            return new Study(folder, folderLock, record, data, gpu, quiet);
        });
    }

    /// <summary>Reads a study that has ended.</summary>
    public static Study Read(string path)
    {
        StudyRecord record = ReadRecord(path, command: null);
        return new Study(path, null, record, null, null, quiet: true);
    }

    /// <summary>Whether a folder holds a study.</summary>
    public static bool IsIn(string path) => File.Exists(Path.Combine(path, RecordName));

    /// <summary>Continues a study where it stopped.</summary>
    private static Study Continue(string path, ParseResult result)
    {
        StudyRecord record = ReadRecord(path, result.CommandResult.Command.Name);
        record = record with { Machine = record.Machine.MovedBy(result) };
        FolderLock folderLock = FolderLock.Take(path);
        return Begin(record.Machine, record.Options, gpu =>
        {
            DigitDataset data = CommonOptions.LoadTraining(record.Data.Path, result.GetValue(TrainingOptionSet.Quiet));
            return data.Fingerprint() == record.Data.Fingerprint
                ? new Study(path, folderLock, record, data, gpu, result.GetValue(TrainingOptionSet.Quiet))
                : throw new InputException(
                    $"{data.Name}: is not the data that {path} was started with; restore that, or start a new study");
        });
    }

    /// <summary>Begins a study while the GPU is being opened for it; where it cannot begin, the GPU is closed.</summary>
    private static Study Begin(Machine machine, TrainingOptions options, Func<IDisposable, Study> begin)
    {
        IDisposable gpu = machine.Prepare(options);
        try
        {
            return begin(gpu);
        }
        catch
        {
            gpu.Dispose();
            throw;
        }
    }

    /// <summary>Continues the study of --resume, or makes a new one. Beside --resume, only device and threads may change.</summary>
    public static Study Open(ParseResult result, Func<StudyPlan> plan)
    {
        if (result.GetValue(Resume) is not { } folder)
        {
            return Create(result, plan());
        }

        Command command = result.CommandResult.Command;
        IEnumerable<Option> free = [Resume, TrainingOptionSet.Quiet, TrainingOptionSet.Json, .. Machine.Options.Except(Machine.FixedByRun)];
        return command.Options.Except(free).FirstOrDefault(option => result.GetResult(option) is { Implicit: false }) is { } given
            ? throw new InputException(
                $"{given.Name} cannot be changed by --resume; a {command.Name} goes on as it was started, but for --device and --threads")
            : Continue(folder, result);
    }

    /// <summary>Says how much there is to do, for the time left.</summary>
    public void Plan(IEnumerable<TrainingOptions> runs) => _work = runs.Sum(Work);

    /// <summary>Trains one run to its end, or reads it if it has ended. The label is for people: "fold 2 of 5".</summary>
    public FinishedRun Run(string name, string label, TrainingOptions options, CancellationToken cancellation)
    {
        string path = Path.Combine(Folder, name);
        CheckPlace(path, options);
        if (FinishedRun.Read(path) is { } ended)
        {
            _workSkipped += Work(options);
            return ended;
        }

        if (IsRead)
        {
            throw new InputException($"{Folder}: has not ended ({label}); go on with {ResumeWith}");
        }

        TrainingReporter reporter = TrainingReporter.Create(_quiet, options, label);
        if (cancellation.IsCancellationRequested)
        {
            reporter.Advise($"interrupted before {label}; saved: go on with", ResumeWith);
            cancellation.ThrowIfCancellationRequested();
        }

        using (TrainingRun run = File.Exists(Path.Combine(path, "run.json"))
            ? TrainingRun.Resume(RunFolder.Open(path, out RunRecord record), record, Data, Record.Machine)
            : TrainingRun.Create(_ => path, (Data, Record.Data), options, Record.Machine))
        {
            run.Train(reporter, ResumeWith, cancellation);
        }

        _workDone += Work(options);
        FinishedRun finished = FinishedRun.Read(path)!;
        double left = _work - _workDone - _workSkipped;
        TimeSpan? timeLeft = left > 0 ? TimeSpan.FromSeconds(_clock.Elapsed.TotalSeconds / _workDone * left) : null;
        reporter.RunEnd(finished.Metrics.Accuracy, timeLeft, isFirst: !_hasTold);
        _hasTold = true;
        return finished;
    }

    public void Dispose()
    {
        _gpu?.Dispose();
        _lock?.Dispose();
    }

    /// <summary>Runs of the study as reports show them.</summary>
    public IReadOnlyList<RunReport> Load(IEnumerable<FinishedRun> runs)
    {
        if (_data is not null)
        {
            _loaded[Record.Data.Path ?? ""] = _data;
        }

        return [.. runs.Select(run => RunReport.Load(run.Folder.Path, _loaded))];
    }

    /// <summary>Writes a result of the study beside its runs.</summary>
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
        StudyRecord record = RecordFile.Read(file, StudyJson.Default.StudyRecord)
            ?? throw new InputException(
                $"{folder}: holds no {command ?? "study"} (no {RecordName}); give the folder that {command ?? "a study"} wrote");
        return command is null || record.Command == command
            ? Checked(file, record)
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
[JsonSerializable(typeof(CompareResult))]
[JsonSerializable(typeof(CrossvalResult))]
[JsonSerializable(typeof(FoldResult))]
[JsonSerializable(typeof(RepeatResult))]
[JsonSerializable(typeof(TuneResult))]
internal sealed partial class StudyJson : JsonSerializerContext;
