using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>The step of <see cref="OptimizerSpec"/>: bias-corrected, ε outside the root.</summary>
internal static unsafe class Adam<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    /// <summary>Updates a stretch of the flat buffers, in whole vectors; m and v are the moments, and steps count from 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Update(int count, float* w, float* dw, float* m, float* v, OptimizerSpec spec, float learningRate, long step)
    {
        V stepSize = S.Splat((float)(-learningRate / (1 - Math.Pow(spec.Beta1, step))));
        V rootScale = S.Splat((float)(1 / Math.Sqrt(1 - Math.Pow(spec.Beta2, step))));
        V weightScale = S.Splat((float)(1 - learningRate * spec.WeightDecay));
        V beta1 = S.Splat((float)spec.Beta1), beta2 = S.Splat((float)spec.Beta2);
        V rest1 = S.Splat((float)(1 - spec.Beta1)), rest2 = S.Splat((float)(1 - spec.Beta2));
        V epsilon = S.Splat((float)spec.Epsilon);
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
