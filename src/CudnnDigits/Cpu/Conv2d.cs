namespace CudnnDigits.Cpu;

/// <summary>A convolution, stride 1, of C × H × W to K channels, which are padded to whole tiles, as is C after the first layer.</summary>
internal readonly record struct ConvShape(int C, int H, int W, int K, int R, int Padding)
{
    public int PaddedH => H + 2 * Padding;

    public int PaddedW => W + 2 * Padding;

    public int OutH => PaddedH - R + 1;

    public int OutW => PaddedW - R + 1;

    /// <summary>Elements of one padded input, (PaddedH, PaddedW, C).</summary>
    public int InputSize => PaddedH * PaddedW * C;

    /// <summary>Elements of one output, (OutH, OutW, K).</summary>
    public int OutputSize => OutH * OutW * K;

    /// <summary>Elements of the weights, (K / columns, R, R, C, columns).</summary>
    public int WeightSize => K * R * R * C;

    /// <summary>Offset of the first value inside the padding.</summary>
    public int Interior => (Padding * PaddedW + Padding) * C;

    /// <summary>The convolution that takes output gradients to input gradients: K to C, with the kernel turned round.</summary>
    public ConvShape Transpose() => new(K, OutH, OutW, C, R, R - 1 - Padding);
}

/// <summary>
/// 2-D convolution of one image: x (PaddedH, PaddedW, C), zeros in the padding, to y (OutH, OutW, K). Weights lie in panels of one
/// tile's columns, (K / columns, R, R, C, columns), so that a tile reads its panel from end to end.
/// </summary>
internal static unsafe class Conv2d<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private static int Columns => RegisterTile<S, V>.Columns;

    /// <summary>y = x ∗ w: one tile covers a stretch of an output row × one panel of channels.</summary>
    public static void Forward(in ConvShape shape, float* x, float* w, float* y)
    {
        int rowSize = shape.PaddedW * shape.C, depth = shape.R * shape.C;
        for (int panel = 0; panel < shape.K / Columns; panel++)
        {
            for (int h = 0; h < shape.OutH; h++)
            {
                RegisterTile<S, V>.Multiply(
                    shape.OutW, x + h * rowSize, shape.C, 1, rowSize,
                    w + panel * shape.R * depth * Columns, Columns, depth * Columns, shape.R, depth,
                    y + h * shape.OutW * shape.K + panel * Columns, shape.K, add: false);
            }
        }
    }

    /// <summary>a = max over a window of 1 or 2 of ReLU(scale·(x ∗ w) + shift), for inference; rows of a are aRow elements apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Predict(in ConvShape shape, in PoolShape pool, float* x, float* w, float* scale, float* shift, float* a, int aRow)
    {
        int channels = shape.C, rowSize = shape.PaddedW * channels, depth = shape.R * channels;
        bool windows = pool.Window == 2; // four outputs stay in registers to the end: one window, or four neighbours in a row
        for (int panel = 0; panel < shape.K; panel += Columns, w += shape.R * depth * Columns)
        {
            V scale0 = S.Load(scale + panel), scale1 = S.Load(scale + panel + S.Lanes);
            V shift0 = S.Load(shift + panel), shift1 = S.Load(shift + panel + S.Lanes);
            for (int h = 0; h < pool.OutH; h++)
            {
                for (int column = 0; column < pool.OutW; column += windows ? 1 : 4)
                {
                    // Beyond the end of a row the last output is computed again.
                    int last = pool.OutW - 1 - column;
                    nint step1 = windows ? channels : Math.Min(1, last) * channels;
                    nint step2 = windows ? rowSize : Math.Min(2, last) * channels;
                    nint step3 = windows ? rowSize + channels : Math.Min(3, last) * channels;
                    float* row = x + h * pool.Window * rowSize + column * pool.Window * channels, b = w;
                    V c00 = default, c01 = default, c10 = default, c11 = default;
                    V c20 = default, c21 = default, c30 = default, c31 = default;
                    for (int r = 0; r < shape.R; r++, row += rowSize)
                    {
                        float* at = row;
                        for (int k = 0; k < depth; k++, at++, b += Columns)
                        {
                            V b0 = S.Load(b), b1 = S.Load(b + S.Lanes), value = S.Splat(*at);
                            c00 = S.Fma(value, b0, c00);
                            c01 = S.Fma(value, b1, c01);
                            value = S.Splat(at[step1]);
                            c10 = S.Fma(value, b0, c10);
                            c11 = S.Fma(value, b1, c11);
                            value = S.Splat(at[step2]);
                            c20 = S.Fma(value, b0, c20);
                            c21 = S.Fma(value, b1, c21);
                            value = S.Splat(at[step3]);
                            c30 = S.Fma(value, b0, c30);
                            c31 = S.Fma(value, b1, c31);
                        }
                    }

                    float* to = a + h * aRow + column * shape.K + panel;
                    c00 = S.Max(default, S.Fma(c00, scale0, shift0));
                    c01 = S.Max(default, S.Fma(c01, scale1, shift1));
                    c10 = S.Fma(c10, scale0, shift0);
                    c11 = S.Fma(c11, scale1, shift1);
                    c20 = S.Fma(c20, scale0, shift0);
                    c21 = S.Fma(c21, scale1, shift1);
                    c30 = S.Fma(c30, scale0, shift0);
                    c31 = S.Fma(c31, scale1, shift1);
                    if (windows)
                    {
                        S.Store(to, S.Max(S.Max(c00, c10), S.Max(c20, c30)));
                        S.Store(to + S.Lanes, S.Max(S.Max(c01, c11), S.Max(c21, c31)));
                        continue;
                    }

                    S.Store(to, c00);
                    S.Store(to + S.Lanes, c01);
                    to += Math.Min(1, last) * shape.K;
                    S.Store(to, S.Max(default, c10));
                    S.Store(to + S.Lanes, S.Max(default, c11));
                    to += last > 1 ? shape.K : 0;
                    S.Store(to, S.Max(default, c20));
                    S.Store(to + S.Lanes, S.Max(default, c21));
                    to += last > 2 ? shape.K : 0;
                    S.Store(to, S.Max(default, c30));
                    S.Store(to + S.Lanes, S.Max(default, c31));
                }
            }
        }
    }

    /// <summary>dW (+)= Σ over pixels of x · dY, which has R − 1 − Padding zeros on each side: rows of a tile are (s, c).</summary>
    public static void BackwardWeights(in ConvShape shape, float* x, float* dy, float* dw, bool accumulate)
    {
        ConvShape transposed = shape.Transpose();
        int rowSize = shape.PaddedW * shape.C, depth = shape.R * shape.C;
        for (int panel = 0; panel < shape.K / Columns; panel++)
        {
            for (int r = 0; r < shape.R; r++)
            {
                RegisterTile<S, V>.Multiply(
                    depth, x + r * rowSize, 1, shape.C, rowSize,
                    dy + transposed.Interior + panel * Columns, shape.K, transposed.PaddedW * shape.K, shape.OutH, shape.OutW,
                    dw + (panel * shape.R + r) * depth * Columns, Columns, accumulate);
            }
        }
    }

    /// <summary>Weights for dX = dY ∗ turned, a convolution of the transposed shape: with the window rotated by 180°.</summary>
    public static void TurnWeights(in ConvShape shape, float* w, float* turned)
    {
        int taps = shape.R * shape.R;
        ConvShape transposed = shape.Transpose();
        for (int k = 0; k < shape.K; k++)
        {
            for (int tap = 0; tap < taps; tap++)
            {
                float* from = w + WeightIndex(shape, k, 0, tap);
                for (int c = 0; c < shape.C; c++)
                {
                    turned[WeightIndex(transposed, c, k, taps - 1 - tap)] = from[c * Columns];
                }
            }
        }
    }

    /// <summary>Where the weight of output k, input c and tap r·R + s lies in the panels.</summary>
    public static int WeightIndex(in ConvShape shape, int k, int c, int tap) =>
        ((k / Columns * shape.R * shape.R + tap) * shape.C + c) * Columns + k % Columns;
}
