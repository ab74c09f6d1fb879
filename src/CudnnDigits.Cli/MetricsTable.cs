using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>Metrics as plain text.</summary>
internal static class MetricsTable
{
    public static string Format(Metrics metrics)
    {
        StringBuilder text = new();
        text.AppendLine($"accuracy  {metrics.Accuracy:P2} of {metrics.Samples:N0} digits, loss {metrics.Loss:F4}");
        text.AppendLine();
        text.AppendLine("digit  precision    recall        F1   support");
        foreach (ClassMetrics c in metrics.Classes)
        {
            text.AppendLine($"{c.Digit,5}  {c.Precision,9:P2} {c.Recall,9:P2} {c.F1,9:P2} {c.Support,9:N0}");
        }

        text.AppendLine($"macro  {metrics.MacroPrecision,9:P2} {metrics.MacroRecall,9:P2} {metrics.MacroF1,9:P2}");
        text.AppendLine();
        text.AppendLine("confusion: a row per label, a column per prediction");
        text.AppendLine("     " + string.Concat(metrics.Classes.Select(c => $"{c.Digit,7}")));
        foreach (ClassMetrics c in metrics.Classes)
        {
            IEnumerable<string> cells = metrics.Confusion[c.Digit].Select(count => count == 0 ? "      ." : $"{count,7}");
            text.AppendLine($"{c.Digit,5}" + string.Concat(cells));
        }

        return text.ToString().TrimEnd();
    }
}
