using CudnnDigits.Model;

namespace CudnnDigits.Cuda.Common;

/// <summary>Dropout as kernels apply it; Dropout in native/kernels/common/dropout.cuh has the same fields.</summary>
internal readonly record struct Dropout(ulong Seed, uint Threshold, uint Layer, float KeepScale)
{
    public static Dropout None => new(0, 0, 0, 1);

    /// <summary>That of a block, which may have none; index counts the dropout layers of the network.</summary>
    public static Dropout Of(DropoutLayer? layer, int index, ulong seed) =>
        layer is null ? None : new(seed, layer.Threshold, (uint)index, (float)(1 / (1 - layer.Rate)));
}
