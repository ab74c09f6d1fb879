namespace CudnnDigits.Tests.Inference;

public class DigitReadingTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(23, seed: 4);

    [Fact]
    public void One_image_is_read_as_its_greatest_logit_says()
    {
        using DigitClassifier classifier = OnCpu();
        float[] logits = new float[10];
        for (int row = 0; row < Digits.Count; row++)
        {
            classifier.Predict(Digits.Image(row), logits);
            DigitReading reading = classifier.Read(Digits.Image(row));
            Assert.Equal(Array.IndexOf(logits, logits.Max()), reading.Digit);
            Assert.Equal(reading.Probabilities.Max(), reading.Probability);
            double sum = logits.Sum(logit => Math.Exp(logit));
            Compare.Close([.. reading.Probabilities], [.. logits.Select(logit => Math.Exp(logit) / sum)], 1e-6, "probabilities");
            (int digit, float probability) = reading;
            Assert.Equal((reading.Digit, reading.Probability), (digit, probability));
        }
    }

    [Fact]
    public void All_digits_of_a_set_are_read_as_each_of_them_is()
    {
        using DigitClassifier classifier = OnCpu();
        DigitReading[] readings = classifier.Read(Digits);
        Assert.Equal(Enumerable.Range(0, Digits.Count).Select(row => classifier.Read(Digits.Image(row))), readings);
        Assert.Equal(readings, classifier.Read(new DigitDataset("unlabelled", Digits.Pixels.ToArray(), null)));
        Assert.NotEqual(readings[0], readings[1]);
        Assert.Empty(classifier.Read(new DigitDataset("none", [], null)));
        Assert.Throws<ArgumentNullException>("data", () => classifier.Read((DigitDataset)null!));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(783)]
    [InlineData(785)]
    [InlineData(2 * 784)]
    public void An_image_of_other_than_784_pixels_is_refused(int pixels)
    {
        using DigitClassifier classifier = OnCpu();
        ArgumentException e = Assert.Throws<ArgumentException>("image", () => classifier.Read(new byte[pixels]));
        Assert.StartsWith($"the image has {pixels} pixels, expected 784: 28 rows of 28, a byte each", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_classifier_that_is_disposed_of_reads_nothing()
    {
        DigitClassifier classifier = OnCpu();
        classifier.Dispose();
        Assert.Throws<ObjectDisposedException>(() => classifier.Read(Digits.Image(0)));
    }

    [Fact]
    public void Logits_far_from_each_other_or_equal_give_probabilities()
    {
        DigitReading sure = DigitReading.FromLogits([-500, 500, 0, 0, 0, 0, 0, 0, 0, 0]), unsure = DigitReading.FromLogits(new float[10]);
        Assert.Equal((1, 1f, 0f), (sure.Digit, sure.Probability, sure.Probabilities[0]));
        Assert.Equal((0, 0.1f), (unsure.Digit, unsure.Probability));
        Assert.Equal("0 (0.1)", unsure.ToString());
        Assert.Equal("""{"Digit":0,"Probability":0.1,"Probabilities":[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]}""",
            JsonSerializer.Serialize(unsure));
    }

    [Fact]
    public void Ten_logits_that_are_numbers_make_a_reading_and_nothing_else_does()
    {
        Assert.Equal("an image has 10 logits, and 9 are given (Parameter 'logits')",
            Assert.Throws<ArgumentException>("logits", () => DigitReading.FromLogits(new float[9])).Message);
        Assert.Throws<ArgumentException>("logits", () => DigitReading.FromLogits([]));
        Assert.Throws<ArgumentException>("logits", () => DigitReading.FromLogits([0, 0, 0, float.NaN, 0, 0, 0, 0, 0, 0]));
        Assert.Throws<ArgumentException>("logits", () => DigitReading.FromLogits([0, 0, 0, 0, 0, 0, 0, 0, 0, float.PositiveInfinity]));
    }

    [Fact]
    public void A_reading_that_nobody_made_is_no_digits_and_breaks_nothing()
    {
        DigitReading none = default;
        Assert.Equal((0, 0f, 10), (none.Digit, none.Probability, none.Probabilities.Length));
        Assert.Equal(none, default);
        Assert.NotEqual(none, DigitReading.FromLogits(new float[10]));
        Assert.Equal(none.GetHashCode(), default(DigitReading).GetHashCode());
    }

    private static DigitClassifier OnCpu() =>
        new(Initializer.Create(DigitNetworks.Simple, 1), new ClassifierOptions { Device = "cpu", BatchSize = 4 });
}
