using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary><c>train</c>: from data to a run folder, or on from a run folder.</summary>
internal static class TrainCommand
{
    private static readonly Option<string?> Data = CommonOptions.Data("Kaggle's CSV (.csv, .csv.gz, .zip), or a folder with MNIST's IDX files. Default: built-in generated digits.");
    private static readonly Option<string?> Model = CommonOptions.Model();
    private static readonly Option<string?> Device = CommonOptions.Device();
    private static readonly Option<string?> Out = new("--out") { Description = "Folder of the run. Default: runs/<model>-<UTC time>.", HelpName = "DIR" };
    private static readonly Option<int?> Epochs = CommonOptions.Ranged("--epochs", "N", "Passes over the training digits. Default: 12 for improved, 5 for simple; 10 on built-in digits.", 1, 100_000);
    private static readonly Option<int?> BatchSize = CommonOptions.Ranged("--batch-size", "N", "Digits in a step. Default: 128 for improved, 64 for simple.", 1, CommonOptions.MostBatch);
    private static readonly Option<double?> Rate = CommonOptions.Ranged("--lr", "X", "Adam's learning rate: the peak for one-cycle. Default: 3e-3 for one-cycle, else 1e-3.", 1e-12, 1000);
    private static readonly Option<string?> Schedule = CommonOptions.Choice("--schedule", "How the learning rate moves. Default: one-cycle.", "plateau", "one-cycle", "constant");
    private static readonly Option<ulong?> Seed = CommonOptions.Seed();
    private static readonly Option<double?> Validation = CommonOptions.Ranged("--validation", "F", "Share of each class held out. Default: 0.2; 0 trains on everything.", 0, 0.9);
    private static readonly Option<int?> EarlyStop = CommonOptions.Ranged("--early-stop", "N", "Stop after N epochs without better validation. Default: 0, never.", 0, 100_000);
    private static readonly Option<string?> Augment = CommonOptions.Choice("--augment", "Random rotation, shift and zoom: standard is ±10°, ±10 %, ±10 %. Default: standard for improved, none for simple.", "none", "standard");
    private static readonly Option<double?> Rotate = CommonOptions.Ranged("--rotate", "DEG", "Rotation, ± degrees.", 0.0, 180);
    private static readonly Option<double?> Shift = CommonOptions.Ranged("--shift", "F", "Shift, ± share of the side.", 0, 0.5);
    private static readonly Option<double?> Zoom = CommonOptions.Ranged("--zoom", "F", "Zoom, ± share of the size.", 0, 0.5);
    private static readonly Option<double?> Dropout = CommonOptions.Ranged("--dropout", "F", "Every dropout rate; 0 turns dropout off. Default: the network's own.", 0, 1, includeMost: false);
    private static readonly Option<string?> InitFrom = new("--init-from") { Description = "Weights to start from: ours, or exported from PyTorch.", HelpName = "FILE" };
    private static readonly Option<string?> Resume = new("--resume") { Description = "Go on with a run, by its own options; only --epochs, --device and --threads may be given beside it.", HelpName = "DIR" };
    private static readonly Option<bool> NoShuffle = new("--no-shuffle") { Description = "Keep the order of the file." };
    private static readonly Option<string?> Precision = CommonOptions.Precision();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<bool> NoCudaGraph = CommonOptions.NoCudaGraph();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<bool> Quiet = new("--quiet") { Description = "No progress, only the result." };
    private static readonly Option<bool> Json = CommonOptions.Json();

    private static readonly Option[] FixedByRun =
        [Data, Model, Out, BatchSize, Rate, Schedule, Seed, Validation, EarlyStop, Augment, Rotate, Shift, Zoom, Dropout, InitFrom, NoShuffle, Precision, Deterministic];

    public static Command Create()
    {
        Command command = new("train", "Train a network and write a run folder: weights, history, metrics.")
        {
            Data, Model, Device, Out, Epochs, BatchSize, Rate, Schedule, Seed, Validation, EarlyStop, Augment, Rotate, Shift, Zoom, Dropout,
            InitFrom, Resume, NoShuffle, Precision, Deterministic, NoCudaGraph, Threads, Quiet, Json,
        };
        command.SetAction(result => result.GetValue(Resume) is { } folder ? ResumeRun(result, folder) : NewRun(result));
        return command;
    }

