using System.Runtime.Intrinsics;

namespace CudnnDigits.Cpu;

/// <summary>
/// What <see cref="Winograd{S, V}"/> needs to know of a 3×3 convolution. Along each axis the outputs are cut into large tiles of
/// 4 and, if no more than 2 are left, a small one of 2; or, for accuracy, into small ones alone. A last tile with fewer outputs
/// left than it has computes the rest from whatever follows the input, and drops it.
/// </summary>
internal readonly record struct WinogradShape(ConvShape Conv, int H, int W, bool Small)
{
    /// <summary>Points along one axis: 0, 1, −1, ∞, which small tiles need, then 2, −2.</summary>
    public const int Points = 6, SmallPoints = 4;

    /// <summary>Tiles that are transformed at a time: whole register tiles, few enough to stay in the cache.</summary>
    private const int BlockTiles = 28;

    public int TilesH => Tiles(H);

    public int TilesW => Tiles(W);

    /// <summary>Rows of tiles in a block.</summary>
    public int BlockRows => Math.Clamp(BlockTiles / TilesW, 1, TilesH);

    /// <summary>Columns of the input that tiles read.</summary>
    public int InputW => First(TilesW, W) + 2;

    /// <summary>Elements of one point's matrix of inputs; the odd cache line keeps the 36 of them out of one cache set.</summary>
    public int InputStride => BlockRows * TilesW * Conv.C + 16;

    /// <summary>Elements of a row of tiles transformed along the first axis.</summary>
    public int HalfwaySize => Points * InputW * Conv.C;

    /// <summary>Large tiles among so many outputs.</summary>
    public int LargeTiles(int outputs) => Small ? 0 : (outputs + 1) / 4;

    /// <summary>All tiles among so many outputs.</summary>
    public int Tiles(int outputs) => LargeTiles(outputs) + (outputs - 4 * LargeTiles(outputs) + 1) / 2;

    /// <summary>First output of a tile.</summary>
    public int First(int tile, int outputs) => 2 * (tile + Math.Min(tile, LargeTiles(outputs)));

    /// <summary>Elements of the transformed weights, (K / columns, 6, 6, C, columns).</summary>
    public static int WeightSize(in ConvShape conv) => conv.K * conv.C * Points * Points;

    /// <summary>Floats beyond an input that a last tile may read.</summary>
    public static int Slack(in ConvShape conv) => (conv.PaddedW + 2) * conv.C;
}

