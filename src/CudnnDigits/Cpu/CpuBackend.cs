using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>Trains on the CPU: holds the network, the workers, the training step and inference.</summary>
internal sealed unsafe class CpuBackend<S, V> : ITrainingBackend, IStepInspector, ILayerTimes
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly NativeArena _arena = new();
    private readonly OperationList _operations = new();
    private readonly BackendOptions _options;
    private readonly CpuNetwork<S, V> _net;
    private readonly WorkerPool _pool;
    private readonly CpuTraining<S, V> _training;
    private readonly CpuInference<S, V> _inference;
    private long _trainingTicks, _inferenceTicks;

    public CpuBackend(NetworkSpec network, BackendOptions options)
    {
        Network = network;
        _options = options;
        int workers = CpuDevice.Workers(options.Threads);
        _net = new CpuNetwork<S, V>(_arena, _operations, network, workers, options.BatchSize, training: true);
        _pool = new WorkerPool([.. Enumerable.Range(0, workers).Select(CreateWorker)]);
        _training = new CpuTraining<S, V>(_net, _pool, _operations, options);
        _inference = new CpuInference<S, V>(_net, _pool, _operations, BatchSize);
        if (options.LayerTimes)
        {
            _pool.Measure(_operations.Count);
        }
    }

    public NetworkSpec Network { get; }

    public string Device => CpuDevice.Name(Workers, S.Lanes * 32);

    public Precision Precision => Precision.Fp32;

    public CudaDetails? CudaDetails => null;

    public int BatchSize => _options.BatchSize;

    public int StepsPerCall => Math.Max(1, 256 / BatchSize);

    public int Workers => _pool.Workers.Count;

    public void Load(NetworkWeights weights, OptimizerState optimizer)
    {
        _net.Load(weights, optimizer);
        _training.Steps = optimizer.Step;
        _inference.Invalidate();
    }

    public void Save(NetworkWeights weights, OptimizerState optimizer)
    {
        _net.Save(weights, optimizer);
        optimizer.Step = _training.Steps;
    }

    public void SaveGradients(float[] gradients) => _net.Parameters.SaveGradients(gradients);

    public void SaveLogits(Span<float> logits) => _training.SaveLogits(logits);

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums) =>
        _training.BeginEpoch(data, epoch, order, sums);

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates)
    {
        long start = Stopwatch.GetTimestamp();
        _inference.Invalidate();
        _training.RunSteps(firstStep, learningRates);
        _trainingTicks += Stopwatch.GetTimestamp() - start;
    }

    public EpochSums ReadSums() => _training.Sums;

    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        long start = Stopwatch.GetTimestamp();
        fixed (byte* pixels = data.Pixels)
        {
            _inference.Predict(new ImageBatch((nint)pixels, data.Count), rows, logits[..(rows.Length * DigitDataset.Classes)]);
        }

        _inferenceTicks += Stopwatch.GetTimestamp() - start;
    }

    public IReadOnlyList<LayerTime> ReadLayerTimes()
    {
        List<LayerTime> times = _operations.Read(_pool.Workers);
        foreach ((bool inference, long ticks) in new[] { (false, _trainingTicks), (true, _inferenceTicks) })
        {
            double busy = times.Where(time => time.Inference == inference).Sum(time => time.Seconds);
            times.Add(new LayerTime("", "waiting", inference, 0, 0, (double)ticks / Stopwatch.Frequency * Workers - busy));
        }

        _trainingTicks = _inferenceTicks = 0;
        return times;
    }

    public Ceilings MeasureCeilings() => CpuCeilings<S, V>.Measure(_pool, _arena.Bytes);

    public void Dispose()
    {
        _pool.Dispose();
        _arena.Dispose();
    }

    private Worker CreateWorker(int index) => new(
        index,
        [.. _net.Convs.Select(conv => (nint)_arena.Floats(conv.DYSize))],
        _arena.Words(Network.Outputs.Max(shape => shape.Size)),
        _arena.Floats(_net.ScratchSize));
}