    private static int NewRun(ParseResult result)
    {
        string? path = result.GetValue(Data), initFrom = result.GetValue(InitFrom);
        NetworkWeights? start = initFrom is null ? null : Checkpoint.LoadWeights(initFrom, result.GetValue(Model) is { } name ? DigitNetworks.Find(name) : null).Weights;
        TrainingOptions options = Resolve(result, start?.Network.Name, generated: path is null);
        string device = result.GetValue(Device) ?? "auto";
        BackendFactory.CheckDevice(device);

        DigitDataset data = Load(path);
        CheckSplit(data, options);
        bool deterministic = result.GetValue(Deterministic);
        using ITrainingBackend backend = CreateBackend(result, device, options, CommonOptions.PrecisionOf(result.GetValue(Precision)), deterministic, out string? whyCpu);
        RunRecord record = new(
            Checkpoint.Version, DateTime.UtcNow, options, FullPath(initFrom), new RunData(FullPath(path), data.Count, data.Fingerprint()),
            device, backend.Device, backend.Precision, deterministic, $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription}", backend.CudaDetails);
        RunFolder folder = RunFolder.Create(result.GetValue(Out) ?? DefaultFolder(options.Model, record.Started), record);
        return Run(result, folder, record, backend, data, FreshState(backend.Network, options, start), whyCpu);
    }

    private static int ResumeRun(ParseResult result, string path)
    {
        if (FixedByRun.FirstOrDefault(option => result.GetResult(option) is { Implicit: false }) is { } given)
        {
            throw new InputException($"{given.Name} cannot be changed by --resume; only --epochs, --device and --threads may be given beside it");
        }

        RunFolder folder = new(path);
        RunRecord record = folder.ReadRecord();
        if (result.GetValue(Epochs) is { } epochs)
        {
            record = epochs >= record.Options.Epochs
                ? record with { Options = record.Options with { Epochs = epochs } }
                : throw new InputException($"--epochs {epochs} is less than the run's {record.Options.Epochs}; --resume can only extend it");
        }

        string device = result.GetValue(Device) ?? record.DeviceOption;
        DigitDataset data = Load(record.Data.Path);
        if (data.Fingerprint() != record.Data.Fingerprint)
        {
            throw new InputException($"{data.Name}: is not the data that {path} was started with; bring that back, or start a new run");
        }

        Precision? precision = device == "cpu" ? null : record.Precision; // a run goes on in its own, but where the CPU has but one
        using ITrainingBackend backend = CreateBackend(result, device, record.Options, precision, record.Deterministic, out string? whyCpu);
        record = record with { DeviceOption = device, Device = backend.Device, Precision = backend.Precision, Cuda = backend.CudaDetails };
        TrainingState state = File.Exists(folder.StateFile)
            ? Checkpoint.LoadState(folder.StateFile, backend.Network)
            : FreshState(backend.Network, record.Options, record.InitFrom is null ? null : Checkpoint.LoadWeights(record.InitFrom, backend.Network).Weights);
        folder.WriteRecord(record);
        return Run(result, folder, record, backend, data, state, whyCpu);
    }

    private static int Run(ParseResult result, RunFolder folder, RunRecord record, ITrainingBackend backend, DigitDataset data, TrainingState state, string? whyCpu)
    {
        SplitRecord split = new(record.Options.Seed, record.Options.Validation, record.Data.Fingerprint);
        folder.Save(state, split);
        using Interruption interruption = new();
        TrainingReporter reporter = TrainingReporter.Create(result.GetValue(Quiet), record.Options.Epochs);
        Trainer trainer = new(backend, data, record.Options, state)
        {
            OnProgress = reporter.Progress,
            OnEpochEnd = epoch =>
            {
                folder.Save(epoch, split);
                reporter.EpochEnd(epoch);
            },
        };
        reporter.Start(record, folder, trainer.TrainingCount, trainer.ValidationRows.Length, state, whyCpu);
        try
        {
            reporter.Run(() => trainer.Run(interruption.Token));
        }
        catch (OperationCanceledException)
        {
            folder.Save(state, split);
            reporter.Note($"interrupted in epoch {state.Epoch + 1} of {record.Options.Epochs}; saved: go on with cudnn-digits train --resume {folder.Path}");
            throw;
        }
        catch (DivergedException e)
        {
            throw new RunFailedException($"{e.Message}; {folder.Path} keeps {Kept(state)}; try a lower --lr than {record.Options.LearningRate}", e);
        }
        catch (CudaException e)
        {
            throw new RunFailedException(
                $"the GPU failed in epoch {Math.Min(state.Epoch + 1, record.Options.Epochs)}: {e.Message}; {folder.Path} keeps {Kept(state)}; see what nvidia-smi says, then go on with cudnn-digits train --resume {folder.Path}", e);
        }

        Metrics metrics = trainer.Evaluate(state.Kept);
        folder.WriteMetrics(metrics);
        PrintResult(result.GetValue(Json), folder, record, state, metrics);
        return ExitCode.Done;
    }

    private static string Kept(TrainingState state) => state.Epoch > 0 ? $"the state after epoch {state.Epoch}" : "the state at the start";

