using System.Runtime.CompilerServices;

namespace CudnnDigits.Cpu;

/// <summary>
/// What <see cref="Winograd{S, V}"/> needs to know of a 3×3 convolution. Along each axis the outputs are cut into tiles of 4,
/// and a last one of 2 where 4 does not divide them.
/// </summary>
/// <param name="Conv">Shapes of the convolution.</param>
/// <param name="H">Rows of the output that are wanted, even: pooling may leave an odd last one out.</param>
/// <param name="W">Columns of the output that are wanted, even.</param>
internal readonly record struct WinogradShape(ConvShape Conv, int H, int W)
{
    /// <summary>The shape, or null where the filter is not 3×3 or tiles do not cover the outputs that pooling reads.</summary>
    public static WinogradShape? For(in ConvShape conv, in PoolShape pool, int columns)
    {
        WinogradShape shape = new(conv, pool.OutH * pool.Window, pool.OutW * pool.Window);
        return conv.R == 3 && conv.C % columns == 0 && pool.Window <= 2 && shape.H % 2 == 0 && shape.W % 2 == 0 ? shape : null;
    }

    /// <summary>Points along one axis: 0, 1, −1, ∞ as in F(2, 3), then 2, −2.</summary>
    public const int Points = 6, EdgePoints = 4;

    /// <summary>Tiles that are transformed at a time: enough rows for a register tile, few enough to stay in the cache.</summary>
    private const int BlockTiles = 28;

    /// <summary>Tiles from top to bottom.</summary>
    public int TilesH => (H + 2) / 4;

    /// <summary>Tiles from left to right.</summary>
    public int TilesW => (W + 2) / 4;

    /// <summary>Rows of tiles in a block.</summary>
    public int BlockRows => Math.Clamp(BlockTiles / TilesW, 1, TilesH);

    /// <summary>Whether the tiles of a row, or of a column, all know this point: the last of two outputs knows only the first four.</summary>
    public static int TilesAt(int point, int outputs) => point < EdgePoints ? (outputs + 2) / 4 : outputs / 4;

    /// <summary>Elements of the transformed weights, (K / columns, 6, 6, C, columns).</summary>
    public int WeightSize => Conv.K * Conv.C * Points * Points;

    /// <summary>Elements of one point's matrix of inputs; the odd cache line keeps the 36 of them out of one cache set.</summary>
    public int InputStride => BlockRows * TilesW * Conv.C + 16;

    /// <summary>Elements of a row of tiles transformed along the first axis.</summary>
    public int HalfwaySize => Points * Conv.PaddedW * Conv.C;
}

