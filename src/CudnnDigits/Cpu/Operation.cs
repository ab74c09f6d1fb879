using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// One operation that the clocks measure: its place in the list, and what it costs. Flops and Values, the floats that cross from one pass
/// to another, are those of one sample; FixedValues are those of a batch: weights and their gradients.
/// </summary>
internal sealed record Operation(int Index, string Layer, string Name, bool Inference, double Flops, double Values, double FixedValues);

/// <summary>All operations of a network, each listed by the block it belongs to.</summary>
internal sealed class OperationList
{
    private readonly List<Operation> _operations = [];
    private long _samples, _batches, _predicted, _predictedBatches;

    public int Count => _operations.Count;

    /// <summary>Lists an operation of a training step, or of inference.</summary>
    public Operation Add(string layer, string name, double flops = 0, double values = 0, double fixedValues = 0, bool inference = false)
    {
        Operation operation = new(Count, layer, name, inference, flops, values, fixedValues);
        _operations.Add(operation);
        return operation;
    }

    /// <summary>Counts a batch that was trained on, or predicted.</summary>
    public void CountBatch(int samples, bool inference) =>
        _ = inference ? (_predicted += samples, _predictedBatches++) : (_samples += samples, _batches++);

    /// <summary>What the operations did since the last call, with the seconds that all workers' clocks show.</summary>
    public List<LayerTime> Read(IReadOnlyList<Worker> workers)
    {
        List<LayerTime> times = [.. _operations.Select(operation =>
        {
            (long samples, long batches) = operation.Inference ? (_predicted, _predictedBatches) : (_samples, _batches);
            double bytes = sizeof(float) * (operation.Values * samples + operation.FixedValues * batches);
            double seconds = workers.Sum(worker => worker.TakeSeconds(operation));
            return new LayerTime(operation.Layer, operation.Name, operation.Inference, operation.Flops * samples, bytes, seconds);
        })];
        _samples = _batches = _predicted = _predictedBatches = 0;
        return times;
    }
}
