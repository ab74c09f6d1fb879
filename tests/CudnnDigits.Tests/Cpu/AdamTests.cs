using System.Runtime.Intrinsics;
using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Cpu;

/// <summary>The optimizer's step. Golden references hold plain Adam to PyTorch's; this is about weight decay.</summary>
public unsafe class AdamTests
{
    [Theory]
    [InlineData(0, 0.9, 0.999, 1e-8)]
    [InlineData(0.1, 0.9, 0.999, 1e-8)]
    [InlineData(30, 0.9, 0.999, 1e-8)]
    [InlineData(0.1, 0, 0.5, 0.1)]
    public void Steps_are_those_of_AdamW_in_double(double weightDecay, double beta1, double beta2, double epsilon)
    {
        OptimizerSpec spec = new() { WeightDecay = weightDecay, Beta1 = beta1, Beta2 = beta2, Epsilon = epsilon };
        const int Count = 64;
        const float Rate = 3e-3f;
        Random random = new(1);
        float[] w = [.. Enumerable.Range(0, Count).Select(_ => (float)random.NextDouble() - 0.5f)], dw = new float[Count],
        m = new float[Count], v = new float[Count];
        double[] expected = Array.ConvertAll(w, value => (double)value), first = new double[Count], second = new double[Count];
        for (int step = 1; step <= 5; step++)
        {
            for (int i = 0; i < Count; i++)
            {
                dw[i] = (float)random.NextDouble() - 0.5f;
                (first[i], second[i]) = (beta1 * first[i] + (1 - beta1) * dw[i], beta2 * second[i] + (1 - beta2) * dw[i] * dw[i]);
                expected[i] -= Rate * weightDecay * expected[i];
                expected[i] -= Rate * (first[i] / (1 - Math.Pow(beta1, step))) / (Math.Sqrt(second[i] / (1 - Math.Pow(beta2, step)))
                    + epsilon);
            }

            fixed (float* pw = w, pdw = dw, pm = m, pv = v)
            {
                Adam<Simd256, Vector256<float>>.Update(Count, pw, pdw, pm, pv, spec, Rate, step);
            }
        }

        Assert.All(expected.Zip(w), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
    }

    [Fact]
    public void What_is_no_weight_decay_is_refused()
    {
        DigitDataset data = GeneratedDigits.Create(20);
        foreach (double wrong in new[] { -0.1, double.NaN, double.PositiveInfinity })
        {
            TrainingOptions options = TrainingOptions.For("simple") with { Optimizer = new() { WeightDecay = wrong } };
            using ITrainingBackend backend =
                BackendFactory.Create("cpu", options.CreateNetwork(),
                new BackendOptions(options with { Optimizer = new() { WeightDecay = 0 } }));
            ArgumentException e =
                Assert.Throws<ArgumentException>(() =>
                new Trainer(backend, data, options, new TrainingState(Initializer.Create(backend.Network, 0))));
            Assert.Contains("WeightDecay", e.Message, StringComparison.Ordinal);
        }
    }
}
