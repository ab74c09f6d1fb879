using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Numerics;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// Trains on the CPU. A step is a list of passes over the batch (<see cref="Step"/>); within a pass, samples go to
/// whichever worker is free, and whatever is summed over the batch is summed per sample or per chunk first and joined in
/// order, so that the bits do not depend on the number of threads.
/// </summary>
internal sealed unsafe class CpuBackend<S, V> : ITrainingBackend, IStepInspector
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Chunks of a batch, each with convolution gradients of its own; more for large batches, up to the most.</summary>
    private const int UsualChunks = 16, MostChunks = 64;

    /// <summary>Elements in one item of the Adam pass.</summary>
    private const int UpdateBlock = 8192;

    private readonly NativeArena _arena = new();
    private readonly WorkerPool _pool;
    private readonly BackendOptions _options;
    private readonly Philox _random;
    private readonly CpuNetwork<S, V> _net;
    private readonly ConvBlock<S, V>[] _convs;
    private readonly DenseBlock<S, V>[] _denses;
    private readonly FlatParameters _parameters;
    private readonly float*[] _dY, _scratch;
    private readonly uint*[] _words;
    private readonly double[] _losses;
    private readonly bool[] _correct;

    // What the passes of a step share; the delegates are made once so that a step allocates nothing.
    private readonly Action<int, int> _turnWeights, _convForward, _flatten, _denseForward, _denseActivate, _denseBackwardActivation, _denseBackward,
        _lastConvSums, _convBackward, _update, _predictImage, _predictDenseActivate;

    private DigitDataset? _data;
    private int[] _order = [];
    private int _epoch;
    private EpochSums _sums;
    private long _step;
    private int _first, _batch, _chunks, _chunkSize, _at;
    private float _learningRate;
    private bool _prepared;

    public CpuBackend(NetworkSpec network, BackendOptions options)
    {
        Network = network;
        _options = options;
        _random = new Philox(options.Seed);
        int workers = options.Threads > 0 ? options.Threads : Environment.ProcessorCount, slots = Math.Max(options.BatchSize, workers);
        _net = new CpuNetwork<S, V>(_arena, network, slots, Enumerable.Range(1, options.BatchSize).Max(batch => Chunks(batch).Count));
        (_convs, _denses, _parameters) = (_net.Convs, _net.Denses, _net.Parameters);
        _pool = new WorkerPool(workers);
        _dY = new float*[_pool.Workers * _convs.Length];
        _scratch = new float*[_pool.Workers];
        _words = new uint*[_pool.Workers];
        for (int worker = 0; worker < _pool.Workers; worker++)
        {
            _scratch[worker] = _arena.Floats(_convs.Max(conv => conv.PredictScratch));
            _words[worker] = _arena.Words(network.Outputs.Max(shape => shape.Size));
            for (int i = 0; i < _convs.Length; i++)
            {
                _dY[worker * _convs.Length + i] = _arena.Floats(_convs[i].DYSize);
            }
        }

        _losses = new double[slots];
        _correct = new bool[slots];
        (_turnWeights, _convForward, _flatten, _denseForward, _denseActivate, _denseBackwardActivation) =
            (TurnWeights, ConvForward, Flatten, DenseForward, DenseActivate, DenseBackwardActivation);
        (_denseBackward, _lastConvSums, _convBackward, _update, _predictImage, _predictDenseActivate) =
            (DenseBackward, LastConvSums, ConvBackward, Update, PredictImage, PredictDenseActivate);
    }

    public NetworkSpec Network { get; }

    public string Device => $"CPU, {_pool.Workers} thread{(_pool.Workers == 1 ? "" : "s")}, {CpuDevice.InstructionSet(S.Lanes * 32)}";

    public Precision Precision => Precision.Fp32;

    public CudaDetails? CudaDetails => null;

    public int BatchSize => _options.BatchSize;

    public int StepsPerCall => Math.Max(1, 256 / BatchSize);

    public void Load(NetworkWeights weights, AdamState optimizer)
    {
        _net.Load(weights, optimizer);
        _prepared = false;
        _step = optimizer.Step;
    }

    public void Save(NetworkWeights weights, AdamState optimizer)
    {
        _net.Save(weights, optimizer);
        optimizer.Step = _step;
    }

    public void SaveGradients(float[] gradients) => _parameters.SaveGradients(gradients);

    public void SaveLogits(Span<float> logits)
    {
        for (int n = 0; n < _batch; n++)
        {
            Logits(n).CopyTo(logits[(n * DigitDataset.Classes)..]);
        }
    }

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums)
    {
        _data = data;
        _epoch = epoch;
        _order = order.ToArray();
        _sums = sums;
    }

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates)
    {
        for (int i = 0; i < learningRates.Length; i++)
        {
            _first = (firstStep + i) * BatchSize;
            _batch = Math.Min(BatchSize, _order.Length - _first);
            _learningRate = learningRates[i];
            Step();
        }
    }

    public EpochSums ReadSums() => _sums;

    public void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits)
    {
        (DigitDataset? trainingData, int[] trainingOrder) = (_data, _order);
        (_data, _order) = (data, rows.ToArray());
        PreparePredict();
        for (_first = 0; _first < rows.Length; _first += _batch)
        {
            _batch = Math.Min(BatchSize, rows.Length - _first);
            _pool.Run(_batch, _predictImage);
            for (_at = 0; _at < _denses.Length; _at++)
            {
                _pool.Run(_denses[_at].ForwardItems(_batch), _denseForward);
                _pool.Run(_batch, _predictDenseActivate);
            }

            SaveLogits(logits[(_first * DigitDataset.Classes)..]);
        }

        (_data, _order) = (trainingData, trainingOrder); // an epoch may go on after it
    }

    /// <summary>Makes what inference derives from the weights, if they changed since it was last made.</summary>
    private void PreparePredict()
    {
        if (!_prepared)
        {
            foreach (ConvBlock<S, V> conv in _convs)
            {
                conv.PreparePredict();
            }
        }

        _prepared = true;
    }

    public void Dispose()
    {
        _pool.Dispose();
        _arena.Dispose();
    }

    /// <summary>One training step, top to bottom. Every line with Run is a pass over the batch and a barrier.</summary>
    private void Step()
    {
        (_chunks, _chunkSize) = Chunks(_batch);
        _step++;
        _prepared = false;

        _pool.Run(_convs.Length - 1, _turnWeights);
        for (_at = 0; _at < _convs.Length; _at++)
        {
            _pool.Run(_chunks, _convForward);   // gather + augment, or the activation before; convolution; moments
            _convs[_at].FinishForward(_batch);
        }

        _pool.Run(_chunks, _flatten);           // the last activation becomes the features
        for (_at = 0; _at < _denses.Length; _at++)
        {
            _pool.Run(_denses[_at].ForwardItems(_batch), _denseForward);
            _pool.Run(_chunks, _denseActivate); // bias, ReLU, dropout; after the last layer loss and its gradient
        }

        AddUpLosses();
        for (_at = _denses.Length - 1; _at >= 0; _at--)
        {
            _pool.Run(_chunks, _denseBackwardActivation);
            _pool.Run(_denses[_at].BackwardItems, _denseBackward);
        }

        _pool.Run(_chunks, _lastConvSums);
        _convs[^1].FinishBackward(_batch);
        for (_at = _convs.Length - 1; _at >= 0; _at--)
        {
            _pool.Run(_chunks, _convBackward);  // dY; dW; dX, and the sums that the block before needs
            if (_at > 0)
            {
                _convs[_at - 1].FinishBackward(_batch);
            }
        }

        _pool.Run((_parameters.Length + UpdateBlock - 1) / UpdateBlock, _update);
    }

    private void TurnWeights(int item, int worker) => _convs[item + 1].TurnWeights();

    private void ConvForward(int chunk, int worker)
    {
        for (int n = ChunkStart(chunk); n < ChunkEnd(chunk); n++)
        {
            if (_at == 0)
            {
                Gather(n, _convs[0].Input);
            }
            else
            {
                _convs[_at - 1].Activate(n, _words[worker], _random, Row(n), _epoch);
            }

            _convs[_at].Forward(n);
        }
    }

    private void Flatten(int chunk, int worker)
    {
        for (int n = ChunkStart(chunk); n < ChunkEnd(chunk); n++)
        {
            _convs[^1].Activate(n, _words[worker], _random, Row(n), _epoch);
        }
    }

    private void DenseForward(int item, int worker) => _denses[_at].Forward(item, _batch);

    private void DenseActivate(int chunk, int worker)
    {
        for (int n = ChunkStart(chunk); n < ChunkEnd(chunk); n++)
        {
            _denses[_at].AddBias(n);
            _denses[_at].Drop(n, _words[worker], _random, Row(n), _epoch);
            if (_at == _denses.Length - 1)
            {
                Span<float> dLogits = new(_denses[_at].DY + n * _denses[_at].Shape.Out, DigitDataset.Classes);
                (_losses[n], _correct[n]) = SoftmaxCrossEntropy.Backward(Logits(n), _data!.Labels[Row(n)], 1.0 / _batch, dLogits);
            }
        }
    }

    private void AddUpLosses()
    {
        (double loss, long correct, long samples) = _sums;
        for (int n = 0; n < _batch; n++)
        {
            loss += _losses[n];
            correct += _correct[n] ? 1 : 0;
        }

        _sums = new EpochSums(loss, correct, samples + _batch);
    }

    private void DenseBackwardActivation(int chunk, int worker)
    {
        for (int n = ChunkStart(chunk); n < ChunkEnd(chunk); n++)
        {
            _denses[_at].BackwardActivation(n);
        }
    }

    private void DenseBackward(int item, int worker) =>
        _denses[_at].Backward(item, _batch, _at > 0 ? _denses[_at - 1].DY : _convs[^1].DOutput(0));

    private void LastConvSums(int chunk, int worker)
    {
        for (int n = ChunkStart(chunk); n < ChunkEnd(chunk); n++)
        {
            _convs[^1].BackwardSums(n);
        }
    }

    private void ConvBackward(int chunk, int worker)
    {
        float* dY = _dY[worker * _convs.Length + _at];
        for (int n = ChunkStart(chunk); n < ChunkEnd(chunk); n++)
        {
            float* dInput = _at > 0 ? _convs[_at - 1].DOutput(n) : null;
            _convs[_at].Backward(n, chunk, n == ChunkStart(chunk), dY, dInput);
            if (_at > 0)
            {
                _convs[_at - 1].BackwardSums(n);
            }
        }
    }

    /// <summary>Joins the chunks' convolution gradients, in order, then Adam, on one stretch of the parameters.</summary>
    private void Update(int item, int worker)
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
            end - first, _parameters.W + first, _parameters.DW + first, _parameters.M + first, _parameters.V + first, _learningRate, _step);
    }

    private void PredictImage(int n, int worker)
    {
        ActivationView input = _convs[0].Input;
        GatherAugment.Forward(_data!.Image(Row(n)), input.At(worker), input.Row);
        for (int i = 0; i < _convs.Length; i++)
        {
            bool last = i == _convs.Length - 1;
            ActivationView next = last ? _net.Features : _convs[i + 1].Input;
            _convs[i].Predict(worker, _scratch[worker], next.At(last ? n : worker), next.Row);
        }
    }

    private void PredictDenseActivate(int n, int worker) => _denses[_at].AddBias(n);

    private void Gather(int n, ActivationView input)
    {
        if (_options.Augmentation.IsEnabled)
        {
            GatherAugment.Forward(_data!.Image(Row(n)), _options.Augmentation.Draw(_random, (uint)Row(n), (uint)_epoch), input.At(n), input.Row);
        }
        else
        {
            GatherAugment.Forward(_data!.Image(Row(n)), input.At(n), input.Row);
        }
    }

    private int Row(int n) => _order[_first + n];

    private Span<float> Logits(int n) => new(_denses[^1].Y + n * _denses[^1].Shape.Out, DigitDataset.Classes);

    private int ChunkStart(int chunk) => chunk * _chunkSize;

    private int ChunkEnd(int chunk) => Math.Min((chunk + 1) * _chunkSize, _batch);

    /// <summary>Depends on the size of the batch alone, never on the number of threads.</summary>
    private static (int Count, int Size) Chunks(int batch)
    {
        int size = Math.Max((batch + MostChunks - 1) / MostChunks, Math.Min((batch + UsualChunks - 1) / UsualChunks, UsualChunks));
        return ((batch + size - 1) / size, size);
    }
}
