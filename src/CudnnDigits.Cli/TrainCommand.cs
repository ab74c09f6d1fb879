using System.IO.Compression;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

internal static class TrainCommand
{
    private static readonly string Validation = TrainingField.Of(nameof(TrainingOptions.Validation)).Option!,
        EarlyStop = TrainingField.Of(nameof(TrainingOptions.EarlyStop)).Option!;

    private static readonly Option<string?> Out = CommonOptions.OutFolder("Folder of the run. Default: runs/<model>-<UTC time>.");
    private static readonly Option<string?> InitFrom = CommonOptions.Value(
        "--init-from", "FILE", "Weights to start from: the folder of a run, or a safetensors file, also one that PyTorch exported. "
            + "The network is that of the weights.");

    private static readonly Option<string?> Resume = CommonOptions.Value(
        "--resume", "DIR", "Continue a run with its own options. Only --epochs, --device and --threads may be added. "
            + "With more --epochs, the one-cycle schedule is computed again for all of them.");

    private static readonly Option<bool> NoShuffle = CommonOptions.Flag("--no-shuffle", "Train on the digits in the order of the file.");

    private static readonly string[] TestNames = ["test.csv", "test.csv.gz"];

    public static Command Create() => CommonOptions.NewCommand(
        "train", "Train a network and write a run folder: weights, history, metrics, HTML report.",
        [
            .. TrainingOptionSet.Training, .. TrainingOptionSet.TrainOnly, Out, InitFrom, Resume, NoShuffle, .. Machine.Options,
            CommonOptions.Quiet, CommonOptions.Json,
        ],
        result =>
        {
            using (Process self = Process.GetCurrentProcess())
            {
                StartUp.Add("runtime", (DateTime.Now - self.StartTime).TotalSeconds);
            }

            if (result.GetValue(Resume) is { } folder)
            {
                ResumeRun(result, folder);
            }
            else
            {
                NewRun(result);
            }
        });

    private static void NewRun(ParseResult result)
    {
        bool quiet = result.GetValue(CommonOptions.Quiet);
        string? path = result.GetValue(TrainingOptionSet.Data), initFrom = result.GetValue(InitFrom);
        NetworkSpec? network = result.GetValue(CommonOptions.Model) is { } name ? DigitNetworks.Find(name) : null;
        initFrom = initFrom is null ? null : RunFolder.WeightsOf(initFrom);
        (NetworkWeights? start, IReadOnlyDictionary<string, string> metadata) =
            initFrom is null ? (null, new Dictionary<string, string>()) : WeightsFile.Load(initFrom, network, quiet, toTrain: true);
        TrainingOptions options = TrainingOptionSet.Resolve(result, start?.Network.Name) with { Shuffle = !result.GetValue(NoShuffle) };
        if (options is { EarlyStop: > 0, Split.HoldsOut: false })
        {
            throw new InputException($"{EarlyStop} {options.EarlyStop} needs held-out digits, but {Validation} 0 holds out none; "
                + "leave out one of the two");
        }

        Machine machine = Machine.From(result);
        using IDisposable opening = machine.Prepare(options);
        DigitDataset data = CommonOptions.LoadTraining(path, quiet);
        using TrainingRun run = TrainingRun.Create(
            started => result.GetValue(Out) ?? CommonOptions.NewFolder(options.Model, started), (data, RunData.Of(path, data)), options,
            machine, start is null ? null : (initFrom!, start));
        if (initFrom is not null && options.Split.HoldsOut
            && WeightsFile.Seen(data, run.Record.Data.Fingerprint, initFrom, metadata) is var known
            && options.Split.Draw(data.Labels).Validation.Count(known.Contains) is > 0 and int seen)
        {
            CommonOptions.Note("warning", $"{initFrom} was trained on {seen:N0} of the digits that are held out here, so their accuracy "
                + "says too much; hold out the same as its run: --seed and --validation as there");
        }

        Run(result, run);
    }

    private static void ResumeRun(ParseResult result, string path)
    {
        IEnumerable<Option> free =
            [Resume, TrainingOptionSet.Epochs, CommonOptions.Quiet, CommonOptions.Json, .. Machine.Options.Except(Machine.FixedByRun)];
        if (result.CommandResult.Command.Options.Except(free).FirstOrDefault(option => result.GetResult(option) is { Implicit: false })
            is { } given)
        {
            throw new InputException(
                $"{given.Name} cannot be changed by --resume; only --epochs, --device and --threads may be given beside it");
        }

        using RunFolder folder = RunFolder.Open(path, out RunRecord record);
        TrainingOptions before = record.Options;
        bool hasEpochs = result.GetValue(TrainingOptionSet.Epochs) is not null;
        int epochs = hasEpochs ? TrainingOptionSet.Resolve(result, before.Model).Epochs : before.Epochs;
        record = epochs >= before.Epochs
            ? record with { Options = before with { Epochs = epochs } }
            : throw new InputException($"--epochs {epochs} is less than the run's {before.Epochs}; --resume can only extend it");
        if (record.Data.Path is { } digits && !Path.Exists(digits))
        {
            throw new InputException($"{digits}: is gone, and the run was started with these digits; bring them back there, then go on");
        }

        Machine machine = Machine.From(result, record.DeviceOption);
        using IDisposable opening = (machine with { Precision = record.Precision }).Prepare(record.Options);
        DigitDataset data = CommonOptions.LoadTraining(record.Data.Path, result.GetValue(CommonOptions.Quiet));
        if (data.Fingerprint() != record.Data.Fingerprint)
        {
            throw new InputException($"{data.Name}: is not the data that {path} was started with; bring that back, or start a new run");
        }

        CommonOptions.NoteGoneKernels("run", record.GoneKernels);
        using TrainingRun run = TrainingRun.Resume(folder, record, data, machine);
        Run(result, run, before);
    }

