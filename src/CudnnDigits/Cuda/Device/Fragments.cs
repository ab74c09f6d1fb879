namespace CudnnDigits.Cuda.Device;

/// <summary>In which order the weights of a convolution lie for the kernels that read them.</summary>
internal interface IWeightOrder
{
    /// <summary>Elements in all; those that no weight has are zero.</summary>
    int Size { get; }

    /// <summary>Place of a weight.</summary>
    /// <param name="row">Channel that the convolution gives.</param>
    /// <param name="tap">Of its window, row by row.</param>
    /// <param name="column">Channel that it reads.</param>
    int Place(int row, int tap, int column);
}

/// <summary>
/// The order in which weights of a 3×3 convolution lie for the fused kernels (native/kernels/fused/convolution.cuh): (rows / 16,
/// taps, columns / 16, 32 lanes, 8), so that a lane takes its part of a tensor core's left factor, 16 rows by 16 columns, with one
/// load of 16 bytes, and a warp 512 bytes in one piece. Those of one column stay as they are.
/// </summary>
internal readonly record struct Fragments(int Rows, int Taps, int Columns) : IWeightOrder
{
    private const int Side = 16, Lanes = 32;

    public int Size => Rows * Taps * Columns;

    public int Place(int row, int tap, int column)
    {
        if (Columns == 1)
        {
            return row * Taps + tap;
        }

        // Fragments of mma.m16n8k16 (PTX ISA): lane 4 g + t has rows g and g + 8, columns 2t, 2t + 1, 2t + 8 and 2t + 9. Row
        // g + 8 h stands for channel 4 (g / 2) + 2 h + g % 2: channel_of in convolution.cuh.
        int group = row / Side, h = row >> 1 & 1, g = (row % Side >> 2) * 2 + (row & 1);
        int step = column / Side, upper = column >> 3 & 1, t = column >> 1 & 3;
        int fragment = (((group * Taps) + tap) * (Columns / Side) + step) * Lanes + (4 * g) + t;
        return (fragment * 8) + (4 * upper) + (2 * h) + (column & 1);
    }
}
