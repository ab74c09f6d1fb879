using System.Diagnostics.CodeAnalysis;
using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>
/// Trains on an NVIDIA GPU. Built once: tensors, descriptors, algorithms, one allocation. Each step (<see cref="CudaStep"/>)
/// is warmed up and captured into a graph the first time it is needed, and replayed from then on; within an epoch nothing
/// returns to the host. Must be used by one thread at a time, any thread.
/// </summary>
internal sealed unsafe class CudaBackend : ITrainingBackend, IStepInspector
{
    private readonly BackendOptions _options;
    private readonly CudaSession _session;
    private readonly CudaNetwork _net;
    private readonly DeviceTensor _workspace;
    private readonly Dictionary<int, CudaStep> _steps = []; // by batch: the whole one, and what is left over at the end of an epoch
    private readonly PinnedMemory _stateStaging;

    private ResidentDigits? _training, _prediction; // one and the same where training and validation rows are of one dataset
    private RowBuffers? _trainingRows, _predictionRows;
    private int _rows, _nextStep;

    /// <summary>Takes over the context.</summary>
    public CudaBackend(CudaContext context, NetworkSpec network, BackendOptions options)
    {
        using Nvtx.Range range = Nvtx.Open("build"u8);
        (Network, _options) = (network, options);
        _session = new CudaSession(context, options.Precision ?? CudaDevice.DefaultPrecision(context.Gpu), options.Deterministic);
        _session.Overlaps &= options.Overlap;
        using CudaContext.Scope scope = context.Enter();
        using StartUp.Phase phase = StartUp.Measure("algorithms and memory");
        DeviceArena arena = new();
        NetworkKind kind = NetworkKind.Choose(context.Gpu, _session.Precision, network, options.Kernels);
        _net = kind.Make(_session, arena, network, options.BatchSize, options.Kept);
        long bytesPerSample = _net.BytesPerSample;
        CudaStep step = MakeStep(options.BatchSize, Conv2d.MostWorkspace(options.BatchSize));
        _workspace = arena.Reserve(Math.Max(step.Layers.WorkspaceBytes, 1), DeviceType.U8);
        _session.ReserveBlasWorkspaces(arena, ofBranches: true);
        arena.Allocate(context.Handles, free =>
        {
            long fits = options.BatchSize - Math.Max(arena.Bytes - free, 0) / bytesPerSample - 1; // what is free can be in pieces
            return $"{(fits >= 1 ? $"try --batch-size {1L << (int)Math.Log2(fits)}, or " : "")}close other programs on the GPU";
        });
        step.SetWorkspace(_workspace);
        _session.UseBlasWorkspaces();
        _stateStaging = new PinnedMemory(context.Handles, sizeof(StepState));
        _session.Stream.Clear((nint)arena.Base, arena.Bytes);
        _session.Stream.Synchronize();
        CudaDetails = CudaDevice.Describe(_session, kind.Kernels, step.Layers.Algorithms, arena.Bytes);
        Device = context.Gpu.Name;
    }

    public NetworkSpec Network { get; }

    public string Device { get; }

    public int BatchSize => _options.BatchSize;

    public Precision Precision => _session.Precision;

    public CudaDetails? CudaDetails { get; }

    /// <summary>A whole epoch: what it takes is a matter of milliseconds, and asking would stop the device.</summary>
    public int StepsPerCall => int.MaxValue;

