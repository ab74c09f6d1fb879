using CudnnDigits.Cli.Report;

namespace CudnnDigits.Cli.Datasets;

/// <summary>A picture of many digits: a row of samples per class, and below them the odd digits.</summary>
internal static class ContactSheet
{
    private const int Columns = 24, Scale = 2, Cell = DigitDataset.Side * Scale + 2, Margin = 8, Gap = 20;
    private const byte Ground = 48;

    /// <summary>Draws the sheet as a PNG, with as many of the odd rows as fit in two lines.</summary>
    public static byte[] Draw(DigitDataset data, IReadOnlyList<int> odd)
    {
        int[] rows = [.. Enumerable.Range(0, data.Count)];
        int[][] usual = data.HasLabels
            ? [.. rows.GroupBy(row => data.Labels[row]).OrderBy(rows => rows.Key).Select(rows => Spread([.. rows], Columns))]
            : [.. Spread(rows, DigitDataset.Classes * Columns).Chunk(Columns)];
        int[][] lines = [.. usual, .. odd.Take(2 * Columns).Chunk(Columns)];
        int width = 2 * Margin + Columns * Cell, height = 2 * Margin + lines.Length * Cell + (lines.Length > usual.Length ? Gap : 0);
        byte[] sheet = new byte[width * height];
        Array.Fill(sheet, Ground);
        for (int line = 0; line < lines.Length; line++)
        {
            int top = Margin + line * Cell + (line >= usual.Length ? Gap : 0);
            for (int column = 0; column < lines[line].Length; column++)
            {
                Paste(sheet, width, Margin + column * Cell, top, data.Image(lines[line][column]));
            }
        }

        return Picture.ToPng(sheet, width, height);
    }

    /// <summary>Picks rows evenly from the first to the last.</summary>
    private static int[] Spread(int[] rows, int count) =>
        rows.Length <= count ? rows : [.. Enumerable.Range(0, count).Select(i => rows[(int)((long)i * rows.Length / count)])];

    private static void Paste(byte[] sheet, int width, int left, int top, ReadOnlySpan<byte> image)
    {
        for (int y = 0; y < DigitDataset.Side * Scale; y++)
        {
            for (int x = 0; x < DigitDataset.Side * Scale; x++)
            {
                sheet[(top + y) * width + left + x] = image[y / Scale * DigitDataset.Side + x / Scale];
            }
        }
    }
}
