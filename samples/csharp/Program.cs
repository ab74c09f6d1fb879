// Trains on labelled digits, and reads one. Usage: TrainAndRead train.csv model.safetensors
using CudnnDigits;
using CudnnDigits.Data;
using CudnnDigits.Training;

DigitDataset data = DataSource.Open(args[0], DataPart.Training);
TrainedNetwork trained = DigitTrainer.Train(data, TrainingOptions.For("simple"), onEpochEnd: epoch =>
    Console.WriteLine($"epoch {epoch.Epoch}, validation {epoch.ValidationAccuracy:P1}"));
Console.WriteLine($"{trained.Metrics.Accuracy:P1} of {trained.Metrics.Samples} digits held out, on {trained.Device}");
trained.Save(args[1]);

using DigitClassifier classifier = new(trained.Weights); // or DigitClassifier.Load(args[1])
byte[] image = new byte[28 * 28]; // a stroke from top to bottom
for (int row = 4; row < 24; row++)
{
    image.AsSpan(28 * row + 13, 3).Fill(255);
}

(int digit, float probability) = classifier.Read(image);
Console.WriteLine($"probability {probability}");
Console.WriteLine($"read as {digit}");
