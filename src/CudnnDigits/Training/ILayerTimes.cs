namespace CudnnDigits.Training;

/// <summary>
/// What one operation of a step did, summed over the steps since it was last asked. The layer is empty for what belongs to none. A
/// multiply-add counts as two operations; a convolution has those of the direct method. Bytes are those that another pass over the batch
/// wrote or reads; what stays in a core's cache is not counted. Seconds are summed over the workers.
/// </summary>
internal sealed record LayerTime(string Layer, string Operation, bool Inference, double Flops, double Bytes, double Seconds);

/// <summary>The most that all workers do together: multiply-adds in registers, as two operations each; bytes of a copy.</summary>
internal sealed record Ceilings(double FlopsPerSecond, double BytesPerSecond);

/// <summary>A backend that measures its operations where <see cref="BackendOptions.LayerTimes"/> asks for it.</summary>
internal interface ILayerTimes
{
    /// <summary>Workers whose seconds are summed.</summary>
    int Workers { get; }

    /// <summary>The operations in the order of the step, and what was spent waiting; starts counting anew.</summary>
    IReadOnlyList<LayerTime> ReadLayerTimes();

    /// <summary>Measures the limits; takes about a second.</summary>
    Ceilings MeasureCeilings();
}
