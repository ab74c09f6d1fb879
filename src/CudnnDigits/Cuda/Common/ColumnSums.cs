using CudnnDigits.Cuda.Device;

namespace CudnnDigits.Cuda.Common;

/// <summary>Parameters of column_sums in native/kernels/layered/activation.cu.</summary>
internal struct ColumnSums
{
    public nint X, Sums;
    public int Rows, Channels;

    /// <summary>Adds up rows of sums, (rows, channels) f32, to a total of f32 or bf16, always in the same order.</summary>
    public static void AddUp(CudaSession session, DeviceTensor sums, int rows, int channels, DeviceTensor total) =>
        session.Launch(total.Type == DeviceType.Bf16 ? "column_sums_bf16" : "column_sums_f32", Blocks(channels), new ColumnSums
        {
            X = sums.Holding((long)rows * channels, DeviceType.F32),
            Sums = total.Holding(channels, total.Type),
            Rows = rows,
            Channels = channels,
        });

    /// <summary>Blocks of 32 channels.</summary>
    public static int Blocks(int channels) => (channels + 31) / 32;
}
