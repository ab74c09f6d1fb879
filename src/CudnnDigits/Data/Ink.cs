namespace CudnnDigits.Data;

/// <summary>Finds the ink of one digit in a picture of a sheet, whatever the colours, the light and the pen.</summary>
internal static class Ink
{
    /// <summary>Levels of 255 by which ink differs from the sheet at least: paper and compression leave some everywhere.</summary>
    private const float LeastDifference = 12;

    /// <summary>
    /// Levels of 255 that no sheet's noise reaches. Where little of the sheet is left round the ink, ink would pass for noise.
    /// </summary>
    private const float MostNoise = 64;

    /// <summary>The least number of pixels that differ by so much in a stroke.</summary>
    private const int FewestPixels = 8;

    /// <summary>Standard deviations of the sheet's noise that nothing but ink exceeds.</summary>
    private const float NoiseReach = 5;

    /// <summary>Ink covers this share of the full contrast; ruling is fainter, and so are stains.</summary>
    private const float Strong = 0.55f;

    /// <summary>The least part of the largest stroke that counts as another stroke and not as dust.</summary>
    private const double Dust = 0.03;

    /// <summary>The least part of what reaches the border that is the digit on its sheet.</summary>
    private const double Within = 0.1;

    /// <summary>Width that a thin pen is brought to, and width below which a pen is thin, in pixels of the fitted digit.</summary>
    private const double PenWidth = 2.2, ThinPen = 1.8;

    private const int FittedSide = 20;

    /// <summary>Finds it.</summary>
    /// <param name="rgba">(height, width, 4) uint8, of which the last is not looked at.</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="height">Rows.</param>
    /// <returns>(height, width) uint8, 0 = paper … 255 = ink; null where nothing differs.</returns>
    public static byte[]? Find(ReadOnlySpan<byte> rgba, int width, int height)
    {
        float[] differences = new Paper(rgba, width, height).Differences(rgba);
        float faintest = Faintest(differences);
        float[] sure = Array.FindAll(differences, difference => difference > faintest);
        if (sure.Length < FewestPixels)
        {
            return null;
        }

        Array.Sort(sure);
        float contrast = sure[(int)(0.95 * sure.Length)]; // dust may be darker than the ink
        bool[] strokes = Strokes(differences, Strong * contrast, faintest, width, height, out int extent);
        if (extent == 0)
        {
            return null;
        }

        // What is next to a stroke is its soft edge; a thin pen is made wider.
        double pixel = Math.Max(1, extent / (double)FittedSide);
        double penWidth = PenWidthOf(strokes, width);
        double wider = penWidth < ThinPen * pixel ? (PenWidth * pixel - penWidth) / 2 : 0;
        float[] distances = Distances(strokes, width);
        byte[] ink = new byte[differences.Length];
        for (int i = 0; i < ink.Length; i++)
        {
            double own = distances[i] <= 1.5 * pixel ? differences[i] / contrast : 0;
            double drawn = wider > 0 ? wider + 0.5 - distances[i] : 0;
            ink[i] = (byte)Math.Round(255 * Math.Clamp(Math.Max(own, drawn), 0, 1));
        }

        return ink;
    }

    /// <summary>Nothing but ink differs from the sheet by so much.</summary>
    private static float Faintest(float[] differences)
    {
        const int Sample = 1 << 14;
        const double Share = 0.15; // of normal deviations, within 0.189 of the standard deviation; the rest may be ink
        int step = (differences.Length + Sample - 1) / Sample;
        float[] magnitudes = [.. Enumerable.Range(0, differences.Length / step).Select(i => Math.Abs(differences[i * step]))];
        Array.Sort(magnitudes);
        return Math.Clamp(NoiseReach / 0.189f * magnitudes[(int)(Share * magnitudes.Length)], LeastDifference, MostNoise);
    }

