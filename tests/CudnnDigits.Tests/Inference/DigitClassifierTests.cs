using CudnnDigits.Cpu;

namespace CudnnDigits.Tests.Inference;

public class DigitClassifierTests
{
    private const int Count = 37;

    private static readonly DigitDataset Digits = GeneratedDigits.Create(Count, seed: 4);
    private static readonly NetworkWeights Simple = Initializer.Create(DigitNetworks.Simple, 1);

    private static ClassifierOptions OnCpu => new() { Device = "cpu" };

    public static TheoryData<string, int, int> NetworksBatchesThreads =>
        new MatrixTheoryData<string, int, int>(["simple", "improved"], [1, 7, 64], [1, 3]);

    [Theory]
    [MemberData(nameof(NetworksBatchesThreads))]
    public void Reads_as_the_training_backend_does_to_the_bit(string name, int batch, int threads)
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Find(name)!, 2);
        weights.Statistics.AsSpan().Fill(0.7f); // running statistics that are neither 0 nor 1
        using DigitClassifier classifier = new(weights, OnCpu with { BatchSize = batch, Threads = threads });
        float[] logits = new float[Count * DigitDataset.Classes];
        classifier.Predict(Digits.Pixels, logits);
        Assert.Equal(OfBackend(weights), logits);
        Assert.Equal(weights.Network, classifier.Network);
        Assert.StartsWith($"CPU, {threads} thread", classifier.Device, StringComparison.Ordinal);
        Assert.Null(classifier.WhyCpu);
    }

    [Fact]
    public void Reads_some_rows_of_a_dataset()
    {
        int[] rows = [36, 0, 5, 5, 17];
        float[] all = OfBackend(Simple), logits = new float[rows.Length * DigitDataset.Classes];
        using DigitClassifier classifier = new(Simple, OnCpu with { BatchSize = 2 });
        classifier.Predict(Digits, rows, logits);
        Assert.Equal(rows.SelectMany(row => all[(10 * row)..(10 * row + 10)]), logits);
        Metrics metrics = classifier.Evaluate(Digits, rows);
        Assert.Equal(rows.Count(row => Prediction.Best(all.AsSpan(10 * row, 10)) == Digits.Labels[row]) / 5.0, metrics.Accuracy, 1e-12);
        Assert.Throws<ArgumentException>(() => classifier.Predict(Digits, [0, 37], new float[20]));
        Assert.Throws<ArgumentException>(() => classifier.Predict(Digits, [0, -1], new float[20]));
        Assert.Throws<ArgumentException>(() => classifier.Predict(Digits, [0, 1], new float[30]));
        classifier.Predict(Digits, [], Span<float>.Empty);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(256)]
    [InlineData(128)]
    public void Reads_alike_at_every_vector_width(int bits)
    {
        float[] logits = new float[Count * DigitDataset.Classes], expected = OfBackend(Simple);
        using IClassifierDevice device = CpuDevice.CreateClassifier(Simple, OnCpu with { BatchSize = 8 }, bits);
        unsafe
        {
            fixed (byte* pixels = Digits.Pixels)
            {
                device.Predict(new ImageBatch((nint)pixels, Count), [], logits);
            }
        }

        Compare.Close(logits, Array.ConvertAll(expected, value => (double)value), 1e-5, "logits");
    }

    [Theory]
    [InlineData(784)]
    [InlineData(1000)]
    [InlineData(5)] // images that overlap
    [InlineData(0)] // the same image again and again
    public void Float_pixels_and_any_stride_give_the_bits_of_packed_bytes(int stride)
    {
        byte[] bytes = new byte[(Count - 1) * stride + DigitDataset.PixelCount];
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = Digits.Pixels[i % Digits.Pixels.Length];
        }

        float[] floats = Array.ConvertAll(bytes, value => value / 255f);
        byte[] packed = [.. Enumerable.Range(0, Count).SelectMany(n => bytes.AsSpan(n * stride, DigitDataset.PixelCount).ToArray())];
        float[] expected = new float[Count * DigitDataset.Classes], ofBytes = new float[expected.Length],
        ofFloats = new float[expected.Length];
        using DigitClassifier classifier = new(Simple, OnCpu with { BatchSize = 16 });
        classifier.Predict(packed, expected);
        classifier.Predict(bytes, ofBytes, stride);
        classifier.Predict(floats, ofFloats, stride);
        Assert.Equal(expected, ofBytes);
        Assert.Equal(expected, ofFloats);
    }

    [Fact]
    public void Allocates_nothing_after_the_first_call()
    {
        using DigitClassifier classifier = new(Simple, OnCpu with { BatchSize = 16, Threads = 2 });
        float[] logits = new float[Count * DigitDataset.Classes], floats = Array.ConvertAll(Digits.Pixels.ToArray(), value => value / 255f);
        Assert.Equal(0, Allocations.OfEveryCall(() =>
        {
            classifier.Predict(Digits.Pixels, logits);
            classifier.Predict(floats, logits);
        }));
    }

    [LongFact]
    public void Sixteen_threads_may_call_it_and_one_may_dispose_of_it()
    {
        float[] expected = OfBackend(Simple);
        using DigitClassifier classifier = new(Simple, OnCpu with { BatchSize = 16 });
        int right = 0, wrong = 0, refused = 0;
        using CountdownEvent under = new(16);
        Thread[] threads = [.. Enumerable.Range(0, 16).Select(_ => new Thread(() =>
        {
            const int Enough = 100_000; // far more than there is time for
            float[] logits = new float[expected.Length];
            for (int i = 0; i < Enough; i++)
            {
                try
                {
                    classifier.Predict(Digits.Pixels, logits);
                }
                catch (ObjectDisposedException)
                {
                    Interlocked.Increment(ref refused);
                    return;
                }

                Interlocked.Increment(ref logits.AsSpan().SequenceEqual(expected) ? ref right : ref wrong);
                if (i == 2)
                {
                    under.Signal();
                }
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        under.Wait(TestContext.Current.CancellationToken);
        classifier.Dispose();
        classifier.Dispose();
        Array.ForEach(threads, thread => thread.Join());
        Assert.Equal((0, 16), (wrong, refused));
        Assert.True(right >= 48, $"{right} right");
    }

    [Fact]
    public void Reads_from_a_file()
    {
        using TemporaryFolder folder = new();
        string path = Path.Combine(folder.Path, "model.safetensors");
        Checkpoint.SaveWeights(path, Simple, 0);
        using DigitClassifier classifier = DigitClassifier.Load(path, OnCpu);
        float[] logits = new float[Count * DigitDataset.Classes];
        classifier.Predict(Digits.Pixels, logits);
        Assert.Equal(OfBackend(Simple), logits);
        Assert.Throws<InputException>(() => DigitClassifier.Load(Path.Combine(folder.Path, "absent.safetensors")));
    }

    [Fact]
    public void Wrong_arguments_are_refused_and_nothing_is_written()
    {
        using DigitClassifier classifier = new(Simple, OnCpu);
        float[] logits = [.. Enumerable.Repeat(7f, 20)];
        Assert.Throws<ArgumentException>(() => classifier.Predict(new byte[784], logits)); // room for two
        Assert.Throws<ArgumentException>(() => classifier.Predict(new byte[2 * 784], logits, stride: 785));
        Assert.Throws<ArgumentException>(() => classifier.Predict(new byte[784], logits.AsSpan(0, 9)));
        Assert.Throws<ArgumentOutOfRangeException>(() => classifier.Predict(new byte[2 * 784], logits, stride: -784));
        Assert.Throws<ArgumentException>(() => classifier.Predict(new float[2 * 784 - 1], logits));
        Assert.All(logits, value => Assert.Equal(7f, value));
        classifier.Predict(ReadOnlySpan<byte>.Empty, []); // no image is no mistake

        Assert.Throws<InvalidOperationException>(() => classifier.Enqueue(new ImageBatch(4096, 1), 4096, 0));
        Assert.Throws<ArgumentException>(() => classifier.Enqueue(new ImageBatch(0, 1), 4096, 0));
        Assert.Throws<ArgumentException>(() => classifier.Enqueue(new ImageBatch(4096, 1), 4098, 0));
        Assert.Throws<ArgumentException>(() => classifier.Enqueue(new ImageBatch(4097, 1, PixelType.Float32), 4096, 0));
        Assert.Throws<ArgumentException>(() => classifier.Enqueue(new ImageBatch(4096, 1, (PixelType)9), 4096, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => classifier.Enqueue(new ImageBatch(4096, -1), 4096, 0));

        Assert.Throws<ArgumentOutOfRangeException>(() => new DigitClassifier(Simple, OnCpu with { BatchSize = 0 }));
        Assert.Throws<ArgumentException>(() => new DigitClassifier(Simple, OnCpu with { CudaContext = 4096 }));
        Assert.Throws<InputException>(() => new DigitClassifier(Simple, OnCpu with { Precision = Precision.Bf16 }));
        Assert.Contains("expected 0 to 1024",
            Assert.Throws<ArgumentException>(() => new DigitClassifier(Simple, OnCpu with { Threads = 1025 })).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new DigitClassifier(Simple, new ClassifierOptions { Device = "cuda", Threads = -1 }));
        Assert.Throws<ArgumentException>(() =>
            BackendFactory.Create("cpu", DigitNetworks.Simple, new BackendOptions(1, 0, AugmentationSpec.None, 1025)));
        Assert.Throws<InputException>(() => new DigitClassifier(Simple, new ClassifierOptions { Device = "tpu" }));
        Assert.Throws<InputException>(() =>
            new DigitClassifier(Simple, new ClassifierOptions { Device = "cuda" })); // WithoutGpu sees to that
    }

    private static float[] OfBackend(NetworkWeights weights)
    {
        float[] logits = new float[Count * DigitDataset.Classes];
        using ITrainingBackend backend = BackendFactory.Create("cpu", weights.Network, new BackendOptions(5, 0, AugmentationSpec.None, 2));
        backend.Load(weights, new OptimizerState(weights.Network));
        backend.Predict(Digits, [.. Enumerable.Range(0, Count)], logits);
        return logits;
    }
}
