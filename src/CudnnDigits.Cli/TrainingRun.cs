using CudnnDigits.Cli.Report;
using CudnnDigits.Cuda;

namespace CudnnDigits.Cli;

/// <summary>A run in its folder, new or resumed. It is trained to its end, evaluated and reported.</summary>
internal sealed class TrainingRun(
    RunFolder folder, RunRecord record, DigitDataset data, ITrainingBackend backend, TrainingState state, string? whyCpu, bool goesOn)
    : IDisposable
{
    public RunFolder Folder => folder;

    public RunRecord Record => record;

    public TrainingState State => state;

    /// <summary>Creates a new run. Its folder is made last, when everything else is known to work.</summary>
    public static TrainingRun Create(
        Func<DateTime, string> path, (DigitDataset Digits, RunData Record) data, TrainingOptions options, Machine machine,
        (string Path, NetworkWeights Weights)? initFrom = null)
    {
        Trainer.CheckSplit(data.Digits, options);
        return Begin(machine, options, null, (backend, whyCpu) =>
        {
            string? start = initFrom is { } given ? Path.GetFullPath(given.Path) : null;
            string? sum = start is not null && RecordFile.IsPlain(start) ? RunFolder.Sha256(start) : null; // a pipe cannot be read twice
            string runtime = $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.OSDescription}";
            RunRecord record = new(
                Checkpoint.Version, DateTime.UtcNow, options, start, data.Record, machine.Device, backend.Device, backend.Precision,
                machine.Deterministic, runtime, backend.CudaDetails, sum, machine.Kernels);
            RunFolder folder = RunFolder.Create(path(record.Started), record);
            TrainingState state = TrainingState.Fresh(backend.Network, options, initFrom?.Weights);
            return new TrainingRun(folder, record, data.Digits, backend, state, whyCpu, goesOn: false);
        });
    }

    /// <summary>Resumes a run. Its locked folder is disposed with it; precision, determinism and kernels stay those of the run.</summary>
    public static TrainingRun Resume(RunFolder folder, RunRecord record, DigitDataset data, Machine machine)
    {
        Precision? precision = machine.Device == "cpu" ? null : record.Precision; // the CPU computes in fp32 only
        machine = machine with { Precision = precision, Deterministic = record.Deterministic, Kernels = record.Kernels };
        return Begin(machine, record.Options, folder, (backend, whyCpu) =>
        {
            record = record with
            {
                DeviceOption = machine.Device,
                Device = backend.Device,
                Precision = backend.Precision,
                Cuda = backend.CudaDetails,
            };
            TrainingState state = folder.ReadState(backend.Network, record, data)
                ?? TrainingState.Fresh(backend.Network, record.Options, ReadStart(record, backend.Network));
            int epochs = state.IsStoppedEarly(record.Options) ? folder.ReadRecord().Options.Epochs : record.Options.Epochs;
            record = record with { Options = record.Options with { Epochs = epochs } }; // further ones are not trained after an early stop
            return new TrainingRun(folder, record, data, backend, state, whyCpu, goesOn: true);
        });
    }

    /// <summary>Begins a run on the backend that a machine gives; if it cannot begin, what is open is closed.</summary>
    private static TrainingRun Begin(
        Machine machine, TrainingOptions options, RunFolder? folder, Func<ITrainingBackend, string?, TrainingRun> begin)
    {
        ITrainingBackend? backend = null;
        try
        {
            backend = machine.CreateBackend(options, out string? whyCpu);
            return begin(backend, whyCpu);
        }
        catch
        {
            backend?.Dispose();
            folder?.Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, or saves the state if cancelled; writes and returns the metrics of the kept weights.</summary>
    public Metrics Train(TrainingReporter reporter, string resumeWith, CancellationToken cancellation)
    {
        // In this order, a kill or a full disk leaves the run either ended as before, or ready to be resumed.
        using StateWriter writer = new(folder, record);
        writer.Save(state); // fails before anything is trained if the folder cannot be written
        folder.DiscardMetrics();
        folder.WriteRecord(record);
        Trainer trainer = new(backend, data, record.Options, state)
        {
            GoesOn = goesOn,
            OnProgress = reporter.Progress,
            OnEpochEnd = epoch =>
            {
                writer.BeginSave(epoch);
                reporter.EpochEnd(epoch);
            },
        };
        reporter.Start(record, folder, trainer.Split.Training.Length, trainer.Split.Validation.Length, state, whyCpu);
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
                    writer.Save(state); // also after an error
                }
            });
        }
        catch (OperationCanceledException)
        {
            reporter.Advise($"interrupted in epoch {state.Epoch + 1} of {record.Options.Epochs}; saved: go on with", resumeWith);
            throw;
        }
        catch (Exception e) when (e is DivergedException or CudaException)
        {
            int epoch = Math.Min(state.Epoch + 1, record.Options.Epochs);
            string kept = $"{folder.Path} keeps the state {(state.Epoch > 0 ? $"after epoch {state.Epoch}" : "at the start")}";
            throw new RunFailedException(
                e is DivergedException
                    ? $"{e.Message}; {kept}; try a lower --lr than {TrainingField.Exact(record.Options.Optimizer.LearningRate)}"
                    : $"the GPU failed in epoch {epoch}: {e.Message}; {kept}; see what nvidia-smi says, then go on with {resumeWith}",
                e);
        }

        return Score(trainer.Split.Scored);
    }

    public void Dispose()
    {
        backend.Dispose();
        folder.Dispose();
    }

    private Metrics Score(ReadOnlySpan<int> rows)
    {
        float[] logits = new float[rows.Length * DigitDataset.Classes];
        NetworkWeights weights = state.Kept(record.Options);
        backend.Load(weights, new OptimizerState(weights, record.Options.Kept));
        backend.Predict(data, rows, logits);
        ScoredDigits scored = ScoredDigits.Of(logits, data, rows);
        int kept = state.KeptEpoch(record.Options);
        RunReport report = new(folder, record, state.History, kept, HasEnded: true, scored.Metrics, scored, WhyNoPictures: null);
        AtomicFile.WriteText(folder.ReportFile, HtmlReport.Page([report]));
        folder.WriteMetrics(scored.Metrics); // last: it marks the run as ended
        return scored.Metrics;
    }

    /// <summary>The weights to start from, for a run that was killed before it saved its first state; null for random ones.</summary>
    private static NetworkWeights? ReadStart(RunRecord record, NetworkSpec network) => record.InitFrom is not { } file ? null
        : record.InitFromSha256 is { } sum && RunFolder.Sha256(file) != sum
            ? throw new InputException($"{file}: is no longer the file that the run was started with; bring that back, or start a new run")
            : Checkpoint.LoadWeights(file, network).Weights;
}
