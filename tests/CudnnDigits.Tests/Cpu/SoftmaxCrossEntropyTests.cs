using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cpu;

/// <summary>The loss and its gradient against torch.nn.CrossEntropyLoss's definition, in double.</summary>
public class SoftmaxCrossEntropyTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(0.1)]
    [InlineData(0.9)]
    public void Loss_and_gradient_are_PyTorch_s(double smoothing)
    {
        Random random = new(3);
        float[] logits = [.. Enumerable.Range(0, 10).Select(_ => (float)(8 * random.NextDouble() - 4))], gradient = new float[10];
        for (int label = 0; label < 10; label++)
        {
            (double loss, bool correct) = SoftmaxCrossEntropy.Backward(logits, label, smoothing, 0.5, gradient);
            Assert.Equal(Loss(Array.ConvertAll(logits, z => (double)z)), loss, 1e-12);
            Assert.Equal(logits[label] == logits.Max(), correct);
            for (int i = 0; i < 10; i++)
            {
                Assert.Equal(0.5 * (Loss(Moved(i, 1e-4)) - Loss(Moved(i, -1e-4))) / 2e-4, gradient[i], 1e-6);
            }

            double[] Moved(int at, double by) => [.. logits.Select((z, i) => i == at ? z + by : z)];

            // (1 - smoothing) times the label's cross-entropy, and smoothing times the mean over the classes.
            double Loss(double[] z)
            {
                double[] minusLog = [.. z.Select(value => Math.Log(z.Sum(Math.Exp)) - value)];
                return (1 - smoothing) * minusLog[label] + smoothing * minusLog.Average();
            }
        }
    }
}
