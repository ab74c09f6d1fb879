using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;
using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>A run in its folder: made new, or taken up where it stopped; trained to its end, scored and reported.</summary>
internal sealed class TrainingRun : IDisposable
{
    private readonly DigitDataset _data;
    private readonly ITrainingBackend _backend;
    private readonly string? _whyCpu;
    private readonly bool _goesOn;

    private TrainingRun(RunFolder folder, RunRecord record, DigitDataset data, ITrainingBackend backend, TrainingState state, string? whyCpu, bool goesOn) =>
        (Folder, Record, _data, _backend, State, _whyCpu, _goesOn) = (folder, record, data, backend, state, whyCpu, goesOn);

    public RunFolder Folder { get; }

    public RunRecord Record { get; }

    public TrainingState State { get; }

    /// <summary>Makes the folder of a new run.</summary>
    /// <param name="path">The folder, once the run is known to be possible.</param>
    /// <param name="data">The digits, and what run.json says of them.</param>
    /// <param name="options">How to train.</param>
    /// <param name="machine">Where to train.</param>
    /// <param name="initFrom">Weights to begin with, and the file they come from; null for fresh ones.</param>
    public static TrainingRun Create(Func<DateTime, string> path, (DigitDataset Digits, RunData Record) data, TrainingOptions options, Machine machine, (string Path, NetworkWeights Weights)? initFrom = null)
    {
        Trainer.CheckSplit(data.Digits, options);
        ITrainingBackend backend = machine.CreateBackend(options, out string? whyCpu);
        try
        {
            RunRecord record = new(
                Checkpoint.Version, DateTime.UtcNow, options, initFrom is { } start ? Path.GetFullPath(start.Path) : null, data.Record, machine.Device, backend.Device,
                backend.Precision, machine.Deterministic, $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription}", backend.CudaDetails,
                initFrom is { } file && RecordFile.IsPlain(file.Path) ? RunFolder.Sha256(file.Path) : null); // a pipe is read once
            RunFolder folder = RunFolder.Create(path(record.Started), record);
            return new TrainingRun(folder, record, data.Digits, backend, FreshState(backend.Network, options, initFrom?.Weights), whyCpu, goesOn: false);
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    /// <summary>Takes a run up where it stopped.</summary>
    /// <param name="folder">Its folder, locked; taken over.</param>
    /// <param name="record">Its record, perhaps with more epochs.</param>
    /// <param name="data">The digits it was started with.</param>
    /// <param name="machine">Where to go on; precision and determinism are the run's own.</param>
    public static TrainingRun Resume(RunFolder folder, RunRecord record, DigitDataset data, Machine machine)
    {
        Precision? precision = machine.Device == "cpu" ? null : record.Precision; // a run goes on in its own, but where the CPU has but one
        ITrainingBackend backend = (machine with { Precision = precision, Deterministic = record.Deterministic }).CreateBackend(record.Options, out string? whyCpu);
        try
        {
            record = record with { DeviceOption = machine.Device, Device = backend.Device, Precision = backend.Precision, Cuda = backend.CudaDetails };
            TrainingState state = folder.ReadState(backend.Network, record, data) ?? FreshState(backend.Network, record.Options, ReadStart(record, backend.Network));
            if (state.IsStoppedEarly(record.Options))
            {
                record = record with { Options = record.Options with { Epochs = folder.ReadRecord().Options.Epochs } }; // more of them are not trained
            }

            return new TrainingRun(folder, record, data, backend, state, whyCpu, goesOn: true);
        }
        catch
        {
            backend.Dispose();
            folder.Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, and writes metrics.json and report.html.</summary>
    /// <param name="reporter">Tells how it goes.</param>
    /// <param name="resumeWith">The command that would go on, for messages.</param>
    /// <param name="cancellation">Ends the run between steps, with its state saved.</param>
    /// <returns>The kept weights' metrics.</returns>
    public Metrics Train(TrainingReporter reporter, string resumeWith, CancellationToken cancellation)
    {
        // In this order a kill or a full disk leaves the run ended as it was, or to be gone on with.
        using StateWriter writer = new(Folder, Record);
        writer.Save(State); // a folder that takes nothing is found out before anything is trained
        Folder.DiscardMetrics();
        Folder.WriteRecord(Record);
        Trainer trainer = new(_backend, _data, Record.Options, State)
        {
            GoesOn = _goesOn,
            OnProgress = reporter.Progress,
            OnEpochEnd = epoch =>
            {
                writer.BeginSave(epoch);
                reporter.EpochEnd(epoch);
            },
        };
        reporter.Start(Record, Folder, trainer.TrainingCount, trainer.ValidationRows.Length, State, _whyCpu);
        try
        {
            reporter.Run(() =>
            {
                try
                {
                    trainer.Run(cancellation);
                }
                finally
                {
                    writer.Save(State); // however it ended
                }
            });
        }
        catch (OperationCanceledException)
        {
            reporter.Advise($"interrupted in epoch {State.Epoch + 1} of {Record.Options.Epochs}; saved: go on with", resumeWith);
            throw;
        }
        catch (DivergedException e)
        {
            throw new RunFailedException($"{e.Message}; {Folder.Path} keeps {WhatIsKept}; try a lower --lr than {Figures.Exact(Record.Options.LearningRate)}", e);
        }
        catch (CudaException e)
        {
            throw new RunFailedException(
                $"the GPU failed in epoch {Math.Min(State.Epoch + 1, Record.Options.Epochs)}: {e.Message}; {Folder.Path} keeps {WhatIsKept}; see what nvidia-smi says, then go on with {resumeWith}", e);
        }

        return Score(trainer.ScoredRows);
    }

    public void Dispose()
    {
        _backend.Dispose();
        Folder.Dispose();
    }

    private string WhatIsKept => State.Epoch > 0 ? $"the state after epoch {State.Epoch}" : "the state at the start";

    private Metrics Score(ReadOnlySpan<int> rows)
    {
        float[] logits = new float[rows.Length * DigitDataset.Classes];
        _backend.Load(State.Kept(Record.Options), State.Optimizer);
        _backend.Predict(_data, rows, logits);
        ScoredDigits scored = ScoredDigits.Of(logits, _data, rows);
        HtmlReport.Write(Folder.ReportFile, new RunReport(Folder, Record, State.History, State.KeptEpoch(Record.Options), HasEnded: true, scored.Metrics, scored, WhyNoPictures: null));
        Folder.WriteMetrics(scored.Metrics); // last: what has metrics has ended
        return scored.Metrics;
    }

    /// <summary>The weights that a run begins with which was killed before its first state; null for fresh ones.</summary>
    private static NetworkWeights? ReadStart(RunRecord record, NetworkSpec network) => record.InitFrom is not { } file ? null
        : record.InitFromSha256 is { } sum && RunFolder.Sha256(file) != sum
            ? throw new InputException($"{file}: is no longer the file that the run was started with; bring that back, or start a new run")
            : Checkpoint.LoadWeights(file, network).Weights;

    private static TrainingState FreshState(NetworkSpec network, TrainingOptions options, NetworkWeights? start)
    {
        NetworkWeights weights = Initializer.Create(network, options.Seed);
        if (start is not null)
        {
            weights.CopyFrom(start);
        }

        return new TrainingState(weights);
    }
}
