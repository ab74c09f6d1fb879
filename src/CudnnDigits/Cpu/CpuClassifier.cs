using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;

namespace CudnnDigits.Cpu;

/// <summary>
/// The network in evaluation mode. A worker takes an image through all convolution blocks, whose activations stay in its
/// core's cache; the dense layers follow batch by batch.
/// </summary>
internal sealed class CpuClassifier<S, V> : IClassifierDevice
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly CpuNetwork<S, V> _net;
    private readonly Operation _gather;
    private readonly Action<int, Worker> _convForward, _denseForward;
    private readonly int[] _rows;
    private ImageBatch _images;
    private int _first, _at, _batch, _items;
    private bool _prepared, _backwards, _inOrder;

    public CpuClassifier(NetworkWeights weights, ClassifierOptions options)
        : this(new CpuNetwork<S, V>(weights.Network, options.BatchSize, options.Threads, chunks: 0), options.BatchSize) =>
        _net.Copy(weights, null, save: false);

    /// <summary>For predictions between training steps.</summary>
    public CpuClassifier(CpuNetwork<S, V> net, int batchSize)
    {
        _net = net;
        _rows = new int[batchSize];
        _gather = net.Operations.Add("input", "gather", values: DigitDataset.PixelCount, inference: true);
        (_convForward, _denseForward) = (ConvForward, DenseForward);
    }

    public string Name => _net.Device;

    public Precision Precision => Precision.Fp32;

    /// <summary>To be called when the weights have changed.</summary>
    public void Invalidate() => _prepared = false;

    public void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits)
    {
        int count = logits.Length / DigitDataset.Classes;
        (_images, _inOrder) = (images, rows.IsEmpty);
        if (!_prepared)
        {
            Array.ForEach(_net.Convs, conv => conv.PreparePredict());
            _prepared = true;
        }

        for (_first = 0; _first < count; _first += _batch)
        {
            _batch = Math.Min(_rows.Length, count - _first);
            if (!_inOrder)
            {
                rows.Slice(_first, _batch).CopyTo(_rows);
            }

            _net.Pool.Run(_batch, _convForward);
            for (_at = 0; _at < _net.Denses.Length; _at++)
            {
                _items = _net.Denses[_at].ForwardItems(_batch);
                _net.Pool.Run(_items, _denseForward);
            }

            _net.SaveLogits(_batch, logits[(_first * DigitDataset.Classes)..]);
            _net.Operations.CountBatch(_batch, inference: true);
            _backwards = !_backwards;
        }
    }

    public void Enqueue(in ImageBatch images, nint logits, nint stream) =>
        throw new InvalidOperationException("this classifier runs on the CPU, which has no device memory; create one with device cuda");

    public void Dispose() => _net.Dispose();

    private unsafe void ConvForward(int n, Worker worker)
    {
        int blocks = _net.Convs.Length;
        ImageBatch image = _images.Slice(_inOrder ? _first + n : _rows[n], 1);
        GatherAugment<S, V>.Forward(image, _net.Input.At(blocks == 0 ? n : worker.Index), _net.Input.Row);
        worker.Lap(_gather);
        for (int i = 0; i < blocks; i++)
        {
            _net.Convs[i].Predict(worker, i + 1 == blocks ? n : worker.Index);
        }
    }

    /// <summary>Every other batch runs from the last item to the first, which reads weights that the cache still holds.</summary>
    private void DenseForward(int item, Worker worker) =>
        _net.Denses[_at].Forward(_backwards ? _items - 1 - item : item, _batch, worker, inference: true);
}
