using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Terminal;
using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Runs;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>A run in its folder, new or resumed. It is trained to its end, evaluated and reported.</summary>
internal sealed class TrainingRun : IDisposable
{
    private readonly DigitDataset _data;
    private readonly ITrainingBackend _backend;
    private readonly string? _whyCpu;
    private readonly bool _goesOn;

    private TrainingRun(
        RunFolder folder, RunRecord record, DigitDataset data, ITrainingBackend backend, TrainingState state, string? whyCpu,
        bool goesOn) =>
        (Folder, Record, _data, _backend, State, _whyCpu, _goesOn) = (folder, record, data, backend, state, whyCpu, goesOn);

    public RunFolder Folder { get; }

    public RunRecord Record { get; }

    public TrainingState State { get; }

    /// <summary>Creates a new run and its folder.</summary>
    /// <param name="path">Gives the folder for the time of the start; called when everything else is known to work.</param>
    /// <param name="data">The digits, and their description for run.json.</param>
    /// <param name="initFrom">Weights to start from, and their file; null for random ones.</param>
    public static TrainingRun Create(
        Func<DateTime, string> path, (DigitDataset Digits, RunData Record) data, TrainingOptions options, Machine machine,
        (string Path, NetworkWeights Weights)? initFrom = null)
    {
        Trainer.CheckSplit(data.Digits, options);
        ITrainingBackend backend = machine.CreateBackend(options, out string? whyCpu);
        try
        {
            string? start = initFrom is { } given ? Path.GetFullPath(given.Path) : null;
            string? sum = start is not null && RecordFile.IsPlain(start) ? RunFolder.Sha256(start) : null; // a pipe cannot be read twice
            string runtime = $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription}";
            RunRecord record = new(
                Checkpoint.Version, DateTime.UtcNow, options, start, data.Record, machine.Device, backend.Device, backend.Precision,
                machine.Deterministic, runtime, backend.CudaDetails, sum, machine.Kernels);
            RunFolder folder = RunFolder.Create(path(record.Started), record);
            TrainingState state = FreshState(backend.Network, options, initFrom?.Weights);
            return new TrainingRun(folder, record, data.Digits, backend, state, whyCpu, goesOn: false);
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    /// <summary>Resumes a run.</summary>
    /// <param name="folder">Its locked folder, which is disposed with the run.</param>
    /// <param name="record">Its record, perhaps with more epochs.</param>
    /// <param name="data">The digits that it was started with.</param>
    /// <param name="machine">Where to continue; precision, determinism and kernels are those of the run.</param>
    public static TrainingRun Resume(RunFolder folder, RunRecord record, DigitDataset data, Machine machine)
    {
        Precision? precision = machine.Device == "cpu" ? null : record.Precision; // the CPU computes in fp32 only
        machine = machine with { Precision = precision, Deterministic = record.Deterministic, Kernels = record.Kernels };
        ITrainingBackend backend = machine.CreateBackend(record.Options, out string? whyCpu);
        try
        {
            record = record with
            {
                DeviceOption = machine.Device,
                Device = backend.Device,
                Precision = backend.Precision,
                Cuda = backend.CudaDetails,
            };
            TrainingState state = folder.ReadState(backend.Network, record, data)
                ?? FreshState(backend.Network, record.Options, ReadStart(record, backend.Network));
            if (state.IsStoppedEarly(record.Options))
            {
                int epochs = folder.ReadRecord().Options.Epochs; // further epochs would not be trained
                record = record with { Options = record.Options with { Epochs = epochs } };
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
    /// <param name="resumeWith">The command that continues the run, for messages.</param>
    /// <param name="cancellation">Ends the run between steps, after its state is saved.</param>
    /// <returns>Metrics of the kept weights.</returns>
    public Metrics Train(TrainingReporter reporter, string resumeWith, CancellationToken cancellation)
    {
        // In this order, a kill or a full disk leaves the run either ended as before, or ready to be resumed.
        using StateWriter writer = new(Folder, Record);
        writer.Save(State); // fails before anything is trained if the folder cannot be written
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
                    writer.Save(State); // also after an error
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
            string rate = Figures.Exact(Record.Options.Optimizer.LearningRate);
            throw new RunFailedException($"{e.Message}; {Folder.Path} keeps {WhatIsKept}; try a lower --lr than {rate}", e);
        }
        catch (CudaException e)
        {
            int epoch = Math.Min(State.Epoch + 1, Record.Options.Epochs);
            throw new RunFailedException($"the GPU failed in epoch {epoch}: {e.Message}; {Folder.Path} keeps {WhatIsKept}; "
                + $"see what nvidia-smi says, then go on with {resumeWith}", e);
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
        NetworkWeights weights = State.Kept(Record.Options);
        _backend.Load(weights, new OptimizerState(weights, Record.Options.Ema > 0));
        _backend.Predict(_data, rows, logits);
        ScoredDigits scored = ScoredDigits.Of(logits, _data, rows);
        int kept = State.KeptEpoch(Record.Options);
        RunReport report = new(Folder, Record, State.History, kept, HasEnded: true, scored.Metrics, scored, WhyNoPictures: null);
        HtmlReport.Write(Folder.ReportFile, report);
        Folder.WriteMetrics(scored.Metrics); // last: it marks the run as ended
        return scored.Metrics;
    }

    /// <summary>The weights to start from, for a run that was killed before it saved its first state. Null for random ones.</summary>
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

        return new TrainingState(weights, options.Ema > 0);
    }
}