    private static void Run(ParseResult result, TrainingRun run, TrainingOptions? before = null)
    {
        using Interruption interruption = new();
        TrainingReporter reporter = TrainingReporter.Create(result.GetValue(CommonOptions.Quiet), run.Record.Options);
        CommonOptions.Note("note", before is null ? null : WhatResumingMeans(run, before));

        int epochs = run.State.Epoch;
        Metrics metrics = run.Train(reporter, ThisProgram.Command("train", "--resume", run.Folder.Path), interruption.Token);
        TrainingOptions options = run.Record.Options;
        if (run.State.Epoch > epochs && run.State.Epoch < options.Epochs)
        {
            reporter.Note("note", HowItStopped(run));
        }

        int kept = run.State.KeptEpoch(options);
        TrainResult summary = new(
            options.Model, run.Record.Device, run.State.Epoch, run.State.Epoch - epochs, kept, metrics.Accuracy, metrics.Loss,
            metrics.Samples, options.Split.HoldsOut ? "validation" : "training", run.Folder.Path, run.Folder.ModelFile,
            StartUp.Seconds.ToDictionary(phase => phase.Key, phase => Math.Round(phase.Value, 4)));
        string digits = options.Split.HoldsOut ? "validation digits" : "training digits (nothing was held out)";
        CliJson.Print(
            result, summary,
            $"accuracy  {metrics.Accuracy:P2} of {metrics.Samples:N0} {digits}, loss {metrics.Loss:F4} (weights of epoch {kept})\n"
                + $"weights   {run.Folder.ModelFile}\nreport    {run.Folder.ReportFile}\nnext      {Next(run)}");
    }

    /// <summary>What resuming a run does other than to go on with it; null if nothing.</summary>
    private static string? WhatResumingMeans(TrainingRun run, TrainingOptions before)
    {
        (TrainingState state, TrainingOptions now) = (run.State, run.Record.Options);
        return state.IsStoppedEarly(now)
                ? $"nothing is left to train: the run {HowItStopped(run)}; {InitFrom.Name} {Shell.OfUser.Quote(run.Folder.Path)} begins a "
                    + "new run with its weights"
            : state.Epoch >= now.Epochs
                ? $"nothing is left to train: epoch {state.Epoch} of {now.Epochs} is done; more --epochs train further"
            : now.Schedule == LearningRateSchedule.OneCycle && now.Epochs > before.Epochs && state.Optimizer.Step > 0
                ? $"the one-cycle schedule was computed for --epochs {before.Epochs} and is now computed for --epochs {now.Epochs}, "
                    + $"so the result is not that of a run with --epochs {now.Epochs} from the start"
            : now is { EarlyStop: > 0, Split.HoldsOut: false }
                ? $"nothing is held out, so {EarlyStop} {now.EarlyStop} goes by the training loss; new runs refuse it"
            : null;
    }

    /// <summary>After which epoch a run stopped early, and why.</summary>
    private static string HowItStopped(TrainingRun run) => $"stopped early after epoch {run.State.Epoch}, since none was better than epoch "
        + $"{run.State.BestEpoch!.Epoch} ({EarlyStop} {run.Record.Options.EarlyStop})";

    /// <summary>What can be done with the weights: read digits beside those that were trained on, or serve a page to draw on.</summary>
    private static string Next(TrainingRun run)
    {
        string? data = run.Record.Data.Path, test = data is null ? null : TestDigits(data);
        bool isMnist = Directory.Exists(data)
            && DataSource.FilesOf(data).Any(file => Path.GetFileName(file).StartsWith("t10k-labels", StringComparison.Ordinal));
        string command = test is not null ? "predict" : isMnist ? "evaluate" : "serve";
        string[] digits = (test ?? (isMnist ? data : null)) is { } path ? ["--data", ThisProgram.Shortest(path)] : [];
        return ThisProgram.Command([command, "--weights", run.Folder.Path, .. digits]);
    }

    /// <summary>Where Kaggle's test digits are: in its zip or its folder, or in a file beside the one that was trained on.</summary>
    private static string? TestDigits(string data)
    {
        try
        {
            if (data.EndsWith(".zip", StringComparison.OrdinalIgnoreCase))
            {
                using ZipArchive zip = ZipFile.OpenRead(data);
                return zip.Entries.Any(entry => entry.Name == "test.csv") ? data : null;
            }

            bool isFolder = Directory.Exists(data);
            string? found = TestNames.Select(name => Path.Combine(isFolder ? data : Path.GetDirectoryName(data) ?? "", name))
                .FirstOrDefault(file => file != data && File.Exists(file));
            return found is null || !Path.Exists(data) ? null : isFolder ? data : found;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            return null; // it was read a moment ago, and only a hint depends on it
        }
    }
}
