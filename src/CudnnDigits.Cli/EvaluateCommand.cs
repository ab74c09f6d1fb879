using System.CommandLine;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary><c>evaluate</c>: how well weights read labelled digits.</summary>
internal static class EvaluateCommand
{
    private static readonly Option<string> Weights = CommonOptions.Weights();
    private static readonly Option<string?> Data = CommonOptions.Data($"Labelled digits: {DataSource.Expected}.");
    private static readonly Option<string?> Subset = CommonOptions.Choice("--subset", "The rows that the weights' own run held out, trained on, or (tune) kept away from both. Default: all.", "all", "validation", "training", "test");
    private static readonly Option<string?> Device = CommonOptions.Device();
    private static readonly Option<string?> Precision = CommonOptions.Precision();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<bool> Json = CommonOptions.Json();

    public static Command Create()
    {
        Data.Required = true;
        Command command = new("evaluate", "Score weights on labelled digits: accuracy, per-class metrics, confusion matrix.") { Weights, Data, Subset, Device, Precision, Threads, Json };
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        string path = result.GetRequiredValue(Weights);
        BackendFactory.CheckDevice(result.GetValue(Device) ?? "auto");
        (Model.NetworkWeights weights, IReadOnlyDictionary<string, string> metadata) = WeightsFile.Load(path);
        string subset = result.GetValue(Subset) ?? "all"; // rows of what the run was given to train on
        DigitDataset data = CommonOptions.OpenData(result.GetRequiredValue(Data)!, subset == "all" ? DataPart.Evaluation : DataPart.Training);
        int[] rows = SelectRows(subset, data, path, metadata);

        using DigitClassifier classifier = CommonOptions.CreateClassifier(weights, result.GetValue(Device), result.GetValue(Threads), result.GetValue(Precision));
        Metrics metrics = Metrics.Evaluate(classifier, data, rows);
        Console.Out.WriteLine(result.GetValue(Json) ? JsonSerializer.Serialize(metrics, CliJson.Default.Metrics) : MetricsTable.Format(metrics));
        return ExitCode.Done;
    }

    private static int[] SelectRows(string subset, DigitDataset data, string path, IReadOnlyDictionary<string, string> metadata)
    {
        SplitRecord? record = SplitRecord.FromMetadata(metadata);
        if (subset == "all")
        {
            if (record is not null && record.DataFingerprint == data.Fingerprint())
            {
                (int trained, bool holdsOut) = (record.Split.Draw(data.Labels).Training.Length, record.Split.HoldsOut);
                Console.Error.WriteLine($"note      {trained:N0} of these digits were trained on, so their accuracy says too much{(holdsOut ? $"; {Subset.Name} validation scores those that were held out" : "")}");
            }

            return [.. Enumerable.Range(0, data.Count)];
        }

        if (record is null)
        {
            throw new InputException($"{path}: does not say how its run split the data; leave out --subset {subset}");
        }

        if (record.DataFingerprint != data.Fingerprint())
        {
            throw new InputException($"{data.Name}: is not the data that {path} was trained on, so its {subset} rows are unknown; leave out --subset {subset}");
        }

        Split split = record.Split.Draw(data.Labels);
        int[] rows = subset switch { "validation" => split.Validation, "test" => split.Test, _ => split.Training };
        return rows.Length > 0 ? rows : throw new InputException($"{path}: its run has no {subset} rows; leave out --subset {subset}");
    }
}
