namespace CudnnDigits.Cli;

internal static class MetricsTable
{
    public static string Format(Metrics metrics) => string.Join(Environment.NewLine, [
        $"accuracy  {metrics.Accuracy:P2} of {metrics.Samples:N0} digits, loss {metrics.Loss:F4}",
        "",
        "digit  precision    recall        F1   support",
        .. metrics.Classes.Select(c => $"{c.Digit,5}  {c.Precision,9:P2} {c.Recall,9:P2} {c.F1,9:P2} {c.Support,9:N0}"),
        $"macro  {metrics.MacroPrecision,9:P2} {metrics.MacroRecall,9:P2} {metrics.MacroF1,9:P2}",
        "",
        "confusion: a row per label, a column per prediction",
        "     " + string.Concat(metrics.Classes.Select(c => $"{c.Digit,7}")),
        .. metrics.Confusion.Select((row, digit) => $"{digit,5}{string.Concat(row.Select(n => n == 0 ? "      ." : $"{n,7}"))}"),
    ]);
}
