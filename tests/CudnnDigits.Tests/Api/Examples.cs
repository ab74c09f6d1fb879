namespace CudnnDigits.Tests.Api;

/// <summary>The examples of the XML docs, to be compiled; <see cref="DocumentationTests"/> compares them. Nobody calls them.</summary>
internal static class Examples
{
    public static void TrainSaveAndRead()
    {
        DigitDataset data = DataSource.Open("train.csv", DataPart.Training);
        TrainedNetwork trained = DigitTrainer.Train(data, TrainingOptions.For("simple"));
        trained.Save("model.safetensors");
        using DigitClassifier classifier = new(trained.Weights);
    }

    public static void TrainAsYouLike(DigitDataset data)
    {
        using CancellationTokenSource stop = new(TimeSpan.FromMinutes(10));
        TrainedNetwork trained = DigitTrainer.Train(
            data,
            TrainingOptions.For("improved") with { Epochs = 20, EarlyStop = 3, Seed = 1 },
            new DeviceOptions { Device = "cpu", Threads = 4 },
            onEpochEnd: epoch => Console.WriteLine($"epoch {epoch.Epoch}, validation {epoch.ValidationAccuracy:P1}"),
            cancellation: stop.Token);
        Console.WriteLine($"epoch {trained.Epoch} kept: {trained.Metrics.Accuracy:P1} of {trained.Metrics.Samples} digits held out");
    }

    public static TrainingOptions Options()
    {
        TrainingOptions options = TrainingOptions.For("improved") with { Epochs = 20, EarlyStop = 3, Seed = 1 };
        return options;
    }

    public static void ReadOne(byte[] image)
    {
        using DigitClassifier classifier = DigitClassifier.Load("model.safetensors");
        DigitReading reading = classifier.Read(image);
        Console.WriteLine($"{reading.Digit}, probability {reading.Probability:P1}; that it is a nine: {reading.Probabilities[9]:P1}");
    }

    public static int TakeApart(DigitClassifier classifier, byte[] image)
    {
        (int digit, float probability) = classifier.Read(image);
        return probability > 0.9f ? digit : -1;
    }

    public static DigitReading[] ReadAll(DigitClassifier classifier)
    {
        DigitReading[] readings = classifier.Read(DataSource.Open("test.csv", DataPart.Prediction));
        return readings;
    }

    public static void Evaluate(DigitClassifier classifier)
    {
        Metrics metrics = classifier.Evaluate(DataSource.Open("mnist", DataPart.Evaluation));
        Console.WriteLine($"{metrics.Accuracy:P2} of {metrics.Samples} digits; of the nines {metrics.Classes[9].Recall:P1}");
        Console.WriteLine($"{metrics.Confusion[4][9]} fours were read as nines");
    }

    public static void OnDevice(nint context, nint stream, nint images, nint logits)
    {
        using DigitClassifier classifier = DigitClassifier.Load("model.safetensors", new ClassifierOptions { CudaContext = context });
        classifier.Enqueue(new ImageBatch(images, Count: 100), logits, stream); // returns at once
    }

    public static void Make()
    {
        byte[] pixels = new byte[1000 * DigitDataset.PixelCount], labels = new byte[1000];
        DigitDataset data = new("scanner 3", pixels, labels);
        TrainedNetwork trained = DigitTrainer.Train(data, TrainingOptions.For("simple") with { Validation = 0 });
    }
}
