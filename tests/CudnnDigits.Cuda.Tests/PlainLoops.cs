namespace CudnnDigits.Cuda.Tests;

/// <summary>What tests of the fused kernels share.</summary>
internal static class PlainLoops
{
    public const ulong Seed = 0x1234_5678_9ABC;

    /// <summary>Tolerances: one rounding to bfloat16; sums in float32.</summary>
    public const double Rounded = 4e-3, Summed = 1e-4;

    public static float Bf16(double value) => BitConverter.UInt32BitsToSingle((uint)DeviceLab.Round((float)value) << 16);

    /// <summary>What comes in parts.</summary>
    public static float[] AddUp(float[] parts, int count, int size) =>
        [.. Enumerable.Range(0, size).Select(i => Enumerable.Range(0, count).Sum(part => parts[(part * size) + i]))];
}
