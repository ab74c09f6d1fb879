using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>One operation of the step, as the clocks know it: its place in the list and what it costs.</summary>
/// <param name="Index">Place in the list.</param>
/// <param name="Layer">The layer's name.</param>
/// <param name="Name">What is done.</param>
/// <param name="Inference">Whether it belongs to inference.</param>
/// <param name="Flops">Floating-point operations for one sample.</param>
/// <param name="Values">Floats that cross from one pass to another, for one sample.</param>
/// <param name="FixedValues">The same for the whole batch: weights and their gradients.</param>
internal sealed record Operation(int Index, string Layer, string Name, bool Inference, double Flops, double Values, double FixedValues);

/// <summary>All operations of a network, each listed by the block it belongs to.</summary>
internal sealed class OperationList
{
    private readonly List<Operation> _operations = [];
    private long _samples, _batches, _predicted, _predictedBatches;

    public int Count => _operations.Count;

    /// <summary>Lists an operation of a training step.</summary>
    public Operation Train(string layer, string name, double flops = 0, double values = 0, double fixedValues = 0) =>
        Add(new Operation(_operations.Count, layer, name, false, flops, values, fixedValues));

    /// <summary>Lists an operation of inference.</summary>
    public Operation Infer(string layer, string name, double flops = 0, double values = 0, double fixedValues = 0) =>
        Add(new Operation(_operations.Count, layer, name, true, flops, values, fixedValues));

    /// <summary>Counts a batch that was trained on, or predicted.</summary>
    public void CountBatch(int samples, bool inference)
    {
        _ = inference ? (_predicted += samples, _predictedBatches++) : (_samples += samples, _batches++);
    }

    /// <summary>What the operations did since the last call, with the seconds that all workers' clocks show.</summary>
    public List<LayerTime> Read(IReadOnlyList<Worker> workers)
    {
        List<LayerTime> times = [];
        foreach (Operation operation in _operations)
        {
            (long samples, long batches) = operation.Inference ? (_predicted, _predictedBatches) : (_samples, _batches);
            double seconds = workers.Sum(worker => worker.TakeSeconds(operation));
            double values = operation.Values * samples + operation.FixedValues * batches;
            times.Add(new LayerTime(
                operation.Layer, operation.Name, operation.Inference, operation.Flops * samples, values * sizeof(float), seconds));
        }

        _samples = _batches = _predicted = _predictedBatches = 0;
        return times;
    }

    private Operation Add(Operation operation)
    {
        _operations.Add(operation);
        return operation;
    }
}
