using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>
/// Cross-entropy of a softmax, one sample, with label smoothing ε as torch.nn.CrossEntropyLoss defines it (Szegedy et al. 2016): the
/// target is (1 − ε) · one-hot(label) + ε / classes, the loss log Σ exp(z) − Σ target · z, its gradient softmax(z) − target.
/// </summary>
internal static class SoftmaxCrossEntropy
{
    /// <summary>The loss, its gradient times scale, and whether the greatest logit is the label's.</summary>
    public static (double Loss, bool Correct) Backward(
        ReadOnlySpan<float> logits, int label, double smoothing, double scale, Span<float> dLogits)
    {
        Span<double> exponentials = stackalloc double[logits.Length];
        int best = Prediction.Best(logits);
        double sum = 0, apart = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            exponentials[i] = Math.Exp((double)logits[i] - logits[best]);
            sum += exponentials[i];
            apart += (double)logits[label] - logits[i];
        }

        for (int i = 0; i < logits.Length; i++)
        {
            double target = (i == label ? 1 - smoothing : 0) + smoothing / logits.Length;
            dLogits[i] = (float)(scale * (exponentials[i] / sum - target));
        }

        return (Math.Log(sum) + logits[best] - logits[label] + smoothing * apart / logits.Length, best == label);
    }
}
