using CudnnDigits.Data;
using CudnnDigits.Inference;

namespace CudnnDigits.Cpu;

/// <summary>
/// The network in evaluation mode. A worker takes an image through all convolution blocks, whose activations stay in its
/// core's cache; the dense layers follow batch by batch.
/// </summary>
internal sealed class CpuInference<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly CpuNetwork<S, V> _net;
    private readonly WorkerPool _pool;
    private readonly OperationList _operations;
    private readonly Operation _gather;
    private readonly Action<int, Worker> _convForward, _denseForward;
    private ImageBatch _images;
    private readonly int[] _rows;
    private int _first, _at, _batch, _items;
    private bool _prepared, _backwards, _inOrder;

    /// <param name="net">The network.</param>
    /// <param name="pool">The workers.</param>
    /// <param name="operations">Where to list operations.</param>
    /// <param name="batchSize">Images in a batch.</param>
    public CpuInference(CpuNetwork<S, V> net, WorkerPool pool, OperationList operations, int batchSize)
    {
        _rows = new int[batchSize];
        (_net, _pool, _operations) = (net, pool, operations);
        _gather = operations.Infer("input", "gather", values: net.InputSize);
        (_convForward, _denseForward) = (ConvForward, DenseForward);
    }

    /// <summary>To be called when the weights have changed.</summary>
    public void Invalidate() => _prepared = false;

    /// <summary>Logits of some images, batch by batch.</summary>
    /// <param name="images">The images.</param>
    /// <param name="rows">Which of them; all in order where this is empty.</param>
    /// <param name="logits">(rows, classes) f32.</param>
    public void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits)
    {
        int count = logits.Length / DigitDataset.Classes;
        Prepare();
        (_images, _inOrder) = (images, rows.IsEmpty);
        for (_first = 0; _first < count; _first += _batch)
        {
            _batch = Math.Min(_rows.Length, count - _first);
            if (!_inOrder)
            {
                rows.Slice(_first, _batch).CopyTo(_rows);
            }

            _pool.Run(_batch, _convForward);
            for (_at = 0; _at < _net.Denses.Length; _at++)
            {
                _items = _net.Denses[_at].ForwardItems(_batch);
                _pool.Run(_items, _denseForward);
            }

            _net.SaveLogits(_batch, logits[(_first * DigitDataset.Classes)..]);
            _operations.CountBatch(_batch, inference: true);
            _backwards = !_backwards;
        }
    }

    /// <summary>Makes what is derived from the weights, where they have changed since.</summary>
    private void Prepare()
    {
        if (!_prepared)
        {
            foreach (ConvBlock<S, V> conv in _net.Convs)
            {
                conv.PreparePredict();
            }

            _prepared = true;
        }
    }

    private unsafe void ConvForward(int n, Worker worker)
    {
        int blocks = _net.Convs.Length;
        ActivationView output = _net.InputOf(0);
        ImageBatch image = _images.Slice(_inOrder ? _first + n : _rows[n], 1);
        GatherAugment<S, V>.Forward(image, output.At(blocks == 0 ? n : worker.Index), output.Row);
        worker.Lap(_gather);
        for (int i = 0; i < blocks; i++)
        {
            output = _net.InputOf(i + 1);
            _net.Convs[i].Predict(worker, output.At(i + 1 == blocks ? n : worker.Index), output.Row);
        }
    }

    /// <summary>Every other batch runs from the last item to the first, which reads weights that the cache still holds.</summary>
    private void DenseForward(int item, Worker worker) =>
        _net.Denses[_at].Forward(_backwards ? _items - 1 - item : item, _batch, worker, inference: true);
}
