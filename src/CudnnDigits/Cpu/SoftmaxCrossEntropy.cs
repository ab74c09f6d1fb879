using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>Cross-entropy of a softmax, one sample: loss = log Σ exp(z) − z[label], gradient = softmax(z) − one-hot(label).</summary>
internal static class SoftmaxCrossEntropy
{
    /// <summary>Loss and, scaled by 1/N, its gradient.</summary>
    /// <param name="logits">(classes) f32.</param>
    /// <param name="label">0 … classes − 1.</param>
    /// <param name="scale">1/N, so that the gradients of a batch sum to that of its mean loss.</param>
    /// <param name="dLogits">(classes) f32.</param>
    /// <returns>The loss, not scaled, and whether the greatest logit is the label's.</returns>
    public static (double Loss, bool Correct) Backward(ReadOnlySpan<float> logits, int label, double scale, Span<float> dLogits)
    {
        Span<double> exponentials = stackalloc double[logits.Length];
        int best = Prediction.Best(logits);
        double sum = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            exponentials[i] = Math.Exp((double)logits[i] - logits[best]);
            sum += exponentials[i];
        }

        for (int i = 0; i < logits.Length; i++)
        {
            dLogits[i] = (float)(scale * (exponentials[i] / sum - (i == label ? 1 : 0)));
        }

        return (Math.Log(sum) + logits[best] - logits[label], best == label);
    }
}