    public void Load(NetworkWeights weights, OptimizerState optimizer)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("load"u8);
        _net.Parameters.Load(_session.Stream, weights, optimizer);
        Adam.RoundWeights(_session, _net.Parameters);
        UploadState(_net.TrainingState, ReadState() with { AdamStep = optimizer.Step });
    }

    public void Save(NetworkWeights weights, OptimizerState optimizer)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        _net.Parameters.Save(_session.Stream, weights, optimizer);
        optimizer.Step = ReadState().AdamStep;
    }

    public void SaveGradients(float[] gradients)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        _net.Parameters.SaveGradients(_session.Stream, gradients);
    }

    public void SaveLogits(Span<float> logits)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using PinnedMemory staging = new(_session.Context.Handles, (long)logits.Length * sizeof(float));
        _session.Stream.Download<float>(staging.Pointer, _net.Logits.Address, logits.Length).CopyTo(logits);
    }

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        long adamStep = ReadState().AdamStep; // waits, so that what is uploaded now is not in use
        MakeResident(ref _training, _prediction, data);
        MakeRoom(ref _trainingRows, order.Length);
        StepState state = _trainingRows.Begin(_session.Stream, _training, order) with
        {
            AdamStep = adamStep,
            Epoch = (uint)epoch,
            LabelSmoothing = (float)_options.LabelSmoothing,
            Loss = sums.Loss,
            Correct = sums.Correct,
            Samples = sums.Samples,
        };
        UploadState(_net.TrainingState, state);
        (_rows, _nextStep) = (order.Length, 0);

        // Everything that the epoch will run is made ready here, so that RunSteps does nothing but launch.
        foreach (int batch in new[] { Math.Min(BatchSize, order.Length), order.Length % BatchSize }.Where(batch => batch > 0))
        {
            Prepare(batch, training: true);
        }
    }

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("epoch"u8);
        RowBuffers rows = _trainingRows ?? throw new InvalidOperationException("no epoch was begun");
        if (firstStep != _nextStep)
        {
            UploadState(_net.TrainingState, ReadState() with { Step = (uint)firstStep, Next = (uint)(firstStep * BatchSize) });
        }

        rows.UploadRates(_session.Stream, firstStep, learningRates);
        _nextStep = firstStep + learningRates.Length;
        for (int step = firstStep; step < _nextStep; step++)
        {
            Run(_steps[Math.Min(BatchSize, _rows - step * BatchSize)], training: true);
        }
    }

    public EpochSums ReadSums()
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("wait for the epoch"u8);
        StepState state = ReadState();
        return new EpochSums(state.Loss, state.Correct, state.Samples);
    }

    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("evaluation"u8);
        if (rows.IsEmpty)
        {
            return;
        }

        _session.Stream.Synchronize();
        MakeResident(ref _prediction, _training, data);
        MakeRoom(ref _predictionRows, rows.Length);
        UploadState(_net.PredictionState, _predictionRows.Begin(_session.Stream, _prediction, rows));
        CudaStep step = Prepare(BatchSize, training: false);
        DeviceTensor weights = _net.Parameters.W;
        DeviceTensor? average = _net.Parameters.Average;
        if (average is { } predicting)
        {
            _session.Stream.Copy(_net.Snapshot.Address, weights.Address, weights.Bytes);
            PutWeights(predicting);
        }

        step.Layers.PreparePrediction();
        for (int first = 0; first < rows.Length; first += BatchSize)
        {
            Run(step, training: false); // the last one filled up with its last row
        }

        if (average is not null)
        {
            PutWeights(_net.Snapshot);
        }

        _predictionRows.ReadLogits(_session.Stream, logits[..(rows.Length * DigitDataset.Classes)]);
    }

    /// <summary>cuProfilerStart now, cuProfilerStop when disposed of, both in the backend's context, as the driver demands.</summary>
    public IDisposable Profile()
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        CudaException.Check(CudaDriver.cuProfilerStart());
        return new ProfilerRange(_session.Context);
    }

    public void Dispose() => _session.Dispose();

    private void PutWeights(DeviceTensor from)
    {
        _session.Stream.Copy(_net.Parameters.W.Address, from.Address, _net.Parameters.W.Bytes);
        Adam.RoundWeights(_session, _net.Parameters);
    }

    private void Run(CudaStep step, bool training)
    {
        if ((training ? step.Training : step.Prediction) is { } graph)
        {
            graph.Launch(_session.Stream.Value);
        }
        else if (training)
        {
            step.EnqueueTraining();
        }
        else
        {
            step.EnqueuePrediction();
        }
    }

    /// <summary>A step for a batch of this size, captured if it is to be.</summary>
    private CudaStep Prepare(int batch, bool training)
    {
        try
        {
            CudaStep step = _steps.GetValueOrDefault(batch) ?? MakeLeftoverStep(batch);
            if (_options.CudaGraph && (training ? step.Training : step.Prediction) is null)
            {
                Capture(step, training);
            }

            return step;
        }
        catch (CudaUnavailableException e)
        {
            throw new InputException(e.Message, e); // an algorithm for so many samples, or a newer driver: too late for another device
        }
    }

    /// <summary>
    /// Batch norm must see the real samples only, so what is left over at the end of an epoch is a step of its own size. Only the last such
    /// size is kept: they differ when the data do.
    /// </summary>
    private CudaStep MakeLeftoverStep(int batch)
    {
        foreach ((int other, CudaStep old) in _steps.Where(entry => entry.Key != BatchSize).ToArray())
        {
            _session.Stream.Synchronize();
            old.Dispose();
            _steps.Remove(other);
        }

        CudaStep step = MakeStep(batch, _workspace.Bytes);
        step.SetWorkspace(_workspace);
        return step;
    }

    private CudaStep MakeStep(int batch, long workspaceLimit) =>
        _steps[batch] = _session.Context.Handles.Make(handles => new CudaStep(_session, handles, _net, _options, batch, workspaceLimit));

    /// <summary>Runs the step once, so that the libraries load what they load late, puts everything back, and captures it.</summary>
    private void Capture(CudaStep step, bool training)
    {
        using StartUp.Phase phase = StartUp.Measure("warm-up and capture");
        using Nvtx.Range range = Nvtx.Open($"capture {(training ? "training" : "prediction")} step, batch {step.Batch}");
        Action body = training ? step.EnqueueTraining : step.EnqueuePrediction;
        _session.Stream.Copy(_net.Snapshot.Address, _net.Changed.Address, _net.Changed.Bytes);
        body();
        _session.Stream.Copy(_net.Changed.Address, _net.Snapshot.Address, _net.Changed.Bytes);
        _session.Stream.Synchronize();
        CudaGraph graph = CudaGraph.Capture(step.Handles, _session.Stream, body);
        (step.Training, step.Prediction) = training ? (graph, step.Prediction) : (step.Training, graph);
    }

    private void MakeResident([NotNull] ref ResidentDigits? slot, ResidentDigits? other, DigitDataset data)
    {
        if (slot?.Dataset != data)
        {
            ResidentDigits? old = slot;
            slot = null;
            if (old != other)
            {
                old?.Dispose();
            }

            CudaHandles all = _session.Context.Handles;
            slot = other?.Dataset == data ? other : all.Make(handles => new ResidentDigits(handles, _session.Stream, data));
        }
    }

    private void MakeRoom([NotNull] ref RowBuffers? buffers, int rows)
    {
        if (buffers is null || buffers.Rows < rows)
        {
            buffers?.Dispose();
            buffers = null;
            buffers = _session.Context.Handles.Make(handles => new RowBuffers(handles, Math.Max(rows, 1)));
        }
    }

    private void UploadState(DeviceTensor to, StepState state)
    {
        _session.Stream.Synchronize(); // the staging memory may still be on its way
        _session.Stream.Upload<StepState>(to.Address, _stateStaging.Pointer, [state]);
    }

    private StepState ReadState() => _session.Stream.Download<StepState>(_stateStaging.Pointer, _net.TrainingState.Address, 1)[0];

    private sealed class ProfilerRange(CudaContext context) : IDisposable
    {
        public void Dispose()
        {
            using CudaContext.Scope scope = context.EnterToRelease();
            CudaDriver.cuProfilerStop();
        }
    }
}