/// <summary>
/// 3×3 convolution of one image by Winograd's minimal filtering (Lavin, Gray, "Fast Algorithms for Convolutional Neural
/// Networks", 2015). Inputs and weights are evaluated at a few points along each axis, multiplied there by small matrix
/// products, and interpolated. Large tiles, F(4×4, 3×3), do the work of 144 multiplications by 36 at six points along each
/// axis; small ones, F(2×2, 3×3), that of 36 by 16 at four. The four are among the six, so both take the same weights, and 14
/// is 4 + 4 + 4 + 2 without waste. Small tiles round less than the direct sum, because they add up a ninth as many products;
/// large ones round about twice as much (docs/numerics.md).
/// </summary>
internal static unsafe class Winograd<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const int Points = WinogradShape.Points, SmallPoints = WinogradShape.SmallPoints;

    private static int Columns => RegisterTile<S, V>.Columns;

    /// <summary>Elements of one point's matrix of outputs.</summary>
    private static int OutputStride(in WinogradShape shape) => shape.BlockRows * shape.TilesW * Columns + 16;

    /// <summary>Elements of the scratch memory that <see cref="Forward"/> needs.</summary>
    public static int ScratchSize(in WinogradShape shape) =>
        shape.HalfwaySize + Points * Points * (shape.InputStride + OutputStride(shape)) + 4 * Points * S.Lanes;

    /// <summary>u = G w Gᵀ, times a factor per output channel; in double, so that a weight is rounded but once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void TransformWeights(in ConvShape shape, float* w, float* scale, float* u)
    {
        const int Line = 16; // floats of a cache line: written whole, because the points lie a multiple of the page apart
        int tap = shape.C * Columns; // elements from one tap, or point, to the next
        Vector256<double>* half = stackalloc Vector256<double>[Points * 3], full = stackalloc Vector256<double>[Points];
        float* lines = stackalloc float[Points * Points * Line];
        for (int panel = 0; panel < shape.K / Columns; panel++, w += 9 * tap, u += Points * Points * tap)
        {
            for (int line = 0; line < tap; line += Line)
            {
                for (int i = 0; i < Line; i += Vector128<float>.Count)
                {
                    float* g = w + line + i;
                    for (int s = 0; s < 3; s++, g += tap)
                    {
                        Evaluate(Widen(g), Widen(g + 3 * tap), Widen(g + 6 * tap), half + s, 3);
                    }

                    float* channel = scale + panel * Columns + (line + i) % Columns;
                    Vector256<double> factor = scale == null ? Vector256<double>.One : Widen(channel);
                    for (int point = 0; point < Points; point++)
                    {
                        Evaluate(half[point * 3] * factor, half[point * 3 + 1] * factor, half[point * 3 + 2] * factor, full, 1);
                        for (int j = 0; j < Points; j++)
                        {
                            Vector128.Narrow(full[j].GetLower(), full[j].GetUpper()).Store(lines + (point * Points + j) * Line + i);
                        }
                    }
                }

                for (int point = 0; point < Points * Points; point++)
                {
                    for (int i = 0; i < Line; i += S.Lanes)
                    {
                        S.Store(u + point * tap + line + i, S.Load(lines + point * Line + i));
                    }
                }
            }
        }
    }

    /// <summary>G g: a filter of three taps at 0, 1, −1, ∞, 2, −2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Evaluate(Vector256<double> g0, Vector256<double> g1, Vector256<double> g2, Vector256<double>* at, int step)
    {
        Vector256<double> ends = (g0 + g2) * (-1.0 / 6), middle = g1 * (-1.0 / 6);
        Vector256<double> outerEnds = (g0 + g2 * 4) * (1.0 / 24), outerMiddle = g1 * (1.0 / 12);
        at[0] = g0 * 0.25;
        at[step] = ends + middle;
        at[2 * step] = ends - middle;
        at[3 * step] = g2;
        at[4 * step] = outerEnds + outerMiddle;
        at[5 * step] = outerEnds - outerMiddle;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<double> Widen(float* p)
    {
        (Vector128<double> lower, Vector128<double> upper) = Vector128.Widen(Vector128.Load(p));
        return Vector256.Create(lower, upper);
    }

    /// <summary>a = x ∗ w, or with a shift a = max over the window of ReLU(x ∗ w + shift).</summary>
    public static void Forward(in WinogradShape shape, float* x, float* u, float* shift, int window, float* scratch, float* a, int aRow)
    {
        ConvShape conv = shape.Conv;
        int inputStride = shape.InputStride, outputStride = OutputStride(shape);
        int largeRows = shape.LargeTiles(shape.H), largeColumns = shape.LargeTiles(shape.W), columns = shape.TilesW;
        float* halfway = scratch, v = halfway + shape.HalfwaySize;
        float* m = v + Points * Points * inputStride, tile = m + Points * Points * outputStride;
        for (int block = 0; block < shape.TilesH; block += shape.BlockRows)
        {
            int end = Math.Min(block + shape.BlockRows, shape.TilesH), large = Math.Clamp(largeRows - block, 0, end - block);
            for (int row = block; row < end; row++)
            {
                InputRow(shape, x + shape.First(row, shape.H) * conv.PaddedW * conv.C, row < largeRows, row - block, halfway, v);
            }

            for (int panel = 0; panel < conv.K; panel += Columns)
            {
                for (int point = 0; point < Points * Points; point++)
                {
                    int rows = point / Points < SmallPoints ? end - block : large;
                    RegisterTile<S, V>.Multiply(
                        rows * (point % Points < SmallPoints ? columns : largeColumns), v + point * inputStride, conv.C, 1, 0,
                        u + (panel * Points * Points + point * Columns) * conv.C, Columns, 0, 1, conv.C,
                        m + point * outputStride, Columns, add: false);
                }

                for (int row = block; row < end; row++)
                {
                    int h = shape.First(row, shape.H);
                    OutputRow(
                        shape, m, row - block, row < largeRows, shape.H - h, shift == null ? null : shift + panel, window == 2, tile,
                        a + h / window * aRow + panel, aRow);
                }
            }
        }
    }

    /// <summary>v = Bᵀ d B for a row of tiles: first down the columns, then along the rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void InputRow(in WinogradShape shape, float* x, bool tall, int row, float* halfway, float* v)
    {
        int channels = shape.Conv.C, large = shape.LargeTiles(shape.W), tiles = shape.TilesW, stride = shape.InputStride;
        nint xRow = shape.Conv.PaddedW * channels, halfwayRow = shape.InputW * channels;
        for (int i = 0; i < halfwayRow; i += S.Lanes)
        {
            Input(tall, x + i, xRow, halfway + i, halfwayRow, halfway + i, halfwayRow);
        }

        for (int point = 0; point < (tall ? Points : SmallPoints); point++)
        {
            float* from = halfway + point * halfwayRow, to = v + point * Points * stride;
            float* shared = to + row * tiles * channels, inner = to + row * large * channels;
            for (int column = 0; column < tiles; column++, shared += channels, inner += channels)
            {
                bool wide = column < large;
                for (int c = 0; c < channels; c += S.Lanes)
                {
                    Input(wide, from + c, channels, shared + c, stride, inner + c, stride);
                }

                from += (wide ? 4 : 2) * channels;
            }
        }
    }

    /// <summary>Six values at six points, the last two in rows of their own; or four values at the four points of a small tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Input(bool large, float* d, nint step, float* t, nint tStep, float* inner, nint innerStep)
    {
        V d0 = S.Load(d), d1 = S.Load(d + step), d2 = S.Load(d + 2 * step), d3 = S.Load(d + 3 * step), four = S.Splat(4);
        if (!large)
        {
            S.Store(t, S.Multiply(S.Subtract(d0, d2), four)); // scaled to suit the weights of a large tile
            S.Store(t + tStep, S.Multiply(S.Add(d1, d2), S.Splat(-3)));
            S.Store(t + 2 * tStep, S.Multiply(S.Subtract(d1, d2), S.Splat(3)));
            S.Store(t + 3 * tStep, S.Subtract(d3, d1));
            return;
        }

        V two = S.Splat(2), minusTwo = S.Splat(-2), minusFour = S.Splat(-4), minusFive = S.Splat(-5);
        V d4 = S.Load(d + 4 * step), d5 = S.Load(d + 5 * step);
        S.Store(t, S.Fma(d0, four, S.Fma(d2, minusFive, d4)));
        V even = S.Fma(d2, minusFour, d4), odd = S.Fma(d1, minusFour, d3);
        S.Store(t + tStep, S.Add(even, odd));
        S.Store(t + 2 * tStep, S.Subtract(even, odd));
        S.Store(t + 3 * tStep, S.Fma(d1, four, S.Fma(d3, minusFive, d5)));
        even = S.Subtract(d4, d2);
        odd = S.Subtract(d3, d1);
        S.Store(inner + 4 * innerStep, S.Fma(odd, two, even));
        S.Store(inner + 5 * innerStep, S.Fma(odd, minusTwo, even));
    }

    /// <summary>y = Aᵀ m A for a row of tiles, one panel of channels; then shift, ReLU and pooling where there is a shift.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OutputRow(
        in WinogradShape shape, float* m, int row, bool tall, int rowsLeft, float* shift, bool pool, float* tile, float* a, int aRow)
    {
        int stride = OutputStride(shape), large = shape.LargeTiles(shape.W), tiles = shape.TilesW, channels = shape.Conv.K;
        float* shared = m + row * tiles * Columns, inner = m + row * large * Columns;
        float* end = tile + Math.Min(tall ? 4 : 2, rowsLeft) * Points * S.Lanes;
        for (int column = 0; column < tiles; column++, shared += Columns, inner += Columns)
        {
            bool wide = column < large;
            int left = shape.W - shape.First(column, shape.W); // outputs from here to the end of the row
            for (int lane = 0; lane < Columns; lane += S.Lanes)
            {
                for (int point = 0; point < SmallPoints; point++)
                {
                    OutputColumn(shared + point * stride + lane, Points * stride, tall, tile + point * S.Lanes);
                }

                for (int point = SmallPoints; wide && point < Points; point++)
                {
                    OutputColumn(inner + point * stride + lane, Points * stride, tall, tile + point * S.Lanes);
                }

                float* to = a + lane;
                V constant = shift == null ? default : S.Load(shift + lane);
                for (float* from = tile; from < end; from += (pool ? 2 : 1) * Points * S.Lanes, to += aRow)
                {
                    Interpolate(from, S.Lanes, wide, out V y0, out V y1, out V y2, out V y3);
                    if (pool)
                    {
                        Interpolate(from + Points * S.Lanes, S.Lanes, wide, out V z0, out V z1, out V z2, out V z3);
                        y0 = S.Max(S.Max(y0, y1), S.Max(z0, z1));
                        y1 = S.Max(S.Max(y2, y3), S.Max(z2, z3));
                    }

                    if (shift != null)
                    {
                        y0 = S.Max(default, S.Add(constant, y0));
                        y1 = S.Max(default, S.Add(constant, y1));
                        y2 = S.Max(default, S.Add(constant, y2));
                        y3 = S.Max(default, S.Add(constant, y3));
                    }

                    S.Store(to, y0);
                    if (pool ? wide : left > 1)
                    {
                        S.Store(to + channels, y1);
                    }

                    if (wide && !pool)
                    {
                        S.Store(to + 2 * channels, y2);
                        if (left > 3)
                        {
                            S.Store(to + 3 * channels, y3);
                        }
                    }
                }
            }

            a += (wide ? 4 : 2) / (pool ? 2 : 1) * channels;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void OutputColumn(float* m, nint step, bool tall, float* tile)
    {
        Interpolate(m, step, tall, out V y0, out V y1, out V y2, out V y3);
        S.Store(tile, y0);
        S.Store(tile + Points * S.Lanes, y1);
        if (tall)
        {
            S.Store(tile + 2 * Points * S.Lanes, y2);
            S.Store(tile + 3 * Points * S.Lanes, y3);
        }
    }

    /// <summary>Aᵀ m: values at the points to four outputs, or from the four points of a small tile to two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Interpolate(float* m, nint step, bool full, out V y0, out V y1, out V y2, out V y3)
    {
        V m1 = S.Load(m + step), m2 = S.Load(m + 2 * step), m3 = S.Load(m + 3 * step), sum = S.Add(m1, m2), difference = S.Subtract(m1, m2);
        y0 = S.Add(S.Load(m), sum);
        y1 = y2 = y3 = default;
        if (full)
        {
            V m4 = S.Load(m + 4 * step), m5 = S.Load(m + 5 * step), outerSum = S.Add(m4, m5), outerDifference = S.Subtract(m4, m5);
            y0 = S.Add(y0, outerSum);
            y1 = S.Fma(outerDifference, S.Splat(2), difference);
            y2 = S.Fma(outerSum, S.Splat(4), sum);
            y3 = S.Add(S.Fma(outerDifference, S.Splat(8), difference), m3);
        }
        else
        {
            y1 = S.Add(difference, m3);
        }
    }
}
