using CudnnDigits.Data;
using CudnnDigits.Numerics;
using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// The training step: a list of passes over the batch (<see cref="Step"/>). Within a pass, samples go to whichever worker is
/// free, and whatever is summed over the batch is summed per sample or per chunk first and joined in order, so that the bits
/// do not depend on the number of threads.
/// </summary>
internal sealed unsafe class CpuTraining<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Chunks of a batch, each with convolution gradients of its own; more for large batches, up to the most.</summary>
    private const int UsualChunks = 16, MostChunks = 64;

    /// <summary>Elements in one item of the Adam pass.</summary>
    private const int UpdateBlock = 8192;

    private readonly BackendOptions _options;
    private readonly CpuNetwork<S, V> _net;
    private readonly WorkerPool _pool;
    private readonly OperationList _operations;
    private readonly Operation _gather, _loss, _update;
    private readonly Philox _random;
    private readonly ConvBlock<S, V>[] _convs;
    private readonly DenseBlock<S, V>[] _denses;
    private readonly FlatParameters _parameters;

    // What the passes of a step share; the delegates are made once so that a step allocates nothing.
    private readonly Action<int, Worker> _prepareStep, _convForward, _activate, _denseForward, _denseDropout,
        _denseBackwardActivation, _denseBackward, _lastConvSums, _convBackward, _updateParameters;

    private DigitDataset? _data;
    private int[] _order = [];
    private int _epoch;
    private int _first, _batch, _chunks, _chunkSize, _at;
    private float _learningRate;

    public CpuTraining(CpuNetwork<S, V> net, WorkerPool pool, OperationList operations, BackendOptions options)
    {
        (_net, _pool, _operations, _options) = (net, pool, operations, options);
        (_convs, _denses, _parameters) = (net.Convs, net.Denses, net.Parameters);
        _random = new Philox(options.Seed);
        _gather = operations.Train("input", options.Augmentation.IsEnabled ? "gather, augment" : "gather", values: net.InputSize);
        _loss = operations.Train("loss", "softmax, cross-entropy");
        double chunks = Chunks(options.BatchSize).Count;
        _update = operations.Train("weights", "join chunks, adam", fixedValues: (chunks * _parameters.ConvLength) + (7.0 * _parameters.Length));
        (_prepareStep, _convForward, _activate, _denseForward, _denseDropout) =
            (PrepareStep, ConvForward, Activate, DenseForward, DenseDropout);
        (_denseBackwardActivation, _denseBackward, _lastConvSums, _convBackward, _updateParameters) =
            (DenseBackwardActivation, DenseBackward, LastConvSums, ConvBackward, Update);
    }

    /// <summary>Adam's steps so far.</summary>
    public long Steps { get; set; }

    /// <summary>Sums since the epoch began.</summary>
    public EpochSums Sums { get; private set; }

    /// <summary>Most chunks that a batch of up to so many samples is divided into.</summary>
    public static int MostChunksOf(int batchSize) => Enumerable.Range(1, batchSize).Max(batch => Chunks(batch).Count);

    public void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums)
    {
        _data = data;
        _epoch = epoch;
        _order = order.ToArray();
        Sums = sums;
    }

    public void RunSteps(int firstStep, ReadOnlySpan<float> learningRates)
    {
        for (int i = 0; i < learningRates.Length; i++)
        {
            _first = (firstStep + i) * _options.BatchSize;
            _batch = Math.Min(_options.BatchSize, _order.Length - _first);
            _learningRate = learningRates[i];
            Step();
        }
    }

    /// <summary>Logits of the last step, (batch, classes) f32.</summary>
    public void SaveLogits(Span<float> logits) => _net.SaveLogits(_batch, logits);

    /// <summary>One training step, top to bottom. Every line with Run is a pass over the batch and a barrier.</summary>
    private void Step()
    {
        (_chunks, _chunkSize) = Chunks(_batch);
        Steps++;

        _pool.Run(_convs.Length, _prepareStep);
        for (_at = 0; _at < _convs.Length; _at++)
        {
            _pool.Run(_batch, _convForward);    // gather + augment, or the activation before; convolution; moments
            _convs[_at].FinishForward(_batch, _pool.StartCaller());
        }

        _pool.Run(_batch, _activate);           // the last activation, or without convolutions the input: the features
        for (_at = 0; _at < _denses.Length; _at++)
        {
            _pool.Run(_denses[_at].ForwardItems(_batch), _denseForward);
            if (_denses[_at].HasDropout)
            {
                _pool.Run(_batch, _denseDropout);
            }
        }

        Loss();
        for (_at = _denses.Length - 1; _at >= 0; _at--)
        {
            _pool.Run(_batch, _denseBackwardActivation);
            _pool.Run(_denses[_at].BackwardItems, _denseBackward);
        }

        for (_at = _convs.Length - 1; _at >= 0; _at--)
        {
            if (_at == _convs.Length - 1)
            {
                _pool.Run(_batch, _lastConvSums);
            }

            _convs[_at].FinishBackward(_batch, _pool.StartCaller());
            _pool.Run(_chunks, _convBackward);  // dY; dW; dX, and the sums that the block before needs
        }

        _pool.Run((_parameters.Length + UpdateBlock - 1) / UpdateBlock, _updateParameters);
        _operations.CountBatch(_batch, inference: false);
    }

    private void PrepareStep(int item, Worker worker) => _convs[_convs.Length - 1 - item].PrepareStep(worker); // the largest first

    private void ConvForward(int n, Worker worker)
    {
        Activate(n, worker);
        _convs[_at].Forward(n, worker);
    }

    /// <summary>Makes what block _at reads of sample n.</summary>
    private void Activate(int n, Worker worker)
    {
        if (_at > 0)
        {
            _convs[_at - 1].Activate(n, worker, _random, Row(n), _epoch);
            return;
        }

        Gather(n, _net.InputOf(0));
        worker.Lap(_gather);
    }

    private void DenseForward(int item, Worker worker) => _denses[_at].Forward(item, _batch, worker, inference: false);

    private void DenseDropout(int n, Worker worker) => _denses[_at].Drop(n, worker, _random, Row(n), _epoch);

    /// <summary>Loss and its gradient, added up in the order of the samples.</summary>
    private void Loss()
    {
        DenseBlock<S, V> last = _denses[^1];
        (double loss, long correct, long samples) = Sums;
        Worker caller = _pool.StartCaller();
        for (int n = 0; n < _batch; n++)
        {
            Span<float> dLogits = new(last.DY + n * last.Shape.Out, DigitDataset.Classes);
            (double sampleLoss, bool right) = SoftmaxCrossEntropy.Backward(_net.Logits(n), _data!.Labels[Row(n)], _options.LabelSmoothing, 1.0 / _batch, dLogits);
            loss += sampleLoss;
            correct += right ? 1 : 0;
        }

        Sums = new EpochSums(loss, correct, samples + _batch);
        caller.Lap(_loss);
    }

    private void DenseBackwardActivation(int n, Worker worker) => _denses[_at].BackwardActivation(n, worker);

    private void DenseBackward(int item, Worker worker) =>
        _denses[_at].Backward(item, _batch, worker, _at > 0 ? _denses[_at - 1].DY : _convs is [.., { } last] ? last.DOutput(0) : null);

    private void LastConvSums(int n, Worker worker) => _convs[^1].BackwardSums(n, worker);

    private void ConvBackward(int chunk, Worker worker)
    {
        int first = chunk * _chunkSize, end = Math.Min(first + _chunkSize, _batch);
        for (int n = first; n < end; n++)
        {
            float* dInput = _at > 0 ? _convs[_at - 1].DOutput(n) : null;
            _convs[_at].Backward(n, chunk, n == first, worker, dInput);
            if (_at > 0)
            {
                _convs[_at - 1].BackwardSums(n, worker);
            }
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
            (float*)_parameters.State[1] + first, _options.Optimizer, _learningRate, Steps);
        worker.Lap(_update);
    }

    private void Gather(int n, ActivationView input)
    {
        if (_options.Augmentation.IsEnabled)
        {
            (AugmentationSpec spec, uint row, uint epoch) = (_options.Augmentation, (uint)Row(n), (uint)_epoch);
            ReadOnlySpan<float> knots = spec.DrawElastic(_random, row, epoch, stackalloc float[AugmentationSpec.ElasticWords]);
            GatherAugment<S, V>.Forward(_data!.Image(Row(n)), spec.Draw(_random, row, epoch), knots, input.At(n), input.Row);
        }
        else
        {
            GatherAugment<S, V>.Forward(_data!.Image(Row(n)), input.At(n), input.Row);
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
