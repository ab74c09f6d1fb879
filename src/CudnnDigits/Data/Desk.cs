using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>Finds a sheet that lies on a desk, turned and seen from any side, or a picture within a frame.</summary>
internal static class Desk
{
    private const int MostCells = 160; // on the longer side: the picture is divided into square cells, which are sheet or desk
    private const int LeastCells = 16; // on the shorter side: less is no sheet with a readable digit
    private const double LeastSheet = 0.12; // a sheet covers at least this share of the picture
    private const double LeastPaper = 0.6; // blank paper covers at least this share of a sheet, and ink the rest
    private const double MostPaperOutside = 0.15; // at most this share of the cells outside a sheet look like its paper
    private const double MostAtBorder = 0.25; // a sheet that runs out of the picture takes at most this share of the border
    private const double MostBeside = 0.1; // at most this share of a sheet lies outside the quadrilateral of its corners
    private const double MostNotches = 0.08; // at most this share of that quadrilateral is notches, as a bold digit has them
    private const float NotchDepth = 2; // a notch is open to the outside, and deeper than so many cells; ink on a sheet is enclosed
    private const int SmallCells = 32; // a picture with fewer cells on a side has no notches: at 28×28, a digit may touch its frame
    private const double MostAspect = 2.2; // a sheet is at most so many times as long as wide; a bold printed one is longer

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
            bool[] paper = Array.ConvertAll(values, value => value > threshold == isPaper), sheet = Largest(paper, columns, out int area);
            if (area < LeastPaper * LeastSheet * cells.Length)
            {
                continue;
            }

            float[] depths = Depths(Corners(sheet, columns), columns, cells.Length, out float longest);
            if (IsSheet(sheet, area, paper, depths, columns, longest))
            {
                return Cut(rgba, ref width, ref height, side, columns, paper, depths);
            }
        }

        return null;
    }

    private static bool IsSheet(bool[] sheet, int area, bool[] paper, float[] depths, int columns, float longest)
    {
        (int whole, int beside, int paperOutside, int atBorder) = (0, 0, 0, 0);
        for (int i = 0; i < sheet.Length; i++)
        {
            bool isWithin = depths[i] >= 0;
            whole += isWithin ? 1 : 0;
            beside += sheet[i] && !isWithin ? 1 : 0;
            paperOutside += paper[i] && !isWithin ? 1 : 0;
            bool isBorder = i % columns == 0 || i % columns == columns - 1 || i < columns || i >= sheet.Length - columns;
            atBorder += sheet[i] && isBorder ? 1 : 0;
        }

        return whole >= LeastSheet * sheet.Length && area >= LeastPaper * whole
            && beside <= MostBeside * area
            && paperOutside <= MostPaperOutside * (sheet.Length - whole)
            && atBorder <= MostAtBorder * 2 * (columns + sheet.Length / columns)
            && longest * longest <= (MostAspect + 1 / MostAspect) * whole
            && (sheet.Length < SmallCells * SmallCells || Notches() <= MostNotches * whole);

        int Notches()
        {
            bool[] free = Array.ConvertAll(sheet, isSheet => !isSheet);
            return Flood(free, columns, [.. Enumerable.Range(0, sheet.Length).Where(i => free[i] && depths[i] < 0)])
                .Count(i => depths[i] >= NotchDepth);
        }
    }

    /// <summary>Copies the sheet's box. Each cell outside the sheet becomes like the nearest cell of paper in its row.</summary>
    private static byte[]? Cut(
        byte[] rgba, ref int width, ref int height, int side, int columns, bool[] paper, float[] depths)
    {
        int rows = paper.Length / columns, stride = width;
        float edge = 0.5f + Math.Max(columns, rows) / 100f; // soft, or not quite straight
        int[] inside = [.. Enumerable.Range(0, paper.Length).Where(i => paper[i] && depths[i] >= edge)];
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
                int from = depths[at] >= edge ? at : inRow[row].MinBy(i => Math.Abs(i - at));
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
        float[] sorted = [.. values];
        Array.Sort(sorted);
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
        bool[] free = [.. marked], largest = new bool[marked.Length];
        List<int> most = [];
        for (int i = 0; i < marked.Length; i++)
        {
            List<int>? piece = free[i] ? Flood(free, columns, i) : null;
            most = piece?.Count > most.Count ? piece : most;
        }

        most.ForEach(i => largest[i] = true);
        area = most.Count;
        return largest;
    }

    /// <summary>The free cells that are connected with given ones by their sides. They are not free afterwards.</summary>
    private static List<int> Flood(bool[] free, int columns, params int[] from)
    {
        List<int> found = [];
        Array.ForEach(from, Visit);
        for (int next = 0; next < found.Count; next++)
        {
            int at = found[next];
            Visit(at % columns > 0 ? at - 1 : at);
            Visit(at % columns < columns - 1 ? at + 1 : at);
            Visit(at - columns);
            Visit(at + columns);
        }

        return found;

        void Visit(int at)
        {
            if (at >= 0 && at < free.Length && free[at])
            {
                free[at] = false;
                found.Add(at);
            }
        }
    }

    /// <summary>The corners of a sheet, clockwise as seen: what lies farthest in each diagonal direction, as it may be turned.</summary>
    private static Vector2[] Corners(bool[] sheet, int columns)
    {
        (int Across, int Down)[] directions = [(-1, -1), (1, -1), (1, 1), (-1, 1)];
        (int Far, int At)[] farthest = [.. directions.Select(_ => (int.MinValue, 0))];
        for (int i = 0; i < sheet.Length; i++)
        {
            for (int corner = 0; sheet[i] && corner < directions.Length; corner++)
            {
                int far = directions[corner].Across * (i % columns) + directions[corner].Down * (i / columns);
                farthest[corner] = far > farthest[corner].Far ? (far, i) : farthest[corner];
            }
        }

        return [.. farthest.Zip(directions, (one, to) =>
            new Vector2(one.At % columns + (1 + to.Across) / 2, one.At / columns + (1 + to.Down) / 2))];
    }

    /// <summary>The distance of each cell from the nearest edge of a quadrilateral, negative outside; and its longer diagonal.</summary>
    private static float[] Depths(Vector2[] corners, int columns, int cells, out float longest)
    {
        longest = Math.Max((corners[2] - corners[0]).Length(), (corners[3] - corners[1]).Length());
        Vector2[] edges = [.. corners.Select((from, i) => corners[(i + 1) % corners.Length] - from)
            .Select(edge => edge / Math.Max(1, edge.Length()))];
        float[] depths = new float[cells];
        for (int i = 0; i < cells; i++)
        {
            Vector2 place = new(i % columns + 0.5f, i / columns + 0.5f);
            depths[i] = float.PositiveInfinity;
            for (int edge = 0; edge < edges.Length; edge++)
            {
                Vector2 from = place - corners[edge];
                depths[i] = Math.Min(depths[i], edges[edge].X * from.Y - edges[edge].Y * from.X);
            }
        }

        return depths;
    }
}
