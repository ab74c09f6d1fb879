using CudnnDigits.Cli.Exchange;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

internal static class EvaluateCommand
{
    private static readonly Option<string?> Data = CommonOptions.Data("Labelled digits");
    private static readonly Option<string?> Subset = CommonOptions.Choice(
        "--subset",
        "Rows that the weights' run held out (validation), trained on (training), or, for tune, used for neither (test). Default: all.",
        "all", "validation", "training", "test");

    public static Command Create() => CommonOptions.NewCommand(
        "evaluate", "Score weights on labelled digits: accuracy, per-class metrics, confusion matrix.",
        [CommonOptions.Weights, Data, Subset, .. Machine.OptionsToPredict, CommonOptions.Json], Run);

    private static void Run(ParseResult result)
    {
        string path = result.GetRequiredValue(CommonOptions.Weights);
        Machine machine = Machine.From(result);
        (Model.NetworkWeights weights, IReadOnlyDictionary<string, string> metadata) = WeightsFile.Load(path);
        string subset = result.GetValue(Subset) ?? "all";
        DataPart part = subset == "all" ? DataPart.Evaluation : DataPart.Training; // subsets are those of the run's training data
        DigitDataset data = CommonOptions.OpenData(result.GetRequiredValue(Data)!, part);
        int[] rows = SelectRows(subset, data, path, metadata);

        using DigitClassifier classifier = machine.CreateClassifier(weights);
        Metrics metrics = classifier.Evaluate(data, rows);
        CliJson.Print(result, metrics, MetricsTable.Format(metrics, Screen.OutputWidth), mustArrive: true);
    }

    private static int[] SelectRows(string subset, DigitDataset data, string path, IReadOnlyDictionary<string, string> metadata)
    {
        SplitRecord? record = SplitRecord.FromMetadata(metadata);
        string fingerprint = data.Fingerprint();
        Split? split = record?.DataFingerprint == fingerprint ? record.Split.Draw(data.Labels) : null;
        int[]? rows = subset switch
        {
            "all" => [.. Enumerable.Range(0, data.Count)],
            "validation" => split?.Validation,
            "test" => split?.Test,
            _ => split?.Training,
        };
        if (rows is null or [])
        {
            string why = record is null ? $"{path}: does not say how its run split the data"
                : split is null ? $"{data.Name}: is not the data that {path} was trained on, so its {subset} rows are unknown"
                : $"{path}: its run has no {subset} rows";
            throw new InputException($"{why}; leave out --subset {subset}");
        }

        int seen = subset == "training" ? 0 : rows.Count(WeightsFile.Seen(data, fingerprint, path, metadata).Contains);
        string advice = subset != "all" ? ", by weights that their run began with"
            : split?.Validation.Length > 0 ? $"; {Subset.Name} validation scores those that were held out"
            : "";
        CommonOptions.Note(
            "note", seen > 0 ? $"{seen:N0} of these digits were trained on, so the accuracy is too optimistic{advice}" : null);
        return rows;
    }
}
