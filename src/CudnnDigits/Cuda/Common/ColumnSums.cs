using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Common;

/// <summary>Parameters of column_sums in native/kernels/layered/activation.cu.</summary>
internal readonly record struct ColumnSums(nint X, nint Sums, int Rows, int Channels, uint Narrow)
{
    /// <summary>Adds up rows of sums, (rows, channels) f32, to a total of f32 or bf16, always in the same order.</summary>
    public static void AddUp(CudaSession session, DeviceTensor sums, int rows, int channels, DeviceTensor total) =>
        session.Launch("column_sums", Blocks(channels), new ColumnSums(
            sums.Holding((long)rows * channels, DeviceType.F32), total.Holding(channels, total.Type), rows, channels,
            total.Type == DeviceType.Bf16 ? 1u : 0));

    /// <summary>Blocks of 32 channels.</summary>
    public static int Blocks(int channels) => (channels + 31) / 32;
}