    /// <summary>Where the digit's strokes are: the largest connected piece of ink, and all others but dust.</summary>
    private static bool[] Strokes(float[] differences, float least, float faintest, int width, int height, out int extent)
    {
        int[] pieces = new int[differences.Length]; // 0 = none
        List<Piece> found = [default];
        Stack<int> open = new();
        for (int i = 0; i < pieces.Length; i++)
        {
            if (differences[i] < least || pieces[i] != 0)
            {
                continue;
            }

            Piece piece = new(0, 0, width, 0, height, 0);
            pieces[i] = found.Count;
            for (open.Push(i); open.TryPop(out int at);)
            {
                (int x, int y) = (at % width, at / width);
                piece = new(
                    piece.Area + 1, piece.Sure + (differences[at] > faintest ? 1 : 0),
                    Math.Min(piece.Left, x), Math.Max(piece.Right, x), Math.Min(piece.Top, y), Math.Max(piece.Bottom, y));
                for (int nearY = Math.Max(0, y - 1); nearY <= Math.Min(height - 1, y + 1); nearY++)
                {
                    for (int nearX = Math.Max(0, x - 1); nearX <= Math.Min(width - 1, x + 1); nearX++)
                    {
                        int near = nearY * width + nearX;
                        if (differences[near] >= least && pieces[near] == 0)
                        {
                            pieces[near] = found.Count;
                            open.Push(near);
                        }
                    }
                }
            }

            found.Add(piece);
        }

        // A desk beside the sheet reaches the border of the picture; a digit does so only where it was cut out closely.
        int outside = found.Where(Touches).Max(piece => piece.Extent), within = found.Where(piece => !Touches(piece)).Max(piece => (int?)piece.Extent) ?? 0;
        bool isWithin = within > 0 && within >= Within * outside;
        bool IsCandidate(Piece piece) => piece.Sure >= FewestPixels && !(isWithin && Touches(piece));
        int largest = found.Where(IsCandidate).Max(piece => (int?)piece.Area) ?? 0;
        bool[] kept = [.. found.Select(piece => IsCandidate(piece) && piece.Area >= Dust * largest)];
        Piece[] digit = [.. found.Where((_, i) => kept[i])];
        extent = digit.Length == 0 ? 0 : digit.Aggregate((a, b) => a.With(b)).Extent;
        extent = extent < Math.Max(3, Math.Min(width, height) / 64) ? 0 : extent;
        return Array.ConvertAll(pieces, piece => kept[piece]);

        bool Touches(Piece piece) => piece.Left == 0 || piece.Right == width - 1 || piece.Top == 0 || piece.Bottom == height - 1;
    }

    /// <summary>How wide the pen was, in pixels: the mean distance from within a ribbon to its edge is a quarter of its width.</summary>
    private static double PenWidthOf(bool[] strokes, int width)
    {
        float[] inside = Distances(Array.ConvertAll(strokes, stroke => !stroke), width);
        return 4 * (inside.Where((_, i) => strokes[i]).Average(distance => (double)distance) - 0.5);
    }

    /// <summary>How far each pixel is from the nearest that is marked, within a few percent.</summary>
    // Source: G. Borgefors, "Distance transformations in digital images", 1986 (chamfer 3-4).
    private static float[] Distances(bool[] marked, int width)
    {
        const float Side = 0.95509f, Corner = 1.36930f; // the optimal weights there
        float[] distances = Array.ConvertAll(marked, mark => mark ? 0 : float.PositiveInfinity);
        for (int i = 0; i < distances.Length; i++)
        {
            Lower(i, -1);
        }

        for (int i = distances.Length - 1; i >= 0; i--)
        {
            Lower(i, 1);
        }

        return distances;

        void Lower(int i, int step)
        {
            int x = i % width, beside = i + step, line = i + step * width;
            float least = distances[i];
            if (least == 0)
            {
                return;
            }

            if (x + step >= 0 && x + step < width)
            {
                least = Math.Min(least, distances[beside] + Side);
            }

            if (line >= 0 && line < distances.Length)
            {
                least = Math.Min(least, distances[line] + Side);
                least = x > 0 ? Math.Min(least, distances[line - 1] + Corner) : least;
                least = x < width - 1 ? Math.Min(least, distances[line + 1] + Corner) : least;
            }

            distances[i] = least;
        }
    }

    /// <summary>A connected piece of ink: its pixels, those of them that are surely ink, and its box.</summary>
    private readonly record struct Piece(int Area, int Sure, int Left, int Right, int Top, int Bottom)
    {
        /// <summary>The longer side of the box.</summary>
        public int Extent => Area == 0 ? 0 : 1 + Math.Max(Right - Left, Bottom - Top);

        public Piece With(Piece other) => new(
            Area + other.Area, Sure + other.Sure,
            Math.Min(Left, other.Left), Math.Max(Right, other.Right), Math.Min(Top, other.Top), Math.Max(Bottom, other.Bottom));
    }
}
