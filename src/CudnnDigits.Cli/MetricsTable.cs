using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

internal static class MetricsTable
{
    /// <summary>The least width that has room for the counts of digits.</summary>
    public const int WithSupport = 46;

    private const int Label = 5, WidestCell = 7;

    /// <summary>The metrics; in a narrow terminal without support, and without the confusion matrix if that does not fit.</summary>
    public static string Format(Metrics metrics, int width)
    {
        bool hasSupport = width >= WithSupport;
        int cell = Math.Min(WidestCell, (width - Label) / DigitDataset.Classes);
        string[] cells = [.. metrics.Confusion.SelectMany(row => row).Select(n => n == 0 ? "." : $"{n}")];
        return string.Join('\n', [
            $"accuracy  {metrics.Accuracy:P2} of {Figures.Count(metrics.Samples, "digit")}, loss {metrics.Loss:F4}",
            "",
            $"digit  precision    recall        F1{(hasSupport ? "   support" : "")}",
            .. metrics.Classes.Select(c =>
                $"{c.Digit,5}  {c.Precision,9:P2} {c.Recall,9:P2} {c.F1,9:P2}{(hasSupport ? $" {c.Support,9:N0}" : "")}"),
            $"macro  {metrics.MacroPrecision,9:P2} {metrics.MacroRecall,9:P2} {metrics.MacroF1,9:P2}",
            "",
            .. cells.Max(text => text.Length) >= cell ? (string[])["confusion: needs a wider terminal, or --json"] :
            [
                "confusion: a row per label, a column per prediction",
                new string(' ', Label) + string.Concat(metrics.Classes.Select(c => $"{c.Digit}".PadLeft(cell))),
                .. cells.Chunk(DigitDataset.Classes)
                    .Select((row, digit) => $"{digit,Label}{string.Concat(row.Select(text => text.PadLeft(cell)))}"),
            ],
        ]);
    }
}
