namespace CudnnDigits.Tests.Api;

/// <summary>Names, numbers and arrays that cannot be are refused with the parameter's name and what is expected.</summary>
public class NonsenseTests
{
    [Fact]
    public void Pixels_and_labels_that_are_no_digits()
    {
        Assert.Equal("785 pixels are no whole number of digits of 784 pixels (Parameter 'pixels')",
            Assert.Throws<ArgumentException>("pixels", () => new DigitDataset("d", new byte[785], null)).Message);
        Assert.Equal("1 labels for 2 digits, expected one for each (Parameter 'labels')",
            Assert.Throws<ArgumentException>("labels", () => new DigitDataset("d", new byte[2 * 784], [1])).Message);
        Assert.Equal("label 1 (from 0) is 10, expected a digit 0 to 9 (Parameter 'labels')",
            Assert.Throws<ArgumentException>("labels", () => new DigitDataset("d", new byte[2 * 784], [1, 10])).Message);
        Assert.Throws<ArgumentNullException>("pixels", () => new DigitDataset("d", null!, null));
        Assert.Throws<ArgumentNullException>("name", () => new DigitDataset(null!, [], null));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(2)]
    [InlineData(int.MaxValue)]
    [InlineData(int.MinValue)]
    public void A_row_that_there_is_not(int row)
    {
        DigitDataset data = GeneratedDigits.Create(2);
        Assert.StartsWith("there are 2 digits, counted from 0",
            Assert.Throws<ArgumentOutOfRangeException>(nameof(row), () => data.Image(row)).Message, StringComparison.Ordinal);
        using DigitClassifier classifier = OnCpu();
        Assert.Throws<ArgumentException>("rows", () => classifier.Evaluate(data, [row]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(int.MaxValue)]
    public void As_many_digits_as_cannot_be_drawn(int count) =>
        Assert.Throws<ArgumentOutOfRangeException>(nameof(count), () => GeneratedDigits.Create(count));

    [Fact]
    public void Files_that_are_no_names()
    {
        Assert.Throws<ArgumentNullException>("path", () => DataSource.Open(null!, DataPart.Training));
        Assert.Throws<InputException>(() => DataSource.Open("", DataPart.Training));
        Assert.Throws<ArgumentNullException>("path", () => DigitClassifier.Load(null!));
        Assert.Throws<InputException>(() => DigitClassifier.Load(""));
        Assert.Throws<ArgumentNullException>("path", () => DigitTrainer.LoadWeights(null!));
    }

    [Fact]
    public void A_tensor_that_the_network_has_not()
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 1);
        Assert.Equal("simple", weights.Model);
        Assert.Equal(128 * 1600, weights["fc1.weight"].Length);
        string message = Assert.Throws<ArgumentException>("name", () => weights["fc3.weight"].Length).Message;
        Assert.StartsWith("there is no tensor 'fc3.weight'; there are conv1.weight, conv1.bias, conv2.weight,", message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_that_are_no_numbers()
    {
        NetworkWeights weights = Initializer.Create(DigitNetworks.Simple, 1);
        weights["fc1.weight"][7] = float.NaN;
        Assert.StartsWith("a weight is NaN or infinite, expected numbers",
            Assert.Throws<ArgumentException>("weights", () => new DigitClassifier(weights)).Message, StringComparison.Ordinal);
        Assert.StartsWith("a weight is NaN or infinite, expected numbers",
            Assert.Throws<ArgumentException>("start", () => Train(weights)).Message, StringComparison.Ordinal);

        static void Train(NetworkWeights start) =>
            DigitTrainer.Train(GeneratedDigits.Create(20), TrainingOptions.For("simple"), start: start,
                cancellation: TestContext.Current.CancellationToken);
    }

    [Fact]
    public void Digits_that_nothing_can_be_scored_on()
    {
        using DigitClassifier classifier = OnCpu();
        DigitDataset data = GeneratedDigits.Create(5), unlabelled = new("test.csv", data.Pixels.ToArray(), null),
        none = new("none", [], []);
        Assert.Equal(5, classifier.Evaluate(data).Samples);
        Assert.StartsWith("test.csv: the digits carry no labels to compare with",
            Assert.Throws<ArgumentException>("data", () => classifier.Evaluate(unlabelled)).Message, StringComparison.Ordinal);
        Assert.StartsWith("none: there are no digits to evaluate on",
            Assert.Throws<ArgumentException>("data", () => classifier.Evaluate(none)).Message, StringComparison.Ordinal);
        Assert.StartsWith("no row is given, expected at least one",
            Assert.Throws<ArgumentException>("rows", () => classifier.Evaluate(data, [])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>("data", () => classifier.Evaluate(null!));
    }

    [Fact]
    public void Images_and_logits_that_do_not_fit_each_other()
    {
        using DigitClassifier classifier = OnCpu();
        Assert.Equal("2 images, 784 pixels from one to the next, are 1568 pixels, and 784 are given (Parameter 'images')",
            Assert.Throws<ArgumentException>("images", () => classifier.Predict(new byte[784], new float[20])).Message);
        Assert.Equal("there is room for 9 logits, and every image has 10 (Parameter 'logits')",
            Assert.Throws<ArgumentException>("logits", () => classifier.Predict(new byte[784], new float[9])).Message);
        Assert.Throws<ArgumentOutOfRangeException>("stride", () => classifier.Predict(new byte[784], new float[10], -1));
        Assert.Throws<ArgumentNullException>("weights", () => new DigitClassifier(null!));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(65537)]
    public void A_batch_that_there_is_no_memory_for(int batch)
    {
        ArgumentException e =
            Assert.Throws<ArgumentOutOfRangeException>("options",
            () => new DigitClassifier(Initializer.Create(DigitNetworks.Simple, 1), new ClassifierOptions { BatchSize = batch }));
        Assert.StartsWith($"BatchSize is {batch}, expected 1 to 65536", e.Message, StringComparison.Ordinal);
    }

    private static DigitClassifier OnCpu() => new(Initializer.Create(DigitNetworks.Simple, 1), new ClassifierOptions { Device = "cpu" });
}
