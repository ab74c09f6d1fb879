using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>Trains on the CPU: holds the network, the training step and inference.</summary>
internal sealed unsafe class CpuBackend<S, V> : ITrainingBackend, IStepInspector, ILayerTimes
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly CpuNetwork<S, V> _net;
    private readonly CpuTraining<S, V> _training;
    private readonly CpuClassifier<S, V> _inference;
    private long _trainingTicks, _inferenceTicks;

    public CpuBackend(NetworkSpec network, BackendOptions options)
    {
        Network = network;
        BatchSize = options.BatchSize;
        _net = new CpuNetwork<S, V>(network, BatchSize, options.Threads, training: true, options.Ema > 0);
        _training = new CpuTraining<S, V>(_net, options);
        _inference = new CpuClassifier<S, V>(_net, BatchSize);
        if (options.LayerTimes)
        {
            _net.Pool.Measure(_net.Operations.Count);
        }
    }

    public NetworkSpec Network { get; }

    public string Device => _net.Device;

    public Precision Precision => Precision.Fp32;

    public CudaDetails? CudaDetails => null;

    public int BatchSize { get; }

    public int StepsPerCall => Math.Max(1, 256 / BatchSize);

    public int Workers => _net.Pool.Workers.Count;

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
        _net.Parameters.ExchangeAverage();
        fixed (byte* pixels = data.Pixels)
        {
            _inference.Predict(new ImageBatch((nint)pixels, data.Count), rows, logits[..(rows.Length * DigitDataset.Classes)]);
        }

        _net.Parameters.ExchangeAverage();
        _inferenceTicks += Stopwatch.GetTimestamp() - start;
    }

    public IReadOnlyList<LayerTime> ReadLayerTimes()
    {
        List<LayerTime> times = _net.Operations.Read(_net.Pool.Workers);
        foreach ((bool inference, long ticks) in new[] { (false, _trainingTicks), (true, _inferenceTicks) })
        {
            double busy = times.Where(time => time.Inference == inference).Sum(time => time.Seconds);
            times.Add(new LayerTime("", "waiting", inference, 0, 0, (double)ticks / Stopwatch.Frequency * Workers - busy));
        }

        _trainingTicks = _inferenceTicks = 0;
        return times;
    }

    public Ceilings MeasureCeilings() => _net.MeasureCeilings();

    public void Dispose() => _net.Dispose();
}
