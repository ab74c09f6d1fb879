using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>Finds the ink of one digit in a picture of a sheet of paper, for any colours, light and pen.</summary>
internal static class Ink
{
    private const int FewestPixels = 8; // a stroke has at least so many pixels above the noise
    private const double WithinDesk = 0.1; // a desk or a line at the border is dropped if another piece has this share of its length
    private const double WithinOther = 0.5; // other ink at the border may be the digit, and is dropped if another piece has this share
    private const double WholeSide = 0.9; // a desk around the sheet covers this share of three sides; a closely cropped digit does not
    private const double OwnGap = 0.15; // ink at the border that is nearer to the inner piece than this share of its length belongs to it
    private const double LeastHole = 0.1, MostHole = 0.3; // a punched hole's length is between these shares of the digit's largest piece
    private const double FarHole = 0.15; // a punched hole lies further from that piece than this share of its length
    private const double HoleFill = 0.6, HoleAspect = 1.5; // it fills so much of its box, and is at most so many times as long as wide
    private const double Flat = 8, Underline = 1.4; // a line to write on is so many times as wide as high, and as the digit above it
    private const double LeastCover = 0.1; // the box of a frame covers this share of the picture
    private const double FrameEdge = 0.85, FrameWidth = 0.06; // a frame has 85 % of its pixels within 6 % of its box from the edge
    private const double LeastInFrame = 0.2; // a frame surrounds a piece of at least this share of its length

    /// <summary>Finds the ink in (height, width, 4) uint8: (rows, width) uint8, 0 = paper … 255 = ink; null if none.</summary>
    public static (byte[] Ink, int Width)? Find(ReadOnlySpan<byte> rgba, int width, int height)
    {
        const float Strong = 0.55f; // ruled lines and stains do not reach this share of the full contrast
        const float EdgeContrast = 0.4f; // a stroke differs from both of its sides by this share of the contrast, an edge from one
        const double Slim = 2.4; // a small picture, or one so many times as long as wide, may have paper on one side of the strokes only
        const double PenWidth = 2.2, ThinPen = 1.8; // a thinner pen is widened to the first width, in pixels of the fitted digit
        Paper paper = new(rgba, width, height);
        float[] differences = paper.Differences(rgba);
        float faintest = Faintest(differences);
        float[] sure = Array.FindAll(differences, difference => difference > faintest);
        if (sure.Length < FewestPixels)
        {
            return null;
        }

        float contrast = Paper.Quantile(0.95, sure); // dust may be darker than the ink
        bool[] strokes = Strokes(differences, Strong * contrast, faintest, width, height, out Piece digit);
        int shorter = Math.Min(width, height);
        bool isClose = shorter < DigitDataset.Side || Math.Max(width, height) >= Slim * shorter;
        if (digit.Area == 0 || !(isClose || HaveTwoSides(strokes, paper.Along(rgba), width, EdgeContrast * contrast)))
        {
            return null;
        }

        // Pixels next to a stroke belong to its soft edge. The pen is four times as wide as a stroke's point is from the edge on average.
        double pixel = Math.Max(1, digit.Extent / (double)DigitPicture.FittedSide);
        float[] inside = Distances(Array.ConvertAll(strokes, stroke => !stroke), width);
        double penWidth = 4 * (inside.Where((_, i) => strokes[i]).Average(distance => (double)distance) - 0.5);
        double wider = penWidth < ThinPen * pixel ? (PenWidth * pixel - penWidth) / 2 : 0;
        float[] distances = Distances(strokes, width);
        byte[] ink = new byte[differences.Length];
        for (int i = 0; i < ink.Length; i++)
        {
            double own = distances[i] <= 1.5 * pixel ? differences[i] / contrast : 0;
            double drawn = wider > 0 ? wider + 0.5 - distances[i] : 0;
            ink[i] = (byte)Math.Round(255 * Math.Clamp(Math.Max(own, drawn), 0, 1));
        }

        return (ink, width);
    }

