using System.CommandLine;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Data;
using CudnnDigits.Runs;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary><c>evaluate</c>: metrics of weights on labelled digits.</summary>
internal static class EvaluateCommand
{
    private static readonly Option<string> Weights = CommonOptions.Weights();
    private static readonly Option<string?> Data = CommonOptions.Data($"Labelled digits: {DataSource.Expected}.");
    private static readonly Option<string?> Subset = CommonOptions.Choice(
        "--subset",
        "Rows that the weights' run held out (validation), trained on (training), or, for tune, used for neither (test). Default: all.",
        "all", "validation", "training", "test");
    private static readonly Option<bool> Json = CommonOptions.Json();

    public static Command Create()
    {
        Data.Required = true;
        Command command = new("evaluate", "Score weights on labelled digits: accuracy, per-class metrics, confusion matrix.");
        command.AddRange([Weights, Data, Subset, .. Machine.OptionsToPredict, Json]);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        string path = result.GetRequiredValue(Weights);
        Machine machine = Machine.From(result);
        (Model.NetworkWeights weights, IReadOnlyDictionary<string, string> metadata) = WeightsFile.Load(path);
        string subset = result.GetValue(Subset) ?? "all";
        DataPart part = subset == "all" ? DataPart.Evaluation : DataPart.Training; // subsets are those of the run's training data
        DigitDataset data = CommonOptions.OpenData(result.GetRequiredValue(Data)!, part);
        int[] rows = SelectRows(subset, data, path, metadata);

        using DigitClassifier classifier = machine.CreateClassifier(weights);
        Metrics metrics = classifier.Evaluate(data, rows);
        string text = result.GetValue(Json) ? JsonSerializer.Serialize(metrics, CliJson.Default.Metrics) : MetricsTable.Format(metrics);
        Console.Out.WriteLine(text);
        return ExitCode.Done;
    }

    private static int[] SelectRows(string subset, DigitDataset data, string path, IReadOnlyDictionary<string, string> metadata)
    {
        SplitRecord? record = SplitRecord.FromMetadata(metadata);
        if (subset == "all")
        {
            if (record is not null && record.DataFingerprint == data.Fingerprint())
            {
                string advice = record.Split.HoldsOut ? $"; {Subset.Name} validation scores those that were held out" : "";
                Console.Error.WriteLine($"note      {record.Split.Draw(data.Labels).Training.Length:N0} of these digits were trained on, "
                    + $"so the accuracy is too optimistic{advice}");
            }

            return [.. Enumerable.Range(0, data.Count)];
        }

        if (record is null)
        {
            throw new InputException($"{path}: does not say how its run split the data; leave out --subset {subset}");
        }

        if (record.DataFingerprint != data.Fingerprint())
        {
            throw new InputException($"{data.Name}: is not the data that {path} was trained on, so its {subset} rows are unknown; "
                + $"leave out --subset {subset}");
        }

        Split split = record.Split.Draw(data.Labels);
        int[] rows = subset switch { "validation" => split.Validation, "test" => split.Test, _ => split.Training };
        return rows.Length > 0 ? rows : throw new InputException($"{path}: its run has no {subset} rows; leave out --subset {subset}");
    }
}
