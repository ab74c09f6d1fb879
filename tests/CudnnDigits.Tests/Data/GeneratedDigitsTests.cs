namespace CudnnDigits.Tests.Data;

public class GeneratedDigitsTests
{
    [Fact]
    public void Digits_are_normalised_as_MNIST_is()
    {
        DigitDataset data = GeneratedDigits.Create(500);
        for (int n = 0; n < data.Count; n++)
        {
            ReadOnlySpan<byte> image = data.Image(n);
            double mass = 0, x = 0, y = 0;
            int left = 28, right = -1, top = 28, bottom = -1;
            for (int i = 0; i < image.Length; i++)
            {
                mass += image[i];
                x += image[i] * (i % 28);
                y += image[i] * (i / 28);
                if (image[i] > 127)
                {
                    (left, right) = (Math.Min(left, i % 28), Math.Max(right, i % 28));
                    (top, bottom) = (Math.Min(top, i / 28), Math.Max(bottom, i / 28));
                }
            }

            Assert.InRange(mass / 255, 15, 300);
            Assert.InRange(x / mass, 13.2, 13.8);
            Assert.InRange(y / mass, 13.2, 13.8);
            Assert.InRange(Math.Max(right - left, bottom - top) + 1, 18, 20);
        }
    }

    [Fact]
    public void Digit_i_depends_on_seed_and_i_alone()
    {
        DigitDataset few = GeneratedDigits.Create(20, seed: 5), many = GeneratedDigits.Create(60, seed: 5),
        other = GeneratedDigits.Create(20, seed: 6);
        Assert.Equal(few.Pixels.ToArray(), many.Pixels[..few.Pixels.Length].ToArray());
        Assert.NotEqual(few.Pixels.ToArray(), other.Pixels.ToArray());
        Assert.Equal(Enumerable.Range(0, 20).Select(i => (byte)(i % 10)), few.Labels.ToArray());
    }

    /// <summary>docs/performance.md has the figure for more seeds; this is the floor that the project promises.</summary>
    [LongFact]
    public void Simple_trained_on_them_alone_reads_85_percent_of_real_digits()
    {
        DigitDataset real = SharedFiles.TrainingDigits, data = GeneratedDigits.Create();
        TrainingOptions options = TrainingOptions.For("simple") with { Validation = 0, Epochs = 4 };
        using ITrainingBackend backend =
            BackendFactory.Create("cpu", DigitNetworks.Simple, new BackendOptions(options.BatchSize, 0, options.Augmentation));
        TrainingState state = new(Initializer.Create(DigitNetworks.Simple, 0));
        new Trainer(backend, data, options, state).Run(TestContext.Current.CancellationToken);
        Assert.True(Metrics.Evaluate(backend, real, [.. Enumerable.Range(0, real.Count)]).Accuracy >= 0.85);
    }
}
