namespace CudnnDigits.Cpu;

/// <summary>Shapes of a dense layer: In and Out are padded to whole tiles where the layer before or after needs it.</summary>
internal readonly record struct DenseShape(int In, int Out)
{
    public int WeightSize => In * Out;
}

/// <summary>
/// Dense layer on a batch. Weights lie in panels of one tile's columns, (Out / columns, In, columns). Each method does one
/// item of the work, so that items can go to whichever worker is free.
/// </summary>
internal static unsafe class Dense<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Rows of a batch in one forward item.</summary>
    private const int ForwardRows = 14;

    /// <summary>Input features in one backward item: enough work to hand out, and few enough to share out evenly.</summary>
    private const int BackwardRows = 112;

    private static int Columns => RegisterTile<S, V>.Columns;

    /// <summary>Items of <see cref="Forward"/> for a batch.</summary>
    public static int ForwardItems(in DenseShape shape, int batch) =>
        batch == 1 ? (shape.Out / Columns + 1) / 2 : Stretches(batch) * (shape.Out / Columns);

    /// <summary>Items of <see cref="Backward"/>.</summary>
    public static int BackwardItems(in DenseShape shape) => (shape.In + BackwardRows - 1) / BackwardRows;

    /// <summary>y (N, Out) = x (N, In) · Wᵀ + b, then ReLU where it follows: one stretch of the batch × one panel.</summary>
    public static void Forward(int item, in DenseShape shape, int batch, float* x, float* w, float* bias, bool relu, float* y)
    {
        if (batch == 1)
        {
            ForwardRow(shape, 2 * item, x, w, y);
            AddBias(Math.Min(2 * Columns, shape.Out - 2 * item * Columns), bias + 2 * item * Columns, relu, y + 2 * item * Columns);
            return;
        }

        int stretches = Stretches(batch), column = item / stretches * Columns;
        int first = item % stretches * batch / stretches, last = (item % stretches + 1) * batch / stretches;
        RegisterTile<S, V>.Multiply(
            last - first, x + (nint)first * shape.In, shape.In, 1, 0,
            w + (nint)column * shape.In, Columns, 0, 1, shape.In,
            y + first * shape.Out + column, shape.Out, add: false);
        for (int n = first; n < last; n++)
        {
            AddBias(Columns, bias + column, relu, y + n * shape.Out + column);
        }
    }

    /// <summary>One sample × two panels: four sums, in the tile's order, so that one addition waits less for another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ForwardRow(in DenseShape shape, int panel, float* x, float* w, float* y)
    {
        bool pair = panel + 1 < shape.Out / Columns;
        float* w0 = w + (nint)panel * shape.In * Columns, w1 = pair ? w0 + (nint)shape.In * Columns : w0;
        V sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        for (int i = 0; i < shape.In; i++, w0 += Columns, w1 += Columns)
        {
            V value = S.Splat(x[i]);
            sum0 = S.Fma(value, S.Load(w0), sum0);
            sum1 = S.Fma(value, S.Load(w0 + S.Lanes), sum1);
            sum2 = S.Fma(value, S.Load(w1), sum2);
            sum3 = S.Fma(value, S.Load(w1 + S.Lanes), sum3);
        }

        y += panel * Columns;
        S.Store(y, sum0);
        S.Store(y + S.Lanes, sum1);
        if (pair)
        {
            S.Store(y + Columns, sum2);
            S.Store(y + Columns + S.Lanes, sum3);
        }
    }

    /// <summary>dW = dYᵀ X and, unless dx is null, dX = dY W of some inputs; dyTransposed is (Out, paddedBatch), 0 from N on.</summary>
    public static void Backward(
        int item, in DenseShape shape, int batch, float* x, float* w, float* dy, float* dyTransposed, int paddedBatch, float* dw, float* dx)
    {
        int first = item * BackwardRows, end = Math.Min(first + BackwardRows, shape.In);
        for (int panel = 0; panel < shape.Out / Columns; panel++)
        {
            RegisterTile<S, V>.Multiply(
                end - first, x + first, 1, shape.In, 0,
                dy + panel * Columns, shape.Out, 0, 1, batch,
                dw + ((nint)panel * shape.In + first) * Columns, Columns, add: false);
        }

        if (dx == null)
        {
            return;
        }

        // dXᵀ = W dYᵀ, because W's panels can be read along Out but not along In; then turned back, tile by tile.
        float* tile = stackalloc float[BackwardRows * Columns];
        for (int n = 0; n < batch; n += Columns)
        {
            RegisterTile<S, V>.Multiply(
                end - first, w + first * Columns, Columns, 1, (nint)shape.In * Columns,
                dyTransposed + n, paddedBatch, (nint)Columns * paddedBatch, shape.Out / Columns, Columns,
                tile, Columns, add: false);
            for (int column = 0; column < Math.Min(Columns, batch - n); column++)
            {
                float* to = dx + (nint)(n + column) * shape.In + first;
                for (int row = 0; row < end - first; row++)
                {
                    to[row] = tile[row * Columns + column];
                }
            }
        }
    }

    /// <summary>dY where the layer's output is above 0 (ReLU and dropout at once), for one sample, in place.</summary>
    public static void Mask(in DenseShape shape, float* y, float* dy, float keepScale)
    {
        V zero = default, keep = S.Splat(keepScale);
        for (int i = 0; i < shape.Out; i += S.Lanes)
        {
            S.Store(dy + i, S.SelectGreater(S.Load(y + i), zero, S.Multiply(S.Load(dy + i), keep), zero));
        }
    }

    /// <summary>dB = Σ over the batch of dY.</summary>
    public static void BackwardBias(in DenseShape shape, int batch, float* dy, float* db)
    {
        for (int i = 0; i < shape.Out; i += S.Lanes)
        {
            V sum = default;
            for (int n = 0; n < batch; n++)
            {
                sum = S.Add(sum, S.Load(dy + n * shape.Out + i));
            }

            S.Store(db + i, sum);
        }
    }

    private static void AddBias(int count, float* bias, bool relu, float* y)
    {
        for (int i = 0; i < count; i += S.Lanes)
        {
            V value = S.Add(S.Load(y + i), S.Load(bias + i));
            S.Store(y + i, relu ? S.Max(default, value) : value);
        }
    }

    /// <summary>Where the weight of output o and input i lies in the panels.</summary>
    public static int WeightIndex(in DenseShape shape, int o, int i) => (o / Columns * shape.In + i) * Columns + o % Columns;

    private static int Stretches(int batch) => (batch + ForwardRows - 1) / ForwardRows;
}
