using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>An operation in <c>bench --layers --json</c>: microseconds and so on for one digit.</summary>
internal sealed record LayerRow(
    string Layer, string Operation, double MflopPerImage, double KilobytesPerImage, string Bound, double FloorMicroseconds, double Microseconds, double ShareOfFloor);

/// <summary>Result of <c>bench --layers --json</c>.</summary>
internal sealed record LayerResult(
    string Model, string Device, int BatchSize, double PeakGflops, double CopyGigabytesPerSecond, LayerRow[] Training, LayerRow[] Inference);

/// <summary>Operation by operation: the least time that the machine's limits allow, and the time taken.</summary>
internal static class LayerReport
{
    /// <summary>From what was measured, per digit and as a share of the wall-clock time.</summary>
    public static LayerRow[] Rows(IEnumerable<LayerTime> times, Ceilings ceilings, int workers, int images)
    {
        List<LayerRow> rows = [.. times.Where(time => time.Seconds > 0).Select(time =>
        {
            double compute = time.Flops / ceilings.FlopsPerSecond, memory = time.Bytes / ceilings.BytesPerSecond;
            string bound = time.Flops + time.Bytes == 0 ? "" : compute >= memory ? "multiply-adds" : "memory";
            return Row(time.Layer, time.Operation, time.Flops / images, time.Bytes / images, bound, Math.Max(compute, memory) / images, time.Seconds / workers / images);
        })];
        LayerRow total = Row(
            "all", "", rows.Sum(row => row.MflopPerImage) * 1e6, rows.Sum(row => row.KilobytesPerImage) * 1e3, "",
            rows.Sum(row => row.FloorMicroseconds) / 1e6, rows.Sum(row => row.Microseconds) / 1e6);
        return [.. rows, total];
    }

    /// <summary>A Markdown table, aligned to be read as it is; in a terminal without the columns that there is no room for.</summary>
    public static string Format(LayerRow[] rows, int width)
    {
        string[][] cells = [["layer", "operation", "MFLOP", "KB", "bound by", "floor µs", "time µs", "floor / time"], .. rows.Select(row => new[]
        {
            row.Layer, row.Operation, Number(row.MflopPerImage, "F3"), Number(row.KilobytesPerImage, "F1"), row.Bound,
            Number(row.FloorMicroseconds, "F2"), row.Microseconds.ToString("F2", CultureInfo.InvariantCulture), row.FloorMicroseconds > 0 ? row.ShareOfFloor.ToString("P0", CultureInfo.InvariantCulture) : "",
        })];
        int[] columns = [.. Enumerable.Range(0, cells[0].Length)], widths = [.. columns.Select(column => cells.Max(row => row[column].Length))];
        foreach (int lessWanted in new[] { 3, 2, 4, 7, 0 })
        {
            columns = columns.Sum(column => widths[column] + 3) < width ? columns : [.. columns.Where(column => column != lessWanted)];
        }

        StringBuilder text = new();
        for (int i = 0; i < cells.Length; i++)
        {
            text.Append('|').AppendJoin('|', columns.Select(column => $" {(IsText(column) ? cells[i][column].PadRight(widths[column]) : cells[i][column].PadLeft(widths[column]))} ")).AppendLine("|");
            if (i == 0)
            {
                text.Append('|').AppendJoin('|', columns.Select(column => IsText(column) ? new string('-', widths[column] + 2) : new string('-', widths[column] + 1) + ':')).AppendLine("|");
            }
        }

        return text.ToString().TrimEnd();

        static bool IsText(int column) => column is 0 or 1 or 4;
        static string Number(double value, string format) => value > 0 ? value.ToString(format, CultureInfo.InvariantCulture) : "";
    }

    private static LayerRow Row(string layer, string operation, double flops, double bytes, string bound, double floorSeconds, double seconds) => new(
        layer, operation, Math.Round(flops / 1e6, 4), Math.Round(bytes / 1e3, 2), bound,
        Math.Round(floorSeconds * 1e6, 3), Math.Round(seconds * 1e6, 3), Math.Round(floorSeconds / seconds, 3));
}
