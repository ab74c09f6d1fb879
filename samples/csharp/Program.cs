// Trains on labelled digits, and reads one. Usage: TrainAndRead train.csv
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

DigitDataset data = DataSource.Open(args[0], DataPart.Training);
TrainingOptions options = TrainingOptions.For("simple");
TrainingState state = new(Initializer.Create(options.CreateNetwork(), options.Seed));
using (ITrainingBackend backend = BackendFactory.Create(
    "auto", options.CreateNetwork(), new BackendOptions(options)))
{
    Trainer trainer = new(backend, data, options, state)
    {
        OnEpochEnd = s => Console.WriteLine($"epoch {s.Epoch}, validation {s.History[^1].ValidationAccuracy:P1}"),
    };
    trainer.Run();
    Console.WriteLine($"{trainer.Evaluate(state.Kept(options)).Accuracy:P1} of the digits held out");
}

using DigitClassifier classifier = new(state.Kept(options)); // or DigitClassifier.Load("model.safetensors")
byte[] image = new byte[28 * 28]; // a stroke from top to bottom
for (int row = 4; row < 24; row++)
{
    image.AsSpan(28 * row + 13, 3).Fill(255);
}

float[] logits = new float[10];
classifier.Predict(image, logits);
Console.WriteLine($"read as {Prediction.Best(logits)}");
