using CudnnDigits.Cuda.Interop;
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
    /// <summary>What a convolution may ask for; cuDNN's fast algorithms for these shapes ask for far less.</summary>
    private const long WorkspaceLimit = 256 << 20;

    private readonly BackendOptions _options;
    private readonly CudaSession _session;
    private readonly DeviceArena _arena = new();
    private readonly CudaNetwork _net;
    private readonly DeviceTensor _workspace;
    private readonly Dictionary<int, CudaStep> _steps = []; // by batch: the whole one, and what is left over at the end of an epoch
    private readonly PinnedMemory _stateStaging;

    private ResidentData? _training, _prediction;
    private int _rows, _nextStep;
    private long _adamStep;

    /// <param name="device">Ordinal of the GPU.</param>
    /// <param name="network">The network.</param>
    /// <param name="options">Batch size, seed, precision.</param>
    public CudaBackend(int device, NetworkSpec network, BackendOptions options)
    {
        using Nvtx.Range range = Nvtx.Open("build");
        (Network, _options) = (network, options);
        _session = new CudaSession(device, options.Precision ?? Precision.Tf32, options.Deterministic);
        try
        {
            using CudaContext.Scope scope = _session.Context.Enter();
            _net = new CudaNetwork(_session, _arena, network, options.BatchSize);
            CudaStep step = new(_session, _net, options, options.BatchSize, WorkspaceLimit);
            _steps[options.BatchSize] = step;
            _workspace = _arena.Reserve(Math.Max(step.WorkspaceBytes, 1), DeviceType.U8);
            DeviceTensor blasWorkspace = _arena.Reserve(CublasHandle.WorkspaceBytes, DeviceType.U8);
            _session.Allocate(_arena, share => share * options.BatchSize >= 2
                ? $"try --batch-size {(int)Math.Pow(2, Math.Floor(Math.Log2(0.9 * share * options.BatchSize)))}, or close other programs on the GPU"
                : "close other programs on the GPU");
            step.SetWorkspace(_workspace);
            _session.Cublas.SetWorkspace(blasWorkspace.Address);
            _stateStaging = new PinnedMemory(_session.Context, sizeof(StepState));
            _session.Stream.Clear((nint)_arena.Base, _arena.Bytes);
            _session.Stream.Synchronize();
            CudaDetails = CudaDevice.Describe(step.Algorithms);
            Device = CudaDevice.Name(device);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public NetworkSpec Network { get; }

    public string Device { get; }

    public int BatchSize => _options.BatchSize;

    public Precision Precision => _session.Precision;

    public CudaDetails? CudaDetails { get; }

    /// <summary>A whole epoch: what it takes is a matter of milliseconds, and asking would stop the device.</summary>
    public int StepsPerCall => int.MaxValue;

    public void Load(NetworkWeights weights, AdamState optimizer)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("load");
        _net.Parameters.Load(_session.Stream, weights, optimizer);
        new Adam(_session).RoundWeights(_net.Parameters);
        _adamStep = optimizer.Step;
        if (_training is not null)
        {
            StepState state = ReadState();
            state.AdamStep = _adamStep;
            UploadState(_net.TrainingState, state);
        }
    }

    public void Save(NetworkWeights weights, AdamState optimizer)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        _net.Parameters.Save(_session.Stream, weights, optimizer);
        optimizer.Step = _training is null ? _adamStep : ReadState().AdamStep;
    }

    public void SaveGradients(float[] gradients)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        _net.Parameters.SaveGradients(_session.Stream, gradients);
    }

    public void SaveLogits(Span<float> logits)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using PinnedMemory staging = new(_session.Context, (long)logits.Length * sizeof(float));
        _session.Stream.Download(staging.Pointer, _net.Logits.Address, (long)logits.Length * sizeof(float));
        _session.Stream.Synchronize();
        new ReadOnlySpan<float>(staging.Pointer, logits.Length).CopyTo(logits);
    }

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        _adamStep = _training is null ? _adamStep : ReadState().AdamStep; // waits, so that what is uploaded now is not in use
        StepState state = MakeResident(ref _training, data, order).Begin(_session.Stream, order) with
        {
            AdamStep = _adamStep,
            Epoch = (uint)epoch,
            Loss = sums.Loss,
            Correct = sums.Correct,
            Samples = sums.Samples,
        };
        UploadState(_net.TrainingState, state);
        (_rows, _nextStep) = (order.Length, 0);
    }

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("steps");
        ResidentData data = _training ?? throw new InvalidOperationException("no epoch was begun");
        data.UploadRates(_session.Stream, firstStep, learningRates);
        if (firstStep != _nextStep)
        {
            UploadState(_net.TrainingState, ReadState() with { Step = (uint)firstStep, Next = (uint)(firstStep * BatchSize) });
        }

        _nextStep = firstStep + learningRates.Length;
        for (int step = firstStep; step < _nextStep; step++)
        {
            Run(Step(Math.Min(BatchSize, _rows - step * BatchSize)), training: true);
        }
    }

    public EpochSums ReadSums()
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        StepState state = ReadState();
        return new EpochSums(state.Loss, state.Correct, state.Samples);
    }

    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("predict");
        if (rows.IsEmpty)
        {
            return;
        }

        _session.Stream.Synchronize();
        ResidentData resident = MakeResident(ref _prediction, data, rows);
        UploadState(_net.PredictionState, resident.Begin(_session.Stream, rows));
        for (int first = 0; first < rows.Length; first += BatchSize)
        {
            Run(Step(BatchSize), training: false); // the last one filled up with its last row
        }

        resident.ReadLogits(_session.Stream, logits[..(rows.Length * DigitDataset.Classes)]);
    }

    public void Dispose()
    {
        _training?.Dispose();
        _prediction?.Dispose();
        _stateStaging?.Dispose();
        foreach (CudaStep step in _steps.Values)
        {
            step.Dispose();
        }

        _net?.Parameters.Dispose();
        _arena.Dispose();
        _session.Dispose();
    }

    private void Run(CudaStep step, bool training)
    {
        Action body = training ? step.EnqueueTraining : step.EnqueuePrediction;
        if (!_options.CudaGraph)
        {
            body();
            return;
        }

        CudaGraph graph = (training ? step.Training : step.Prediction) ?? Capture(step, body, training);
        graph.Launch(_session.Stream);
    }

    /// <summary>Runs the step once, so that the libraries load what they load late, puts everything back, and captures it.</summary>
    private CudaGraph Capture(CudaStep step, Action body, bool training)
    {
        using Nvtx.Range range = Nvtx.Open($"capture {(training ? "training" : "prediction")} step, batch {step.Batch}");
        _session.Stream.Copy(_net.Snapshot.Address, _net.Changed.Address, _net.Changed.Bytes);
        body();
        _session.Stream.Copy(_net.Changed.Address, _net.Snapshot.Address, _net.Changed.Bytes);
        _session.Stream.Synchronize();
        CudaGraph graph = CudaGraph.Capture(_session.Context, _session.Stream, body);
        (step.Training, step.Prediction) = training ? (graph, step.Prediction) : (step.Training, graph);
        return graph;
    }

    private CudaStep Step(int batch)
    {
        if (!_steps.TryGetValue(batch, out CudaStep? step))
        {
            // Batch norm must see the real samples only, so what is left over at the end of an epoch is a step of its own size.
            foreach ((int other, CudaStep old) in _steps.Where(entry => entry.Key != BatchSize).ToArray())
            {
                _session.Stream.Synchronize();
                old.Dispose();
                _steps.Remove(other);
            }

            step = new CudaStep(_session, _net, _options, batch, _workspace.Bytes);
            step.SetWorkspace(_workspace);
            _steps[batch] = step;
        }

        return step;
    }

    private ResidentData MakeResident(ref ResidentData? slot, DigitDataset data, ReadOnlySpan<int> rows)
    {
        if (slot?.Dataset != data || slot.Rows < rows.Length)
        {
            using Nvtx.Range range = Nvtx.Open("upload dataset");
            slot?.Dispose();
            slot = null;
            slot = new ResidentData(_session, data, Math.Max(data.Count, rows.Length));
        }

        return slot;
    }

    private void UploadState(DeviceTensor to, StepState state)
    {
        _session.Stream.Synchronize(); // the staging memory may still be on its way
        *(StepState*)_stateStaging.Pointer = state;
        _session.Stream.Upload(to.Address, _stateStaging.Pointer, sizeof(StepState));
    }

    private StepState ReadState()
    {
        _session.Stream.Download(_stateStaging.Pointer, _net.TrainingState.Address, sizeof(StepState));
        _session.Stream.Synchronize();
        return *(StepState*)_stateStaging.Pointer;
    }
}