/// <summary>
/// 3×3 convolution of one image by Winograd's minimal filtering, F(4×4, 3×3) and at the edges F(2×2, 3×3): inputs and
/// weights are evaluated at 6 points along each axis, multiplied there by 36 small matrix products, and interpolated (Lavin,
/// Gray, "Fast Algorithms for Convolutional Neural Networks", 2015). 36 multiplications do the work of 144. The points of
/// F(2, 3) are among those of F(4, 3), so edge tiles share its weights, and 14 is 4 + 4 + 4 + 2 without waste.
/// </summary>
internal static unsafe class Winograd<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const int Points = WinogradShape.Points, EdgePoints = WinogradShape.EdgePoints;

    private static int Columns => RegisterTile<S, V>.Columns;

    /// <summary>Elements of one point's matrix of outputs.</summary>
    private static int OutputStride(in WinogradShape shape) => shape.BlockRows * shape.TilesW * Columns + 16;

    /// <summary>Elements of the scratch memory that <see cref="Forward"/> needs.</summary>
    public static int ScratchSize(in WinogradShape shape) =>
        shape.HalfwaySize + Points * Points * (shape.InputStride + OutputStride(shape)) + 2 * Points * Points * S.Lanes;

    /// <summary>u = G w Gᵀ, times a factor per output channel.</summary>
    /// <param name="shape">Shapes.</param>
    /// <param name="w">Panels of weights, as <see cref="Conv2d{S, V}"/> has them.</param>
    /// <param name="scale">(K) f32.</param>
    /// <param name="u">(K / columns, 6, 6, C, columns) f32.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void TransformWeights(in WinogradShape shape, float* w, float* scale, float* u)
    {
        ConvShape conv = shape.Conv;
        Span<double> half = stackalloc double[Points * 3], full = stackalloc double[Points];
        for (int k = 0; k < conv.K; k++)
        {
            for (int c = 0; c < conv.C; c++)
            {
                for (int s = 0; s < 3; s++)
                {
                    Evaluate(At(0, s), At(1, s), At(2, s), full);
                    for (int i = 0; i < Points; i++)
                    {
                        half[i * 3 + s] = full[i];
                    }
                }

                for (int i = 0; i < Points; i++)
                {
                    Evaluate(half[i * 3], half[i * 3 + 1], half[i * 3 + 2], full);
                    for (int j = 0; j < Points; j++)
                    {
                        u[((k / Columns * Points * Points + i * Points + j) * conv.C + c) * Columns + k % Columns] = (float)(full[j] * scale[k]);
                    }
                }

                double At(int r, int s) => w[Conv2d<S, V>.WeightIndex(conv, k, c, r * 3 + s)];
            }
        }
    }

    /// <summary>G g: a filter of three taps at 0, 1, −1, ∞, 2, −2.</summary>
    private static void Evaluate(double g0, double g1, double g2, Span<double> at)
    {
        at[0] = g0 / 4;
        at[1] = -(g0 + g1 + g2) / 6;
        at[2] = -(g0 - g1 + g2) / 6;
        at[3] = g2;
        at[4] = (g0 + 2 * g1 + 4 * g2) / 24;
        at[5] = (g0 - 2 * g1 + 4 * g2) / 24;
    }

    /// <summary>a = max over the window of ReLU(x ∗ w + shift).</summary>
    /// <param name="shape">Shapes.</param>
    /// <param name="x">(PaddedH, PaddedW, C) f32, zeros in the padding.</param>
    /// <param name="u">Weights from <see cref="TransformWeights"/>.</param>
    /// <param name="shift">(K) f32.</param>
    /// <param name="window">1 or 2: max-pooling.</param>
    /// <param name="scratch"><see cref="ScratchSize"/> elements.</param>
    /// <param name="a">(H / window, W / window, K) f32, rows aRow elements apart.</param>
    /// <param name="aRow">Elements from one row of a to the next.</param>
    public static void Forward(in WinogradShape shape, float* x, float* u, float* shift, int window, float* scratch, float* a, int aRow)
    {
        ConvShape conv = shape.Conv;
        int inputStride = shape.InputStride, outputStride = OutputStride(shape);
        float* halfway = scratch, v = halfway + shape.HalfwaySize, m = v + Points * Points * inputStride, tile = m + Points * Points * outputStride;
        for (int first = 0; first < shape.TilesH; first += shape.BlockRows)
        {
            int outputs = Math.Min(shape.H - 4 * first, 4 * shape.BlockRows), rows = (outputs + 2) / 4;
            for (int row = 0; row < rows; row++)
            {
                InputRow(shape, x + 4 * (first + row) * conv.PaddedW * conv.C, outputs - 4 * row, row, halfway, v);
            }

            for (int panel = 0; panel < conv.K / Columns; panel++)
            {
                for (int point = 0; point < Points * Points; point++)
                {
                    int tiles = WinogradShape.TilesAt(point / Points, outputs) * WinogradShape.TilesAt(point % Points, shape.W);
                    RegisterTile<S, V>.Multiply(
                        tiles, v + point * inputStride, conv.C, 1, 0,
                        u + (panel * Points * Points + point) * conv.C * Columns, Columns, 0, 1, conv.C,
                        m + point * outputStride, Columns, accumulate: false);
                }

                for (int row = 0; row < rows; row++)
                {
                    float* to = a + 4 * (first + row) / window * aRow + panel * Columns;
                    OutputRow(shape, m, row, outputs - 4 * row, shift + panel * Columns, window == 2, tile, to, aRow);
                }
            }
        }
    }

    /// <summary>v = Bᵀ d B for a row of tiles: first down the columns, then along the rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void InputRow(in WinogradShape shape, float* x, int outputs, int row, float* halfway, float* v)
    {
        int channels = shape.Conv.C, width = (shape.W + 2) * channels, stride = shape.InputStride, points = outputs < 4 ? EdgePoints : Points;
        nint xRow = shape.Conv.PaddedW * channels;
        for (int i = 0; i < width; i += S.Lanes)
        {
            if (points == Points)
            {
                Input4(x + i, xRow, halfway + i, xRow, halfway + i, xRow);
            }
            else
            {
                Input2(x + i, xRow, halfway + i, xRow);
            }
        }

        int full = shape.W / 4, tiles = shape.TilesW;
        for (int point = 0; point < points; point++)
        {
            float* from = halfway + point * xRow, to = v + point * Points * stride;
            float* shared = to + row * tiles * channels, inner = to + row * full * channels;
            for (int column = 0; column < full; column++, from += 4 * channels, shared += channels, inner += channels)
            {
                for (int c = 0; c < channels; c += S.Lanes)
                {
                    Input4(from + c, channels, shared + c, stride, inner + c, stride);
                }
            }

            for (int c = 0; full < tiles && c < channels; c += S.Lanes)
            {
                Input2(from + c, channels, shared + c, stride);
            }
        }
    }

    /// <summary>Six values at six points; the two that edge tiles lack may lie in rows of their own.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Input4(float* d, nint step, float* t, nint tStep, float* inner, nint innerStep)
    {
        V two = S.Splat(2), four = S.Splat(4), minusTwo = S.Splat(-2), minusFour = S.Splat(-4), minusFive = S.Splat(-5);
        V d0 = S.Load(d), d1 = S.Load(d + step), d2 = S.Load(d + 2 * step), d3 = S.Load(d + 3 * step), d4 = S.Load(d + 4 * step), d5 = S.Load(d + 5 * step);
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

    /// <summary>Four values at the four points of an edge tile, scaled to suit the weights of the large one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Input2(float* d, nint step, float* t, nint tStep)
    {
        V three = S.Splat(3), four = S.Splat(4), minusThree = S.Splat(-3);
        V d0 = S.Load(d), d1 = S.Load(d + step), d2 = S.Load(d + 2 * step), d3 = S.Load(d + 3 * step);
        S.Store(t, S.Multiply(S.Subtract(d0, d2), four));
        S.Store(t + tStep, S.Multiply(S.Add(d1, d2), minusThree));
        S.Store(t + 2 * tStep, S.Multiply(S.Subtract(d1, d2), three));
        S.Store(t + 3 * tStep, S.Subtract(d3, d1));
    }

    /// <summary>y = Aᵀ m A for a row of tiles, one panel of channels; then shift, ReLU and pooling.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OutputRow(in WinogradShape shape, float* m, int row, int outputs, float* shift, bool pool, float* tile, float* a, int aRow)
    {
        int stride = OutputStride(shape), full = shape.W / 4, tiles = shape.TilesW, channels = shape.Conv.K, height = Math.Min(4, outputs);
        float* shared = m + row * tiles * Columns, inner = m + row * full * Columns;
        for (int column = 0; column < tiles; column++, shared += Columns, inner += Columns)
        {
            for (int lane = 0; lane < Columns; lane += S.Lanes)
            {
                for (int point = 0; point < EdgePoints; point++)
                {
                    OutputColumn(shared + point * stride + lane, Points * stride, height, tile + point * S.Lanes);
                }

                for (int point = EdgePoints; column < full && point < Points; point++)
                {
                    OutputColumn(inner + point * stride + lane, Points * stride, height, tile + point * S.Lanes);
                }

                V constant = S.Load(shift + lane);
                float* to = a + lane;
                if (pool)
                {
                    for (float* from = tile; from < tile + height * Points * S.Lanes; from += 2 * Points * S.Lanes, to += aRow)
                    {
                        Interpolate(from, S.Lanes, column < full, out V a0, out V a1, out V a2, out V a3);
                        Interpolate(from + Points * S.Lanes, S.Lanes, column < full, out V b0, out V b1, out V b2, out V b3);
                        S.Store(to, S.Max(default, S.Add(constant, S.Max(S.Max(a0, a1), S.Max(b0, b1)))));
                        if (column < full)
                        {
                            S.Store(to + channels, S.Max(default, S.Add(constant, S.Max(S.Max(a2, a3), S.Max(b2, b3)))));
                        }
                    }
                }
                else
                {
                    for (float* from = tile; from < tile + height * Points * S.Lanes; from += Points * S.Lanes, to += aRow)
                    {
                        Interpolate(from, S.Lanes, column < full, out V a0, out V a1, out V a2, out V a3);
                        S.Store(to, S.Max(default, S.Add(constant, a0)));
                        S.Store(to + channels, S.Max(default, S.Add(constant, a1)));
                        if (column < full)
                        {
                            S.Store(to + 2 * channels, S.Max(default, S.Add(constant, a2)));
                            S.Store(to + 3 * channels, S.Max(default, S.Add(constant, a3)));
                        }
                    }
                }
            }

            a += (pool ? 2 : 4) * channels;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void OutputColumn(float* m, nint step, int height, float* tile)
    {
        Interpolate(m, step, height == 4, out V y0, out V y1, out V y2, out V y3);
        S.Store(tile, y0);
        S.Store(tile + Points * S.Lanes, y1);
        if (height == 4)
        {
            S.Store(tile + 2 * Points * S.Lanes, y2);
            S.Store(tile + 3 * Points * S.Lanes, y3);
        }
    }

    /// <summary>Aᵀ m: values at the points to four outputs, or from the four points of an edge tile to two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Interpolate(float* m, nint step, bool whole, out V y0, out V y1, out V y2, out V y3)
    {
        V m1 = S.Load(m + step), m2 = S.Load(m + 2 * step), m3 = S.Load(m + 3 * step), sum = S.Add(m1, m2), difference = S.Subtract(m1, m2);
        y0 = S.Add(S.Load(m), sum);
        y1 = y2 = y3 = default;
        if (whole)
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