    private static TrainingOptions Resolve(ParseResult result, string? networkOfWeights, bool generated)
    {
        LearningRateSchedule? schedule = result.GetValue(Schedule) switch
        {
            "plateau" => LearningRateSchedule.Plateau,
            "constant" => LearningRateSchedule.Constant,
            "one-cycle" => LearningRateSchedule.OneCycle,
            _ => null,
        };
        TrainingOptions defaults = TrainingOptions.For(result.GetValue(Model) ?? networkOfWeights ?? DigitNetworks.Improved.Name, schedule);
        AugmentationSpec augmentation = result.GetValue(Augment) switch
        {
            "none" => AugmentationSpec.None,
            "standard" => AugmentationSpec.Standard,
            _ => defaults.Augmentation,
        };
        return defaults with
        {
            Epochs = result.GetValue(Epochs) ?? (generated ? GeneratedDigits.DefaultEpochs : defaults.Epochs),
            BatchSize = result.GetValue(BatchSize) ?? defaults.BatchSize,
            LearningRate = result.GetValue(Rate) ?? defaults.LearningRate,
            Seed = result.GetValue(Seed) ?? defaults.Seed,
            Validation = result.GetValue(Validation) ?? defaults.Validation,
            EarlyStop = result.GetValue(EarlyStop) ?? defaults.EarlyStop,
            Rotate = (float?)result.GetValue(Rotate) ?? augmentation.RotateDegrees,
            Shift = (float?)result.GetValue(Shift) ?? augmentation.ShiftFraction,
            Zoom = (float?)result.GetValue(Zoom) ?? augmentation.ZoomFraction,
            Dropout = result.GetValue(Dropout),
            Shuffle = !result.GetValue(NoShuffle),
        };
    }

    private static DigitDataset Load(string? path) => path is null ? GeneratedDigits.Create() : DataSource.Open(path, DataPart.Training);

    private static void CheckSplit(DigitDataset data, TrainingOptions options)
    {
        Split split = Split.Stratified(data.Labels, options.Validation, options.Seed);
        if (split.Training.Length == 0 || (options.Validation > 0 && split.Validation.Length == 0))
        {
            throw new InputException($"{data.Name}: {data.Count} digits are too few to hold out {options.Validation:P0} of each class; give more data or --validation 0");
        }
    }

    private static ITrainingBackend CreateBackend(ParseResult result, string device, TrainingOptions options, Precision? precision, bool deterministic, out string? whyCpu) =>
        BackendFactory.Create(
            device,
            options.CreateNetwork(),
            new BackendOptions(options.BatchSize, options.Seed, options.Augmentation, result.GetValue(Threads) ?? 0)
            {
                Precision = precision,
                Deterministic = deterministic,
                CudaGraph = !result.GetValue(NoCudaGraph),
            },
            out whyCpu);

    private static TrainingState FreshState(NetworkSpec network, TrainingOptions options, NetworkWeights? start)
    {
        NetworkWeights weights = Initializer.Create(network, options.Seed);
        if (start is not null)
        {
            weights.CopyFrom(start);
        }

        return new TrainingState(weights);
    }

    private static void PrintResult(bool json, RunFolder folder, RunRecord record, TrainingState state, Metrics metrics)
    {
        int keptEpoch = record.Options.Validation > 0 ? state.BestEpoch?.Epoch ?? 0 : state.Epoch;
        if (json)
        {
            TrainResult summary = new(
                record.Options.Model, record.Device, state.Epoch, keptEpoch, metrics.Accuracy, metrics.Loss, metrics.Samples,
                record.Options.Validation > 0 ? "validation" : "training", folder.Path, folder.ModelFile);
            Console.Out.WriteLine(JsonSerializer.Serialize(summary, CliJson.Default.TrainResult));
            return;
        }

        string digits = record.Options.Validation > 0 ? "validation digits" : "training digits (nothing was held out)";
        Console.Out.WriteLine($"accuracy  {metrics.Accuracy:P2} of {metrics.Samples:N0} {digits}, loss {metrics.Loss:F4} (weights of epoch {keptEpoch})");
        Console.Out.WriteLine($"weights   {folder.ModelFile}");
        Console.Out.WriteLine($"next      cudnn-digits predict --weights {folder.ModelFile} --data test.csv");
    }

    private static string DefaultFolder(string model, DateTime now)
    {
        string stem = Path.Combine("runs", $"{model}-{now:yyyyMMdd-HHmmss}"), folder = stem;
        for (int i = 2; Directory.Exists(folder); i++)
        {
            folder = $"{stem}-{i}";
        }

        return folder;
    }

    private static string? FullPath(string? path) => path is null ? null : Path.GetFullPath(path);
}
