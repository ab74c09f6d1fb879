namespace CudnnDigits.Training;

/// <summary>What one operation of a step did, summed over the steps since it was last asked.</summary>
/// <param name="Layer">The layer's name, such as "conv1"; empty for what belongs to none.</param>
/// <param name="Operation">What was done, such as "weight gradient".</param>
/// <param name="Inference">Whether it belongs to inference, else to training.</param>
/// <param name="Flops">Floating-point operations, a multiply-add counted as two; of a convolution those of the direct method.</param>
/// <param name="Bytes">Bytes read that another pass over the batch wrote, or written for another to read; what stays in a core's cache is
/// not counted.</param>
/// <param name="Seconds">Time, summed over the workers.</param>
internal sealed record LayerTime(string Layer, string Operation, bool Inference, double Flops, double Bytes, double Seconds);

/// <summary>What the processor can do at best, all workers together.</summary>
/// <param name="FlopsPerSecond">Rate of independent fused multiply-adds in registers, counted as two operations each.</param>
/// <param name="BytesPerSecond">Bytes read and written when memory of the size of a step's is copied.</param>
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
