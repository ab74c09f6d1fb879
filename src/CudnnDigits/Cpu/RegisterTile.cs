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
        float* c, nint cRow, bool add)
    {
        for (int tiles = (rows + S.TileRows - 1) / S.TileRows; tiles > 0; tiles--)
        {
            int height = (rows + tiles - 1) / tiles;
            switch (height)
            {
                case 14: Kernel<One, One, One, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 13: Kernel<One, One, Zero, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 12: Kernel<One, One, Zero, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 11: Kernel<One, Zero, One, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 10: Kernel<One, Zero, One, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 9: Kernel<One, Zero, Zero, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 8: Kernel<One, Zero, Zero, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 7: Kernel<Zero, One, One, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 6: Kernel<Zero, One, One, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 5: Kernel<Zero, One, Zero, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 4: Kernel<Zero, One, Zero, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 3: Kernel<Zero, Zero, One, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                case 2: Kernel<Zero, Zero, One, Zero>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
                default: Kernel<Zero, Zero, Zero, One>(a, aRow, aStep, aSegment, b, bStep, bSegment, segments, depth, c, cRow, add); break;
            }

            a += height * aRow;
            c += height * cRow;
            rows -= height;
        }
    }

    /// <summary>The tile for one height, given in binary digits: a constant to the JIT, which drops the rows above it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel<B8, B4, B2, B1>(
        float* a, nint aRow, nint aStep, nint aSegment, float* b, nint bStep, nint bSegment, int segments, int depth,
        float* c, nint cRow, bool add)
        where B8 : struct, IBit
        where B4 : struct, IBit
        where B2 : struct, IBit
        where B1 : struct, IBit
    {
        int rows = 8 * B8.Value + 4 * B4.Value + 2 * B2.Value + B1.Value;

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
                if (rows > 0) { x = S.Splat(*a0); c00 = S.Fma(x, b0, c00); c01 = S.Fma(x, b1, c01); }
                if (rows > 1) { x = S.Splat(a0[aRow]); c10 = S.Fma(x, b0, c10); c11 = S.Fma(x, b1, c11); }
                if (rows > 2) { x = S.Splat(a0[twoRows]); c20 = S.Fma(x, b0, c20); c21 = S.Fma(x, b1, c21); }
                if (rows > 3) { x = S.Splat(*a3); c30 = S.Fma(x, b0, c30); c31 = S.Fma(x, b1, c31); }
                if (rows > 4) { x = S.Splat(a3[aRow]); c40 = S.Fma(x, b0, c40); c41 = S.Fma(x, b1, c41); }
                if (rows > 5) { x = S.Splat(a3[twoRows]); c50 = S.Fma(x, b0, c50); c51 = S.Fma(x, b1, c51); }
                if (rows > 6) { x = S.Splat(*a6); c60 = S.Fma(x, b0, c60); c61 = S.Fma(x, b1, c61); }
                if (rows > 7) { x = S.Splat(a6[aRow]); c70 = S.Fma(x, b0, c70); c71 = S.Fma(x, b1, c71); }
                if (rows > 8) { x = S.Splat(a6[twoRows]); c80 = S.Fma(x, b0, c80); c81 = S.Fma(x, b1, c81); }
                if (rows > 9) { x = S.Splat(*a9); c90 = S.Fma(x, b0, c90); c91 = S.Fma(x, b1, c91); }
                if (rows > 10) { x = S.Splat(a9[aRow]); c100 = S.Fma(x, b0, c100); c101 = S.Fma(x, b1, c101); }
                if (rows > 11) { x = S.Splat(a9[twoRows]); c110 = S.Fma(x, b0, c110); c111 = S.Fma(x, b1, c111); }
                if (rows > 12) { x = S.Splat(*a12); c120 = S.Fma(x, b0, c120); c121 = S.Fma(x, b1, c121); }
                if (rows > 13) { x = S.Splat(a12[aRow]); c130 = S.Fma(x, b0, c130); c131 = S.Fma(x, b1, c131); }
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

        if (rows > 0) { Put(c + 0 * cRow, c00, c01, add); }
        if (rows > 1) { Put(c + 1 * cRow, c10, c11, add); }
        if (rows > 2) { Put(c + 2 * cRow, c20, c21, add); }
        if (rows > 3) { Put(c + 3 * cRow, c30, c31, add); }
        if (rows > 4) { Put(c + 4 * cRow, c40, c41, add); }
        if (rows > 5) { Put(c + 5 * cRow, c50, c51, add); }
        if (rows > 6) { Put(c + 6 * cRow, c60, c61, add); }
        if (rows > 7) { Put(c + 7 * cRow, c70, c71, add); }
        if (rows > 8) { Put(c + 8 * cRow, c80, c81, add); }
        if (rows > 9) { Put(c + 9 * cRow, c90, c91, add); }
        if (rows > 10) { Put(c + 10 * cRow, c100, c101, add); }
        if (rows > 11) { Put(c + 11 * cRow, c110, c111, add); }
        if (rows > 12) { Put(c + 12 * cRow, c120, c121, add); }
        if (rows > 13) { Put(c + 13 * cRow, c130, c131, add); }
    }

    /// <summary>A row of a tile. What is there is added at the end, not begun with: short sums lose less to rounding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(float* c, V left, V right, bool add)
    {
        if (add)
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

/// <summary>A binary digit as a type.</summary>
internal interface IBit
{
    static abstract int Value { get; }
}

internal readonly struct Zero : IBit { public static int Value => 0; }

internal readonly struct One : IBit { public static int Value => 1; }
