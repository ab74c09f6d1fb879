namespace CudnnDigits.Cpu;

/// <summary>Shapes of one convolution, stride 1, on channels-last data. K (and C, but for the first layer) is padded to whole tiles.</summary>
/// <param name="C">Input channels.</param>
/// <param name="H">Input height, without padding.</param>
/// <param name="W">Input width, without padding.</param>
/// <param name="K">Output channels.</param>
/// <param name="R">Height and width of the kernel.</param>
/// <param name="Padding">Zeros on each side.</param>
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
    public ConvShape Transposed => new(K, OutH, OutW, C, R, R - 1 - Padding);
}

/// <summary>
/// 2-D convolution of one image, channels last. Weights lie in panels of one tile's columns: (K / columns, R, S, C, columns),
/// so that a tile reads its panel from end to end.
/// </summary>
internal static unsafe class Conv2d<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private static int Columns => RegisterTile<S, V>.Columns;

    /// <summary>y = x ∗ w: one tile covers a stretch of an output row × one panel of channels.</summary>
    /// <param name="shape">Shapes.</param>
    /// <param name="x">(PaddedH, PaddedW, C) f32, zeros in the padding.</param>
    /// <param name="w">Panels of weights.</param>
    /// <param name="y">(OutH, OutW, K) f32.</param>
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
                    y + h * shape.OutW * shape.K + panel * Columns, shape.K, accumulate: false);
            }
        }
    }

    /// <summary>dX = dY ∗ turned weights, which is a forward pass of the transposed shape.</summary>
    /// <param name="shape">Shapes of the forward pass.</param>
    /// <param name="dy">dY with R − 1 − Padding zeros on each side, (…, …, K) f32.</param>
    /// <param name="turned">Weights from <see cref="TurnWeights"/>.</param>
    /// <param name="dx">(H, W, C) f32.</param>
    public static void BackwardData(in ConvShape shape, float* dy, float* turned, float* dx) => Forward(shape.Transposed, dy, turned, dx);

    /// <summary>dW (+)= Σ over pixels of x · dY: rows of a tile are (s, c), summed along the rows of the picture.</summary>
    /// <param name="shape">Shapes of the forward pass.</param>
    /// <param name="x">(PaddedH, PaddedW, C) f32.</param>
    /// <param name="dy">dY with R − 1 − Padding zeros on each side.</param>
    /// <param name="dw">Panels of weight gradients.</param>
    /// <param name="accumulate">False overwrites dW.</param>
    public static void BackwardWeights(in ConvShape shape, float* x, float* dy, float* dw, bool accumulate)
    {
        ConvShape transposed = shape.Transposed;
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

    /// <summary>Weights for <see cref="BackwardData"/>: (C / columns, R, S, K, columns), the window turned by 180°.</summary>
    public static void TurnWeights(in ConvShape shape, float* w, float* turned)
    {
        int taps = shape.R * shape.R;
        for (int k = 0; k < shape.K; k++)
        {
            for (int tap = 0; tap < taps; tap++)
            {
                float* from = w + WeightIndex(shape, k, 0, tap);
                for (int c = 0; c < shape.C; c++)
                {
                    turned[WeightIndex(shape.Transposed, c, k, taps - 1 - tap)] = from[c * Columns];
                }
            }
        }
    }

    /// <summary>Where the weight of output k, input c and tap r·R + s lies in the panels.</summary>
    public static int WeightIndex(in ConvShape shape, int k, int c, int tap) =>
        ((k / Columns * shape.R * shape.R + tap) * shape.C + c) * Columns + k % Columns;
}
