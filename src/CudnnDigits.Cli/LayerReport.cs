using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

/// <summary>An operation in <c>bench --layers --json</c>; all figures are for one digit.</summary>
internal sealed record LayerRow(
    string Layer, string Operation, double MflopPerImage, double KilobytesPerImage, string Bound, double FloorMicroseconds,
    double Microseconds, double ShareOfFloor);

internal sealed record LayerResult(
    string Model, string Device, int BatchSize, double PeakGflops, double CopyGigabytesPerSecond,
    LayerRow[] Training, LayerRow[] Inference);

/// <summary>For each operation, the time it took and the least time that the machine's limits allow.</summary>
internal static class LayerReport
{
    /// <summary>Converts measured times to figures for one digit; the last row is the sum.</summary>
    public static LayerRow[] Rows(IEnumerable<LayerTime> times, Ceilings ceilings, int workers, int images)
    {
        List<LayerRow> rows = [];
        foreach (LayerTime time in times.Where(time => time.Seconds > 0))
        {
            double compute = time.Flops / ceilings.FlopsPerSecond, memory = time.Bytes / ceilings.BytesPerSecond;
            string bound = time.Flops + time.Bytes == 0 ? "" : compute >= memory ? "multiply-adds" : "memory";
            double floor = Math.Max(compute, memory) / images, seconds = time.Seconds / workers / images;
            rows.Add(Row(time.Layer, time.Operation, time.Flops / images, time.Bytes / images, bound, floor, seconds));
        }

        LayerRow total = Row(
            "all", "", rows.Sum(row => row.MflopPerImage) * 1e6, rows.Sum(row => row.KilobytesPerImage) * 1e3, "",
            rows.Sum(row => row.FloorMicroseconds) / 1e6, rows.Sum(row => row.Microseconds) / 1e6);
        return [.. rows, total];
    }

    /// <summary>An aligned Markdown table; without the least important columns where the terminal is too narrow.</summary>
    public static string Format(LayerRow[] rows, int width)
    {
        string[] head = ["layer", "operation", "MFLOP", "KB", "bound by", "floor µs", "time µs", "floor / time"];
        string[][] cells = [head, .. rows.Select(row => new[]
        {
            row.Layer, row.Operation, Number(row.MflopPerImage, "F3"), Number(row.KilobytesPerImage, "F1"), row.Bound,
            Number(row.FloorMicroseconds, "F2"), $"{row.Microseconds:F2}", row.FloorMicroseconds > 0 ? $"{row.ShareOfFloor:P0}" : "",
        })];
        const int Operation = 1, ShortestOperation = 14;
        int[] columns = [.. Enumerable.Range(0, head.Length)];
        int[] widths = [.. columns.Select(column => cells.Max(row => row[column].Length))];
        int Spare() => width - 1 - columns.Sum(column => widths[column] + 3);
        foreach (int lessWanted in new[] { 3, 2, 4, 7, 5 })
        {
            int enough = lessWanted == 5 ? ShortestOperation - widths[Operation] : 0; // the floor is worth a shorter operation
            columns = Spare() >= enough ? columns : [.. columns.Where(column => column != lessWanted)];
        }

        widths[Operation] += Math.Min(0, Spare());

        string[] lines = [.. columns.Select(column => new string('-', widths[column] + 1) + (IsText(column) ? '-' : ':'))];
        return string.Join(Environment.NewLine, [Line(head), $"|{string.Join('|', lines)}|", .. cells[1..].Select(Line)]);

        string Line(string[] row) => $"|{string.Join('|', columns.Select(column => $" {Cell(row, column)} "))}|";
        string Cell(string[] row, int column) =>
            IsText(column) ? Screen.Cut(row[column], widths[column]).PadRight(widths[column]) : row[column].PadLeft(widths[column]);

        static bool IsText(int column) => column is 0 or 1 or 4;
        static string Number(double value, string format) => value > 0 ? value.ToString(format, CultureInfo.InvariantCulture) : "";
    }

    private static LayerRow Row(
        string layer, string operation, double flops, double bytes, string bound, double floor, double seconds) => new(
        layer, operation, Math.Round(flops / 1e6, 4), Math.Round(bytes / 1e3, 2), bound,
        Math.Round(floor * 1e6, 3), Math.Round(seconds * 1e6, 3), Math.Round(floor / seconds, 3));
}
