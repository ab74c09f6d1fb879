using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// Trains on the CPU. A step is a list of passes over the batch (<see cref="ListPasses"/>). Within a pass, samples go to whichever worker
/// is free, and whatever is summed over the batch is summed per sample or per chunk first and joined in order, so that the bits do not
/// depend on the number of threads.
/// </summary>
internal sealed unsafe class CpuBackend<S, V> : ITrainingBackend, IStepInspector, ILayerTimes
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Chunks of a batch, each with convolution gradients of its own; more for large batches, up to the most.</summary>
    private const int UsualChunks = 16, MostChunks = 64;

    /// <summary>Elements in one item of the Adam pass.</summary>
    private const int UpdateBlock = 8192;

    private readonly BackendOptions _options;
    private readonly CpuNetwork<S, V> _net;
    private readonly CpuClassifier<S, V> _inference;
    private readonly FlatParameters _parameters;
    private readonly Operation _gather, _loss, _update;
    private readonly Philox _random;
    private readonly List<Action> _passes = []; // made once, so that a step allocates nothing
    private DigitDataset? _data;
    private int[] _order = [];
    private EpochSums _sums;
    private int _epoch, _first, _batch, _chunks, _chunkSize;
    private float _learningRate;
    private long _steps, _trainingTicks, _inferenceTicks;

    public CpuBackend(NetworkSpec network, BackendOptions options)
    {
        (Network, _options, _random) = (network, options, new Philox(options.Seed));
        int chunks = Enumerable.Range(1, Math.Min(BatchSize, UsualChunks * MostChunks)).Max(batch => Chunks(batch).Count); // then no more
        _net = new CpuNetwork<S, V>(network, BatchSize, options.Threads, chunks, options.Kept);
        _parameters = _net.Parameters;
        OperationList operations = _net.Operations;
        _gather = operations.Add("input", options.Augmentation.IsEnabled ? "gather, augment" : "gather", values: DigitDataset.PixelCount);
        _loss = operations.Add("loss", "softmax, cross-entropy");
        double values = (double)Chunks(BatchSize).Count * _parameters.ConvLength + (options.Ema > 0 ? 10.0 : 7.0) * _parameters.Length;
        _update = operations.Add("weights", "join chunks, adam", fixedValues: values);
        _inference = new CpuClassifier<S, V>(_net, BatchSize);
        ListPasses();
        if (options.LayerTimes)
        {
            _net.Pool.Measure(operations.Count);
        }
    }

    public NetworkSpec Network { get; }

    public string Device => _net.Device;

    public Precision Precision => Precision.Fp32;

    public CudaDetails? CudaDetails => null;

    public int BatchSize => _options.BatchSize;

    public int StepsPerCall => Math.Max(1, 256 / BatchSize);

    public int Workers => _net.Pool.Workers.Count;

    public void Load(NetworkWeights weights, OptimizerState optimizer)
    {
        _net.Copy(weights, optimizer, save: false);
        _steps = optimizer.Step;
        _inference.Invalidate();
    }

    public void Save(NetworkWeights weights, OptimizerState optimizer)
    {
        _net.Copy(weights, optimizer, save: true);
        optimizer.Step = _steps;
    }

    public void SaveGradients(float[] gradients) => _parameters.Copy(gradients, _parameters.DW, save: true);

    public void SaveLogits(Span<float> logits) => _net.SaveLogits(_batch, logits);

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums) =>
        (_data, _epoch, _order, _sums) = (data, epoch, order.ToArray(), sums);

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates)
    {
        long start = Stopwatch.GetTimestamp();
        _inference.Invalidate();
        for (int i = 0; i < learningRates.Length; i++)
        {
            _first = (firstStep + i) * BatchSize;
            _batch = Math.Min(BatchSize, _order.Length - _first);
            (_chunks, _chunkSize) = Chunks(_batch);
            _learningRate = learningRates[i];
            _steps++;
            _passes.ForEach(pass => pass());
            _net.Operations.CountBatch(_batch, inference: false);
        }

        _trainingTicks += Stopwatch.GetTimestamp() - start;
    }

    public EpochSums ReadSums() => _sums;

    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        long start = Stopwatch.GetTimestamp();
        _parameters.ExchangeAverage();
        fixed (byte* pixels = data.Pixels)
        {
            _inference.Predict(new ImageBatch((nint)pixels, data.Count), rows, logits[..(rows.Length * DigitDataset.Classes)]);
        }

        _parameters.ExchangeAverage();
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

    /// <summary>One training step, top to bottom: passes, each with a barrier at its end, and the caller's work between them.</summary>
    private void ListPasses()
    {
        ConvBlock<S, V>[] convs = _net.Convs;
        EachItem(() => convs.Length, (item, worker) => convs[^(item + 1)].PrepareStep(worker)); // the largest first
        Action<int, Worker> activate = Gather;
        foreach (ConvBlock<S, V> conv in convs)
        {
            EachSample(activate + conv.Forward); // gather and augment, or the activation before; convolution; statistics
            Between(worker => conv.FinishForward(_batch, worker));
            activate = (n, worker) => conv.Activate(n, worker, _random, Row(n), _epoch);
        }

        EachSample(activate); // the features
        foreach (DenseBlock<S, V> dense in _net.Denses)
        {
            EachItem(() => dense.ForwardItems(_batch), (item, worker) => dense.Forward(item, _batch, worker, inference: false));
            if (dense.HasDropout)
            {
                EachSample((n, worker) => dense.Drop(n, worker, _random, Row(n), _epoch));
            }
        }

        Between(Loss);
        foreach (DenseBlock<S, V> dense in _net.Denses.Reverse())
        {
            EachSample(dense.BackwardActivation);
            EachItem(() => dense.BackwardItems, (item, worker) => dense.Backward(item, _batch, worker));
        }

        if (convs is [.., { } last])
        {
            EachSample(last.BackwardSums);
        }

        foreach (ConvBlock<S, V> conv in convs.Reverse())
        {
            Between(worker => conv.FinishBackward(_batch, worker));
            EachItem(() => _chunks, (chunk, worker) => BackwardChunk(conv, chunk, worker));
        }

        EachItem(() => (_parameters.Length + UpdateBlock - 1) / UpdateBlock, Update);
    }

    private void EachItem(Func<int> items, Action<int, Worker> body) => _passes.Add(() => _net.Pool.Run(items(), body));

    private void EachSample(Action<int, Worker> body) => EachItem(() => _batch, body);

    private void Between(Action<Worker> body) => _passes.Add(() => body(_net.Pool.StartCaller()));

    private void Gather(int n, Worker worker)
    {
        int row = Row(n);
        GatherAugment<S, V>.Forward(
            _options.Augmentation, _random, (uint)row, (uint)_epoch, _data!.Image(row), _net.Input.At(n), _net.Input.Row);
        worker.Lap(_gather);
    }

    /// <summary>Loss and its gradient, added up in the order of the samples.</summary>
    private void Loss(Worker worker)
    {
        DenseBlock<S, V> last = _net.Denses[^1];
        (double loss, long correct, long samples) = _sums;
        for (int n = 0; n < _batch; n++)
        {
            Span<float> dLogits = new(last.DY + n * last.Shape.Out, DigitDataset.Classes);
            (double sampleLoss, bool right) = SoftmaxCrossEntropy.Backward(
                _net.Logits(n), _data!.Labels[Row(n)], _options.LabelSmoothing, 1.0 / _batch, dLogits);
            loss += sampleLoss;
            correct += right ? 1 : 0;
        }

        _sums = new EpochSums(loss, correct, samples + _batch);
        worker.Lap(_loss);
    }

    private void BackwardChunk(ConvBlock<S, V> conv, int chunk, Worker worker)
    {
        int first = chunk * _chunkSize, end = Math.Min(first + _chunkSize, _batch);
        for (int n = first; n < end; n++)
        {
            conv.Backward(n, chunk, n == first, worker);
        }
    }

    /// <summary>Joins the chunks' convolution gradients, in order, then Adam, on one stretch of the parameters.</summary>
    private void Update(int item, Worker worker)
    {
        int first = item * UpdateBlock, end = Math.Min(first + UpdateBlock, _parameters.Length);
        for (int i = first; i < Math.Min(end, _parameters.ConvLength); i += S.Lanes)
        {
            V sum = S.Load(_parameters.ChunkDW + i);
            for (int chunk = 1; chunk < _chunks; chunk++)
            {
                sum = S.Add(sum, S.Load(_parameters.ChunkDW + (nint)chunk * _parameters.ConvLength + i));
            }

            S.Store(_parameters.DW + i, sum);
        }

        Adam<S, V>.Update(
            end - first, _parameters.W + first, _parameters.DW + first, (float*)_parameters.State[0] + first,
            (float*)_parameters.State[1] + first, _options.Optimizer, _learningRate, _steps);
        if (_parameters.Average != null)
        {
            Average(end - first, _parameters.W + first, _parameters.Average + first);
        }

        worker.Lap(_update);
    }

    /// <summary>A step of <see cref="TrainingOptions.Ema"/>, on one stretch of the parameters.</summary>
    private void Average(int count, float* w, float* average)
    {
        V share = S.Splat(Math.Max((float)(1 - _options.Ema), 9 / (10 + (float)_steps))); // 1 − (1 + t) / (10 + t) = 9 / (10 + t)
        for (int i = 0; i < count; i += S.Lanes)
        {
            V before = S.Load(average + i);
            S.Store(average + i, S.Fma(share, S.Subtract(S.Load(w + i), before), before));
        }
    }

    private int Row(int n) => _order[_first + n];

    /// <summary>Depends on the size of the batch alone, never on the number of threads.</summary>
    private static (int Count, int Size) Chunks(int batch)
    {
        int size = Math.Max((batch + MostChunks - 1) / MostChunks, Math.Min((batch + UsualChunks - 1) / UsualChunks, UsualChunks));
        return ((batch + size - 1) / size, size);
    }
}