    /// <summary>Whether there is paper on both sides of strokes of any width, and not the edge of a shadow or of a desk.</summary>
    private static bool HaveTwoSides(bool[] strokes, float[] values, int width, float least)
    {
        const double Few = 0.1; // so many points have paper on both sides; in a digit that was cut out closely, most do not
        int height = strokes.Length / width;
        int[] marked = [.. Enumerable.Range(0, strokes.Length).Where(at => strokes[at])];
        for (int reach = 2; reach <= Math.Max(width, height) / 3; reach *= 2)
        {
            int sided = marked.Count(at =>
                Differs(at, reach, 0) || Differs(at, 0, reach) || Differs(at, reach, reach) || Differs(at, reach, -reach));
            if (sided >= Few * marked.Length)
            {
                return true;
            }
        }

        return false;

        bool Differs(int at, int across, int down)
        {
            (int x, int y, int far) = (at % width, at / width, across + down * width);
            return Math.Min(x, width - 1 - x) >= Math.Abs(across) && Math.Min(y, height - 1 - y) >= Math.Abs(down)
                && values[at] - Math.Max(values[at - far], values[at + far]) > least;
        }
    }

    /// <summary>The difference from the sheet that only ink exceeds.</summary>
    private static float Faintest(float[] differences)
    {
        const int Sample = 1 << 14;
        const float LeastDifference = 12; // levels of 255 by which paper and compression differ everywhere
        const float MostNoise = 64; // a larger estimate measures ink, on a picture with little paper
        int step = (differences.Length + Sample - 1) / Sample;
        IEnumerable<float> magnitudes = Enumerable.Range(0, differences.Length / step).Select(i => Math.Abs(differences[i * step]));

        // 15 % of normal deviations are within 0.189 standard deviations; other pixels may be ink. Only ink exceeds five of them.
        return Math.Clamp(5 / 0.189f * Paper.Quantile(0.15, magnitudes), LeastDifference, MostNoise);
    }

    /// <summary>Marks the pixels of the digit's strokes: the largest connected piece of ink, and all others except dust.</summary>
    private static bool[] Strokes(float[] differences, float least, float faintest, int width, int height, out Piece whole)
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

            Piece piece = new(0, 0, width, 0, height, 0, default);
            pieces[i] = found.Count;
            for (open.Push(i); open.TryPop(out int at);)
            {
                (int x, int y) = (at % width, at / width);
                Vector4 border = new(x == 0 ? 1 : 0, x == width - 1 ? 1 : 0, y == 0 ? 1 : 0, y == height - 1 ? 1 : 0);
                piece = piece.With(new Piece(1, differences[at] > faintest ? 1 : 0, x, x, y, y, border));
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

        // The frame of a box and the edge of a sheet on a desk are no strokes.
        int[] atEdge = new int[found.Count];
        for (int i = 0; i < pieces.Length; i++)
        {
            Piece own = found[pieces[i]];
            (int x, int y) = (i % width, i / width);
            int fromEdge = Math.Min(Math.Min(x - own.Left, own.Right - x), Math.Min(y - own.Top, own.Bottom - y));
            atEdge[pieces[i]] += fromEdge <= FrameWidth * Math.Min(own.Width, own.Height) ? 1 : 0;
        }

        for (int i = 1; i < found.Count; i++)
        {
            Piece own = found[i];
            bool isFrame = own.Covers(LeastCover, width, height) && atEdge[i] > FrameEdge * own.Area
                && own.Area > FrameEdge * 2 * (own.Width + own.Height)
                && found.Any(piece => piece.Extent > LeastInFrame * own.Extent && own.Surrounds(piece));
            found[i] = isFrame ? own with { Sure = 0 } : own;
        }

        const double Dust = 0.03; // a piece with a smaller share of the largest one's area is dust
        int desk = Longest(IsDesk), other = Longest(Touches), within = Longest(piece => !Touches(piece));
        Piece inner = found.Where(piece => !Touches(piece)).MaxBy(piece => piece.Extent);
        bool IsCandidate(Piece piece) => piece.Sure >= FewestPixels && !IsRoundTheSheet(piece)
            && !(IsDesk(piece) && within >= Math.Max(1, WithinDesk * desk))
            && !(Touches(piece) && within >= Math.Max(1, WithinOther * other) && piece.Gap(inner) > OwnGap * inner.Extent);
        Piece largest = found.Where(IsCandidate).DefaultIfEmpty().MaxBy(piece => piece.Area);
        bool[] kept = [.. found.Select(piece => IsCandidate(piece) && piece.Area >= Dust * largest.Area && !IsHole(piece))];
        for (int i = 0; i < kept.Length; i++)
        {
            Piece others = found.Where((_, k) => kept[k] && k != i).DefaultIfEmpty().Aggregate((a, b) => a.With(b));
            kept[i] &= !(others.Area > 0 && IsFlat(found[i]) && others.Bottom < found[i].Top && found[i].Width > Underline * others.Width);
        }

        whole = found.Where((_, i) => kept[i]).DefaultIfEmpty().Aggregate((a, b) => a.With(b));
        whole = whole.Extent < Math.Max(3, Math.Min(width, height) / 64) ? default : whole;
        return Array.ConvertAll(pieces, piece => kept[piece]);

        int Longest(Func<Piece, bool> condition) => found.Where(condition).Select(piece => piece.Extent).DefaultIfEmpty().Max();

        // A desk beside the sheet reaches the border of the picture; a digit does so only if it was closely cropped.
        bool Touches(Piece piece) => piece.Area > 0 && piece.Sides(width, height).Any(share => share > 0);
        bool IsHole(Piece piece) => piece.Extent > LeastHole * largest.Extent && piece.Extent < MostHole * largest.Extent
            && piece.Gap(largest) > FarHole * largest.Extent
            && piece.Fill > HoleFill && piece.Extent < HoleAspect * Math.Min(piece.Width, piece.Height);
        bool IsFlat(Piece piece) => piece.Width >= Flat * piece.Height;
        bool IsDesk(Piece piece) => piece.Sides(width, height).Max() >= 0.5
            || piece.Sides(width, height).Count(share => share > 0) > 1 || (Touches(piece) && IsFlat(piece));
        bool IsRoundTheSheet(Piece piece) => piece.Sides(width, height).Count(share => share >= WholeSide) >= 3;
    }

