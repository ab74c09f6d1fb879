namespace CudnnDigits.Cuda.Device;

/// <summary>
/// In which order the weights of a convolution lie for the fused kernels: (groups of 32 rows, chunks of 64 bytes of columns, columns of the
/// window, 2 steps, rows of the window, 4 tiles, 2 halves of a step, 8 rows, 16 bytes of columns), zero where there are no rows and columns
/// (native/kernels/fused/convolution.cuh).
/// </summary>
/// <param name="Rows">Channels that the convolution gives.</param>
/// <param name="Taps">Of its window.</param>
/// <param name="Columns">Channels that it reads.</param>
/// <param name="ElementBytes">Bytes of an element.</param>
internal readonly record struct StageOrder(int Rows, int Taps, int Columns, int ElementBytes)
{
    private const int GroupRows = 32;

    /// <summary>Of one column, the first layer's: taps take the place of columns.</summary>
    private StageOrder Windows => this with { Taps = 1, Columns = Taps };

    private int OfUnit => 16 / ElementBytes;

    private int OfChunk => 64 / ElementBytes;

    private int Chunks => (Columns + OfChunk - 1) / OfChunk;

    private int Side => (int)Math.Sqrt(Taps);

    /// <summary>Elements in all; those that no weight has are zero.</summary>
    public int Size => Columns == 1 ? Windows.Size : Groups * GroupRows * Chunks * Taps * OfChunk;

    /// <summary>Pairs of them, if there is more than one: a block of 64 outputs reads two.</summary>
    private int Groups => Rows <= GroupRows ? 1 : (Rows + 2 * GroupRows - 1) / (2 * GroupRows) * 2;

    /// <summary>Place of a weight.</summary>
    /// <param name="row">Channel that the convolution gives.</param>
    /// <param name="tap">Of its window, row by row.</param>
    /// <param name="column">Channel that it reads.</param>
    public int Place(int row, int tap, int column)
    {
        if (Columns == 1)
        {
            return Windows.Place(row, 0, tap);
        }

        // Row 8 i + 2 j + k of 32 is number 2 i + k of tile j.
        int group = row / GroupRows, tile = row % 8 / 2, number = row % GroupRows / 8 * 2 + row % 2;
        int chunk = column / OfChunk, step = column % OfChunk / (2 * OfUnit), half = column / OfUnit % 2, element = column % OfUnit;
        int piece = (((((group * Chunks + chunk) * Side) + (tap % Side)) * 2) + step) * Side + (tap / Side);
        return ((((piece * 4) + tile) * 2 + half) * 8 + number) * OfUnit + element;
    }
}
