namespace CudnnDigits.Cuda;

/// <summary>
/// What the last block of a fused kernel needs to turn the sums of all blocks into one layer's batch norm. Passed to the kernel
/// by value; the fields of BatchNorm in native/kernels/fused/batch_norm.cuh, in the same order.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FusedBatchNorm
{
    public nint Partial, Arrived, Coefficients, Gamma, Beta, RunningMean, RunningVariance, DGamma, DBeta;

    /// <summary>Of one channel.</summary>
    public double Values;
}
