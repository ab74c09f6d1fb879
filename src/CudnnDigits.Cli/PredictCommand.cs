using CudnnDigits.Cli.Exchange;

namespace CudnnDigits.Cli;

internal static class PredictCommand
{
    private static readonly Option<string?> Data = CommonOptions.Data("Digits to read");
    private static readonly Option<string> Out =
        CommonOptions.OutFile("The submission: ImageId,Label; - is standard output.", "submission.csv");

    public static Command Create() => CommonOptions.NewCommand(
        "predict", "Predict digits and write a Kaggle submission.",
        [CommonOptions.Weights, Data, Out, .. Machine.OptionsToPredict, CommonOptions.Json], Run);

    private static void Run(ParseResult result)
    {
        string target = result.GetRequiredValue(Out), dataPath = result.GetRequiredValue(Data)!;
        string weightsPath = RunFolder.WeightsOf(result.GetRequiredValue(CommonOptions.Weights));
        Machine machine = Machine.From(result);
        OutputFile output = new(Out.Name, target, result.GetValue(CommonOptions.Json), [weightsPath, .. DataSource.FilesOf(dataPath)]);
        NetworkWeights weights = WeightsFile.Load(weightsPath).Weights;
        DigitDataset data = CommonOptions.OpenData(dataPath, DataPart.Prediction);
        using DigitClassifier classifier = machine.CreateClassifier(weights);
        float[] logits = new float[data.Count * DigitDataset.Classes];
        classifier.Predict(data.Pixels, logits);

        int[] counts = new int[DigitDataset.Classes];
        output.WriteText(writer =>
        {
            writer.Write("ImageId,Label\n");
            for (int row = 0; row < data.Count; row++)
            {
                int digit = Prediction.Best(logits.AsSpan(row * DigitDataset.Classes, DigitDataset.Classes));
                counts[digit]++;
                writer.Write($"{row + 1},{digit}\n");
            }
        });
        string perDigit = string.Join(", ", counts.Select((count, digit) => $"{digit}: {count:N0}"));
        output.Tell(
            new PredictResult(target, data.Count, counts),
            $"{data.Count:N0} {(data.Count == 1 ? "digit" : "digits")} read ({perDigit})\nsubmission  {output}");
    }
}
