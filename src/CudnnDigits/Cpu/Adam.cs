namespace CudnnDigits.Cpu;

/// <summary>
/// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019) as torch.optim.AdamW: β 0.9 and 0.999, ε 1e-8
/// outside the root, bias-corrected.
/// </summary>
internal static unsafe class Adam<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const double Beta1 = 0.9, Beta2 = 0.999;
    private const float Epsilon = 1e-8f;

    /// <summary>Updates a stretch of the flat buffers; the count is rounded up to whole vectors.</summary>
    /// <param name="count">Elements.</param>
    /// <param name="w">Parameters.</param>
    /// <param name="dw">Gradients.</param>
    /// <param name="m">First moments.</param>
    /// <param name="v">Second moments.</param>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="weightDecay">Weight decay, λ: besides, every parameter loses its λ · learningRate-th part.</param>
    /// <param name="step">Step, counted from 1.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Update(int count, float* w, float* dw, float* m, float* v, float learningRate, double weightDecay, long step)
    {
        V stepSize = S.Splat((float)(-learningRate / (1 - Math.Pow(Beta1, step))));
        V rootScale = S.Splat((float)(1 / Math.Sqrt(1 - Math.Pow(Beta2, step))));
        V weightScale = S.Splat((float)(1 - learningRate * weightDecay));
        V beta1 = S.Splat((float)Beta1), beta2 = S.Splat((float)Beta2), rest1 = S.Splat((float)(1 - Beta1)), rest2 = S.Splat((float)(1 - Beta2));
        V epsilon = S.Splat(Epsilon);
        for (int i = 0; i < count; i += S.Lanes)
        {
            V g = S.Load(dw + i);
            V first = S.Fma(S.Load(m + i), beta1, S.Multiply(g, rest1));
            V second = S.Fma(S.Load(v + i), beta2, S.Multiply(S.Multiply(g, rest2), g));
            S.Store(m + i, first);
            S.Store(v + i, second);
            V denominator = S.Fma(S.Sqrt(second), rootScale, epsilon);
            S.Store(w + i, S.Fma(stepSize, S.Divide(first, denominator), S.Multiply(S.Load(w + i), weightScale)));
        }
    }
}