    /// <summary>The distance of each pixel from the nearest marked one, to a few percent (Borgefors 1986, chamfer 3-4).</summary>
    private static float[] Distances(bool[] marked, int width)
    {
        const float Side = 0.95509f, Corner = 1.36930f; // the source's optimal weights
        int stride = width + 2; // with a border, which is infinitely far
        float[] bordered = new float[stride * (marked.Length / width + 2)], distances = new float[marked.Length];
        Array.Fill(bordered, float.PositiveInfinity);
        for (int i = 0; i < marked.Length; i++)
        {
            bordered[At(i)] = marked[i] ? 0 : Beside(At(i), -1);
        }

        for (int i = marked.Length - 1; i >= 0; i--)
        {
            distances[i] = bordered[At(i)] = Math.Min(bordered[At(i)], Beside(At(i), 1));
        }

        return distances;

        int At(int i) => (i / width + 1) * stride + i % width + 1;

        float Beside(int at, int step) => Math.Min(
            Math.Min(bordered[at + step], bordered[at + step * stride]) + Side,
            Math.Min(bordered[at + step * stride - 1], bordered[at + step * stride + 1]) + Corner);
    }

    /// <summary>Connected ink: its pixels, those above the noise, its box, and its pixels on each side of the picture.</summary>
    private readonly record struct Piece(int Area, int Sure, int Left, int Right, int Top, int Bottom, Vector4 Border)
    {
        public int Width => Area == 0 ? 0 : 1 + Right - Left;

        public int Height => Area == 0 ? 0 : 1 + Bottom - Top;

        /// <summary>The longer side of the box.</summary>
        public int Extent => Math.Max(Width, Height);

        /// <summary>Whether the box covers more than a share of the picture.</summary>
        public bool Covers(double part, int width, int height) => Width * (double)Height > part * width * height;

        /// <summary>The share of the box that the piece fills.</summary>
        public double Fill => Area / Math.Max(1, Width * (double)Height);

        /// <summary>The share of each side of the picture that the piece covers.</summary>
        public float[] Sides(int width, int height) => [Border.X / height, Border.Y / height, Border.Z / width, Border.W / width];

        /// <summary>The number of pixels between two boxes.</summary>
        public int Gap(Piece other) => Math.Max(0, Math.Max(
            Math.Max(other.Left - Right, Left - other.Right), Math.Max(other.Top - Bottom, Top - other.Bottom)));

        public bool Surrounds(Piece other) => other.Left > Left && other.Right < Right && other.Top > Top && other.Bottom < Bottom;

        public Piece With(Piece other) => new(
            Area + other.Area, Sure + other.Sure,
            Math.Min(Left, other.Left), Math.Max(Right, other.Right), Math.Min(Top, other.Top), Math.Max(Bottom, other.Bottom),
            Border + other.Border);
    }
}
