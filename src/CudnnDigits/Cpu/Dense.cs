namespace CudnnDigits.Cpu;

/// <summary>Shapes of a dense layer: In and Out are padded to whole tiles where the layer before or after needs it.</summary>
/// <param name="In">Input features.</param>
/// <param name="Out">Output features, whole tiles.</param>
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
    public static int ForwardItems(in DenseShape shape, int batch) => (batch + ForwardRows - 1) / ForwardRows * (shape.Out / Columns);

    /// <summary>Items of <see cref="Backward"/>.</summary>
    public static int BackwardItems(in DenseShape shape) => (shape.In + BackwardRows - 1) / BackwardRows;

    /// <summary>y = x Wᵀ, without the bias: one stretch of the batch × one panel.</summary>
    /// <param name="item">Which part, 0 … ForwardItems − 1.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="batch">N.</param>
    /// <param name="x">(N, In) f32.</param>
    /// <param name="w">Panels of weights.</param>
    /// <param name="y">(N, Out) f32.</param>
    public static void Forward(int item, in DenseShape shape, int batch, float* x, float* w, float* y)
    {
        int stretches = (batch + ForwardRows - 1) / ForwardRows, panel = item / stretches;
        int first = item % stretches * batch / stretches, last = (item % stretches + 1) * batch / stretches;
        RegisterTile<S, V>.Multiply(
            last - first, x + (nint)first * shape.In, shape.In, 1, 0,
            w + (nint)panel * shape.In * Columns, Columns, 0, 1, shape.In,
            y + first * shape.Out + panel * Columns, shape.Out, accumulate: false);
    }

    /// <summary>dW = dYᵀ X and dX = dY W for one stretch of the input features.</summary>
    /// <param name="item">Which part, 0 … BackwardItems − 1.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="batch">N.</param>
    /// <param name="x">(N, In) f32.</param>
    /// <param name="w">Panels of weights.</param>
    /// <param name="dy">(N, Out) f32.</param>
    /// <param name="dyTransposed">(Out, paddedBatch) f32, zeros from N on.</param>
    /// <param name="paddedBatch">N in whole tiles.</param>
    /// <param name="dw">Panels of weight gradients.</param>
    /// <param name="dx">(N, In) f32.</param>
    public static void Backward(
        int item, in DenseShape shape, int batch, float* x, float* w, float* dy, float* dyTransposed, int paddedBatch, float* dw, float* dx)
    {
        int first = item * BackwardRows, end = Math.Min(first + BackwardRows, shape.In);
        for (int panel = 0; panel < shape.Out / Columns; panel++)
        {
            RegisterTile<S, V>.Multiply(
                end - first, x + first, 1, shape.In, 0,
                dy + panel * Columns, shape.Out, 0, 1, batch,
                dw + ((nint)panel * shape.In + first) * Columns, Columns, accumulate: false);
        }

        // dXᵀ = W dYᵀ, because W's panels can be read along Out but not along In; then turned back, tile by tile.
        float* tile = stackalloc float[BackwardRows * Columns];
        for (int n = 0; n < batch; n += Columns)
        {
            RegisterTile<S, V>.Multiply(
                end - first, w + first * Columns, Columns, 1, (nint)shape.In * Columns,
                dyTransposed + n, paddedBatch, (nint)Columns * paddedBatch, shape.Out / Columns, Columns,
                tile, Columns, accumulate: false);
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

    /// <summary>y + b, then ReLU unless the layer is the last, for one sample.</summary>
    public static void AddBias(in DenseShape shape, float* y, float* bias, bool relu)
    {
        for (int i = 0; i < shape.Out; i += S.Lanes)
        {
            V value = S.Add(S.Load(y + i), S.Load(bias + i));
            S.Store(y + i, relu ? S.Max(default, value) : value);
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
}
