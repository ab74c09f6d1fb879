namespace CudnnDigits.Cpu;

/// <summary>Max-pooling in windows that do not overlap; a window of 1 is none. Channels are whole tiles.</summary>
internal readonly record struct PoolShape(int Channels, int H, int W, int Window)
{
    public int OutH => H / Window;

    public int OutW => W / Window;

    /// <summary>Elements of one output, (OutH, OutW, Channels).</summary>
    public int OutputSize => OutH * OutW * Channels;
}

/// <summary>
/// Everything between two convolutions, in one pass over the activation: y (H, W, channels) → scale·y + shift (batch norm or bias) → ReLU
/// → max-pooling → a (OutH, OutW, channels), rows aRow elements apart. The backward passes find the maximum again from y, which they need
/// anyway, so no index is stored; the first maximum in row-major order takes the gradient. None flows where the output is 0, which covers
/// ReLU and dropout at once: there a is the output after dropout, or null where nothing was dropped, and keepScale 1/(1 − dropout rate).
/// </summary>
internal static unsafe class MaxPool2d<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>a = max over the window of ReLU(scale·y + shift).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Forward(in PoolShape shape, float* y, float* scale, float* shift, float* a, int aRow)
    {
        int channels = shape.Channels, window = shape.Window, yRow = shape.W * channels, end = shape.OutW * channels;
        for (int h = 0; h < shape.OutH; h++, y += window * yRow, a += aRow)
        {
            for (int c = 0; c < channels; c += S.Lanes)
            {
                V factor = S.Load(scale + c), offset = S.Load(shift + c);
                float* corner = y + c;
                for (int at = c; at < end; at += channels, corner += window * channels)
                {
                    V max = default;
                    for (int i = 0; i < window; i++)
                    {
                        for (int j = 0; j < window; j++)
                        {
                            max = S.Max(max, S.Fma(S.Load(corner + i * yRow + j * channels), factor, offset));
                        }
                    }

                    S.Store(a + at, max);
                }
            }
        }
    }

    /// <summary>sums (2, channels): for each channel of one image Σ dZ and Σ dZ·(y − mean), where z = scale·y + shift.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void BackwardSums(
        in PoolShape shape, float* y, float* scale, float* shift, float* mean, float* a, int aRow, float* dA, float keepScale, float* sums)
    {
        int channels = shape.Channels, window = shape.Window, yRow = shape.W * channels, end = shape.OutW * channels;
        V zero = default, keep = S.Splat(keepScale);
        for (int c = 0; c < channels; c += S.Lanes)
        {
            V factor = S.Load(scale + c), offset = S.Load(shift + c), centre = S.Load(mean + c), sum = default, product = default;
            for (int h = 0; h < shape.OutH; h++)
            {
                V rowSum = default, rowProduct = default; // row by row: the error grows with H + W, not H·W
                float* corner = y + h * window * yRow + c, aHere = a + h * aRow, dAHere = dA + h * end;
                for (int at = c; at < end; at += channels, corner += window * channels)
                {
                    V best = S.Load(corner), max = S.Fma(best, factor, offset);
                    for (int i = 0; i < window; i++)
                    {
                        for (int j = i == 0 ? 1 : 0; j < window; j++)
                        {
                            V value = S.Load(corner + i * yRow + j * channels), z = S.Fma(value, factor, offset);
                            best = S.SelectGreater(z, max, value, best);
                            max = S.Max(z, max);
                        }
                    }

                    V dz = S.SelectGreater(a == null ? max : S.Load(aHere + at), zero, S.Multiply(S.Load(dAHere + at), keep), zero);
                    rowSum = S.Add(rowSum, dz);
                    rowProduct = S.Fma(dz, S.Subtract(best, centre), rowProduct);
                }

                sum = S.Add(sum, rowSum);
                product = S.Add(product, rowProduct);
            }

            S.Store(sums + c, sum);
            S.Store(sums + channels + c, product);
        }
    }

    /// <summary>dY = scale·dZ + slope·y + offset, rows dYRow elements apart; dZ is 0 except at a window's first maximum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Backward(
        in PoolShape shape, float* y, float* scale, float* shift, float* slope, float* offset, float* a, int aRow, float* dA,
        float keepScale, float* dY, int dYRow)
    {
        int channels = shape.Channels, yRow = shape.W * channels, window = shape.Window;
        V zero = default, keep = S.Splat(keepScale);
        for (int h = 0; h < shape.OutH; h++)
        {
            for (int w = 0; w < shape.OutW; w++)
            {
                int corner = h * window * yRow + w * window * channels, to = h * window * dYRow + w * window * channels;
                for (int c = 0; c < channels; c += S.Lanes)
                {
                    V factor = S.Load(scale + c), addend = S.Load(shift + c);
                    V gradientSlope = S.Load(slope + c), gradientOffset = S.Load(offset + c);
                    V max = S.Fma(S.Load(y + corner + c), factor, addend);
                    for (int i = 0; i < window; i++)
                    {
                        for (int j = i == 0 ? 1 : 0; j < window; j++)
                        {
                            max = S.Max(S.Fma(S.Load(y + corner + i * yRow + j * channels + c), factor, addend), max);
                        }
                    }

                    V dA0 = S.Multiply(S.Load(dA + (h * shape.OutW + w) * channels + c), keep);
                    V output = a == null ? max : S.Load(a + h * aRow + w * channels + c);
                    V left = S.Multiply(S.SelectGreater(output, zero, dA0, zero), factor);
                    for (int i = 0; i < window; i++)
                    {
                        for (int j = 0; j < window; j++)
                        {
                            V value = S.Load(y + corner + i * yRow + j * channels + c), z = S.Fma(value, factor, addend);
                            V dz = S.SelectGreater(max, z, zero, left);
                            left = S.SelectGreater(max, z, left, zero); // given away once: ties go to the first
                            S.Store(dY + to + i * dYRow + j * channels + c, S.Add(S.Fma(value, gradientSlope, gradientOffset), dz));
                        }
                    }
                }
            }
        }

        BackwardOutsideWindows(shape, y, slope, offset, dY, dYRow);
    }

    /// <summary>Odd rows and columns that no window covers: their dZ is 0.</summary>
    private static void BackwardOutsideWindows(in PoolShape shape, float* y, float* slope, float* offset, float* dY, int dYRow)
    {
        int channels = shape.Channels, coveredH = shape.OutH * shape.Window, coveredW = shape.OutW * shape.Window;
        for (int h = 0; h < shape.H; h++)
        {
            for (int w = h < coveredH ? coveredW : 0; w < shape.W; w++)
            {
                for (int c = 0; c < channels; c += S.Lanes)
                {
                    V value = S.Load(y + (h * shape.W + w) * channels + c);
                    S.Store(dY + h * dYRow + w * channels + c, S.Fma(value, S.Load(slope + c), S.Load(offset + c)));
                }
            }
        }
    }
}
