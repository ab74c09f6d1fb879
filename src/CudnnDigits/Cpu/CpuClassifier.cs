using CudnnDigits.Inference;
using CudnnDigits.Model;

namespace CudnnDigits.Cpu;

/// <summary>Inference alone on the CPU.</summary>
internal sealed unsafe class CpuClassifier<S, V> : IClassifierDevice
    where S : struct, ISimd<V>
    where V : struct
{
    private readonly NativeArena _arena = new();
    private readonly WorkerPool _pool;
    private readonly CpuInference<S, V> _inference;

    public CpuClassifier(NetworkWeights weights, ClassifierOptions options)
    {
        int workers = CpuDevice.Workers(options.Threads);
        OperationList operations = new();
        CpuNetwork<S, V> net = new(_arena, operations, weights.Network, workers, options.BatchSize, training: false);
        net.Load(weights, null);
        IEnumerable<Worker> each = Enumerable.Range(0, workers).Select(index => new Worker(index, [], null, _arena.Floats(net.ScratchSize)));
        _pool = new WorkerPool([.. each]);
        _inference = new CpuInference<S, V>(net, _pool, operations, options.BatchSize);
    }

    public string Name => CpuDevice.Name(_pool.Workers.Count, S.Lanes * 32);

    public Precision Precision => Precision.Fp32;

    public void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits) => _inference.Predict(images, rows, logits);

    public void Enqueue(in ImageBatch images, nint logits, nint stream) =>
        throw new InvalidOperationException("this classifier runs on the CPU, which has no device memory; create one with device cuda");

    public void Dispose()
    {
        _pool.Dispose();
        _arena.Dispose();
    }
}
