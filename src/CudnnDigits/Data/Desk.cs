using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>Finds a sheet that lies on a desk, turned and seen from any side, or a picture within a frame.</summary>
internal static class Desk
{
    private const int MostCells = 160; // on the longer side: the picture is divided into square cells, which are sheet or desk
    private const int LeastCells = 16; // on the shorter side: less is no sheet with a readable digit
    private const double LeastSheet = 0.12; // a sheet covers at least this share of the picture,
    private const double LeastPaper = 0.6; // its ink at most the rest of this share of it,
    private const double MostPaperOutside = 0.15; // and the desk looks like the sheet in at most this share of the rest of the picture
    private const double MostAtBorder = 0.25; // a sheet that runs out of the picture takes at most this share of the border
    private const double MostBeside = 0.1; // at most this share of it lies beside the quadrilateral of its corners: a third of a zero
    private const double MostAspect = 2.2; // a sheet is at most so many times as long as wide: a bold one is longer

    /// <summary>Cuts the sheet out of (height, width, 4) uint8, and continues its paper over the desk; null if there is no sheet.</summary>
    public static byte[]? CutOut(byte[] rgba, ref int width, ref int height)
    {
        int side = (Math.Max(width, height) + MostCells - 1) / MostCells, columns = width / side, rows = height / side;
        if (Math.Min(columns, rows) < LeastCells)
        {
            return null;
        }

        Vector3[] cells = Paper.Reduce(rgba, width, height, columns, rows);
        Vector3 mean = cells.Aggregate((a, b) => a + b) / cells.Length;
        Vector3 axis = Paper.Axis(Array.ConvertAll(cells, cell => cell - mean));
        float[] values = Array.ConvertAll(cells, cell => Vector3.Dot(axis, cell - mean));
        float threshold = Threshold(values);
        foreach (bool isPaper in new[] { true, false })
        {
            bool[] paper = Array.ConvertAll(values, value => value > threshold == isPaper);
            bool[] sheet = Largest(paper, columns, out int area);
            if (area < LeastPaper * LeastSheet * cells.Length)
            {
                continue;
            }

            Vector2[] corners = [Corner(-1, -1), Corner(1, -1), Corner(1, 1), Corner(-1, 1)]; // clockwise, as seen
            bool[] within = [.. sheet.Select((_, i) => Depth(corners, i, columns) >= 0)];
            int outside = within.Count(isWithin => !isWithin), whole = within.Length - outside;
            int Count(Func<bool, bool, int, bool> condition) => sheet.Where((isSheet, i) => condition(isSheet, within[i], i)).Count();
            float longest = Math.Max((corners[2] - corners[0]).LengthSquared(), (corners[3] - corners[1]).LengthSquared());
            if (whole >= LeastSheet * cells.Length && area >= LeastPaper * whole
                && Count((isSheet, isWithin, _) => isSheet && !isWithin) <= MostBeside * area
                && Count((_, isWithin, i) => paper[i] && !isWithin) <= MostPaperOutside * outside
                && Count((isSheet, _, i) => isSheet && (i % columns == 0 || i % columns == columns - 1 || i < columns
                    || i >= sheet.Length - columns)) <= MostAtBorder * 2 * (columns + rows)
                && longest <= (MostAspect + 1 / MostAspect) * whole)
            {
                return Cut(rgba, ref width, ref height, side, columns, paper, corners);
            }

            // A turned sheet's corner is what lies farthest in a diagonal direction.
            Vector2 Corner(int across, int down)
            {
                int at = Enumerable.Range(0, sheet.Length).Where(i => sheet[i]).MaxBy(i => across * (i % columns) + down * (i / columns));
                return new Vector2(at % columns + (1 + across) / 2, at / columns + (1 + down) / 2);
            }
        }

        return null;
    }

    /// <summary>Copies the sheet's box. Each cell outside the sheet becomes like the nearest cell of paper in its row.</summary>
    private static byte[]? Cut(
        byte[] rgba, ref int width, ref int height, int side, int columns, bool[] paper, Vector2[] corners)
    {
        int rows = paper.Length / columns, stride = width;
        float edge = 0.5f + Math.Max(columns, rows) / 100f; // soft, or not quite straight
        int[] inside = [.. Enumerable.Range(0, paper.Length).Where(i => paper[i] && Depth(corners, i, columns) >= edge)];
        if (inside.Length == 0)
        {
            return null;
        }

        int left = inside.Min(i => i % columns), across = inside.Max(i => i % columns) + 1 - left;
        int[][] inRow = [.. inside.GroupBy(i => i / columns).OrderBy(row => row.Key).Select(row => row.ToArray())];
        (width, height) = (across * side, inRow.Length * side);
        byte[] cut = new byte[4 * width * height];
        for (int row = 0; row < inRow.Length; row++)
        {
            for (int column = 0; column < across; column++)
            {
                int at = inRow[row][0] / columns * columns + left + column;
                int from = Depth(corners, at, columns) >= edge ? at : inRow[row].MinBy(i => Math.Abs(i - at));
                for (int y = 0; y < side; y++)
                {
                    rgba.AsSpan(4 * ((from / columns * side + y) * stride + from % columns * side), 4 * side)
                        .CopyTo(cut.AsSpan(4 * ((row * side + y) * width + column * side)));
                }
            }
        }

        return cut;
    }

    /// <summary>The value that divides others into two groups. Source: N. Otsu, "A threshold selection method", 1979.</summary>
    private static float Threshold(float[] values)
    {
        float[] sorted = [.. values.Order()];
        double total = sorted.Sum(value => (double)value), below = 0, best = 0;
        float threshold = 0;
        for (int i = 1; i < sorted.Length; i++)
        {
            below += sorted[i - 1];
            double between = below / i - (total - below) / (sorted.Length - i), variance = between * between * i * (sorted.Length - i);
            (best, threshold) = variance > best ? (variance, (sorted[i - 1] + sorted[i]) / 2) : (best, threshold);
        }

        return threshold;
    }

    /// <summary>The largest piece of marked cells that are connected by their sides.</summary>
    private static bool[] Largest(bool[] marked, int columns, out int area)
    {
        int[] piece = new int[marked.Length];
        List<int> areas = [0];
        Stack<int> open = new();
        for (int i = 0; i < marked.Length; i++)
        {
            if (marked[i] && piece[i] == 0)
            {
                areas.Add(0);
                Visit(i);
                while (open.TryPop(out int at))
                {
                    areas[^1]++;
                    Visit(at % columns > 0 ? at - 1 : at);
                    Visit(at % columns < columns - 1 ? at + 1 : at);
                    Visit(at - columns);
                    Visit(at + columns);
                }
            }
        }

        int largest = areas.IndexOf(areas.Max());
        area = areas[largest];
        return Array.ConvertAll(piece, own => own == largest);

        void Visit(int at)
        {
            if (at >= 0 && at < marked.Length && marked[at] && piece[at] == 0)
            {
                piece[at] = areas.Count - 1;
                open.Push(at);
            }
        }
    }

    /// <summary>The distance of a cell from the nearest edge of a quadrilateral; negative outside.</summary>
    private static float Depth(Vector2[] corners, int cell, int columns)
    {
        Vector2 place = new(cell % columns + 0.5f, cell / columns + 0.5f);
        return corners.Zip([.. corners[1..], corners[0]], (from, to) =>
            ((to.X - from.X) * (place.Y - from.Y) - (to.Y - from.Y) * (place.X - from.X)) / Math.Max(1, (to - from).Length())).Min();
    }
}
