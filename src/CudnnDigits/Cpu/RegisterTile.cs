namespace CudnnDigits.Cpu;

/// <summary>
/// The inner loop behind convolutions, direct and by Winograd, and dense layers, forward and backward: a tile of up to 14 rows × two
/// vectors of the product of two matrices, summed in registers. Both operands are read where they lie, through strides:
/// <code>c[m][n] (+)= Σ_segment Σ_k  a[m·aRow + k·aStep + segment·aSegment] · b[n + k·bStep + segment·bSegment]</code>
/// A segment is one row of the kernel window (or of the picture), inside which channels-last data is contiguous, so a
/// convolution needs no im2col. Each k reads two vectors of b and broadcasts one value of a per row: 16 loads for 28 FMAs,
/// which keeps both FMA units busy.
/// </summary>
internal static unsafe class RegisterTile<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Columns of a tile: two vectors. Channels and features are padded to a multiple of this.</summary>
    public static int Columns
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => 2 * S.Lanes;
    }

    /// <summary>n rounded up to whole tiles of columns.</summary>
    public static int Pad(int n) => (n + Columns - 1) / Columns * Columns;

    /// <summary>Any number of rows, in tiles of nearly equal height (26 rows as 13 + 13, which beats 14 + 12).</summary>
    public static void Multiply(
        int rows, float* a, nint aRow, nint aStep, nint aSegment, float* b, nint bStep, nint bSegment, int segments, int depth,
        float* c, nint cRow, bool accumulate)
    {
        int tiles = (rows + S.TileRows - 1) / S.TileRows;
        for (; tiles > 0; tiles--)
        {
            int height = (rows + tiles - 1) / tiles;
            Tile(height, a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate);
            a += height * aRow;
            c += height * cRow;
            rows -= height;
        }
    }

    private static void Tile(
        int height, float* a, nint aRow, nint aStep, nint aSegment, float* b, nint bStep, nint bSegment, int segments, int depth,
        float* c, nint cRow, bool accumulate)
    {
        switch (height)
        {
            case 14: Kernel<Rows14>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 13: Kernel<Rows13>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 12: Kernel<Rows12>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 11: Kernel<Rows11>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 10: Kernel<Rows10>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 9: Kernel<Rows9>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 8: Kernel<Rows8>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 7: Kernel<Rows7>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 6: Kernel<Rows6>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 5: Kernel<Rows5>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 4: Kernel<Rows4>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 3: Kernel<Rows3>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            case 2: Kernel<Rows2>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
            default: Kernel<Rows1>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, accumulate); break;
        }
    }

    /// <summary>The tile for one height; R.Count is a constant to the JIT, which drops the rows above it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel<R>(
        float* a, nint aRow, nint aStep, nint aSegment, float* b, nint bStep, nint bSegment, int segments, int depth,
        float* c, nint cRow, bool accumulate)
        where R : struct, IRows
    {
        // Named one by one: the JIT keeps locals in registers, but not the elements of an array.
        V c00 = default, c01 = default;
        V c10 = default, c11 = default;
        V c20 = default, c21 = default;
        V c30 = default, c31 = default;
        V c40 = default, c41 = default;
        V c50 = default, c51 = default;
        V c60 = default, c61 = default;
        V c70 = default, c71 = default;
        V c80 = default, c81 = default;
        V c90 = default, c91 = default;
        V c100 = default, c101 = default;
        V c110 = default, c111 = default;
        V c120 = default, c121 = default;
        V c130 = default, c131 = default;
        // Five pointers reach all rows by [p], [p + row], [p + 2·row], which x86 addresses directly.
        nint twoRows = 2 * aRow;
        for (int segment = 0; segment < segments; segment++)
        {
            float* a0 = a, bk = b;
            float* a3 = a + 3 * aRow;
            float* a6 = a + 6 * aRow;
            float* a9 = a + 9 * aRow;
            float* a12 = a + 12 * aRow;
            for (int k = 0; k < depth; k++)
            {
                V b0 = S.Load(bk), b1 = S.Load(bk + S.Lanes), x;
                if (R.Count > 0) { x = S.Splat(*a0); c00 = S.Fma(x, b0, c00); c01 = S.Fma(x, b1, c01); }
                if (R.Count > 1) { x = S.Splat(a0[aRow]); c10 = S.Fma(x, b0, c10); c11 = S.Fma(x, b1, c11); }
                if (R.Count > 2) { x = S.Splat(a0[twoRows]); c20 = S.Fma(x, b0, c20); c21 = S.Fma(x, b1, c21); }
                if (R.Count > 3) { x = S.Splat(*a3); c30 = S.Fma(x, b0, c30); c31 = S.Fma(x, b1, c31); }
                if (R.Count > 4) { x = S.Splat(a3[aRow]); c40 = S.Fma(x, b0, c40); c41 = S.Fma(x, b1, c41); }
                if (R.Count > 5) { x = S.Splat(a3[twoRows]); c50 = S.Fma(x, b0, c50); c51 = S.Fma(x, b1, c51); }
                if (R.Count > 6) { x = S.Splat(*a6); c60 = S.Fma(x, b0, c60); c61 = S.Fma(x, b1, c61); }
                if (R.Count > 7) { x = S.Splat(a6[aRow]); c70 = S.Fma(x, b0, c70); c71 = S.Fma(x, b1, c71); }
                if (R.Count > 8) { x = S.Splat(a6[twoRows]); c80 = S.Fma(x, b0, c80); c81 = S.Fma(x, b1, c81); }
                if (R.Count > 9) { x = S.Splat(*a9); c90 = S.Fma(x, b0, c90); c91 = S.Fma(x, b1, c91); }
                if (R.Count > 10) { x = S.Splat(a9[aRow]); c100 = S.Fma(x, b0, c100); c101 = S.Fma(x, b1, c101); }
                if (R.Count > 11) { x = S.Splat(a9[twoRows]); c110 = S.Fma(x, b0, c110); c111 = S.Fma(x, b1, c111); }
                if (R.Count > 12) { x = S.Splat(*a12); c120 = S.Fma(x, b0, c120); c121 = S.Fma(x, b1, c121); }
                if (R.Count > 13) { x = S.Splat(a12[aRow]); c130 = S.Fma(x, b0, c130); c131 = S.Fma(x, b1, c131); }
                bk += bStep;
                a0 += aStep;
                a3 += aStep;
                a6 += aStep;
                a9 += aStep;
                a12 += aStep;
            }

            a += aSegment;
            b += bSegment;
        }

        if (R.Count > 0) { Put(c + 0 * cRow, c00, c01, accumulate); }
        if (R.Count > 1) { Put(c + 1 * cRow, c10, c11, accumulate); }
        if (R.Count > 2) { Put(c + 2 * cRow, c20, c21, accumulate); }
        if (R.Count > 3) { Put(c + 3 * cRow, c30, c31, accumulate); }
        if (R.Count > 4) { Put(c + 4 * cRow, c40, c41, accumulate); }
        if (R.Count > 5) { Put(c + 5 * cRow, c50, c51, accumulate); }
        if (R.Count > 6) { Put(c + 6 * cRow, c60, c61, accumulate); }
        if (R.Count > 7) { Put(c + 7 * cRow, c70, c71, accumulate); }
        if (R.Count > 8) { Put(c + 8 * cRow, c80, c81, accumulate); }
        if (R.Count > 9) { Put(c + 9 * cRow, c90, c91, accumulate); }
        if (R.Count > 10) { Put(c + 10 * cRow, c100, c101, accumulate); }
        if (R.Count > 11) { Put(c + 11 * cRow, c110, c111, accumulate); }
        if (R.Count > 12) { Put(c + 12 * cRow, c120, c121, accumulate); }
        if (R.Count > 13) { Put(c + 13 * cRow, c130, c131, accumulate); }
    }

    /// <summary>A row of a tile. What is there is added at the end, not begun with: short sums lose less to rounding than long ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(float* c, V left, V right, bool accumulate)
    {
        if (accumulate)
        {
            S.Store(c, S.Add(S.Load(c), left));
            S.Store(c + S.Lanes, S.Add(S.Load(c + S.Lanes), right));
        }
        else
        {
            S.Store(c, left);
            S.Store(c + S.Lanes, right);
        }
    }
}

/// <summary>The height of a tile as a type, so that each height is compiled on its own.</summary>
internal interface IRows
{
    static abstract int Count { get; }
}

internal readonly struct Rows1 : IRows { public static int Count => 1; }

internal readonly struct Rows2 : IRows { public static int Count => 2; }

internal readonly struct Rows3 : IRows { public static int Count => 3; }

internal readonly struct Rows4 : IRows { public static int Count => 4; }

internal readonly struct Rows5 : IRows { public static int Count => 5; }

internal readonly struct Rows6 : IRows { public static int Count => 6; }

internal readonly struct Rows7 : IRows { public static int Count => 7; }

internal readonly struct Rows8 : IRows { public static int Count => 8; }

internal readonly struct Rows9 : IRows { public static int Count => 9; }

internal readonly struct Rows10 : IRows { public static int Count => 10; }

internal readonly struct Rows11 : IRows { public static int Count => 11; }

internal readonly struct Rows12 : IRows { public static int Count => 12; }

internal readonly struct Rows13 : IRows { public static int Count => 13; }

internal readonly struct Rows14 : IRows { public static int Count => 14; }
