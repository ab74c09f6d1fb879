namespace CudnnDigits.Data;

/// <summary>Removes the printed lines of ruled and squared paper, which run nearly straight from border to border.</summary>
internal static class Ruling
{
    private const double Long = 0.7; // a line covers at least this share of the picture's side if it is not written over
    private const double LongEnough = 0.45; // a line covers at least this share if there are such lines beside it
    private const double Thick = 1 / 80.0; // a line is at most this share of the picture's side thick
    private const double Slant = 1 / 16.0; // from end to end, a line rises or falls by at most this share of the picture's other side
    private const int Pieces = 64; // a line is divided into so many pieces
    private const int LeastDifference = 60; // a line differs from both of its sides by so many levels, of three colours added,
    private const int TimesNoise = 5; // and by so many times the noise

    /// <summary>Replaces the lines in (height, width, 4) uint8 pixels by the colours beside them. The opacity is ignored.</summary>
    public static void Remove(Span<byte> rgba, int width, int height)
    {
        if (Math.Min(width, height) < Pieces)
        {
            return; // too small for lines beside a digit
        }

        int reach = Math.Max(2, (int)(Thick * Math.Min(width, height))) + 1;
        byte[] before = rgba.ToArray();
        bool[]? across = Find(before, (width, 1), (height, width), reach), down = Find(before, (height, width), (width, 1), reach);
        for (int i = 0; i < width * height; i++)
        {
            (int x, int y) = (i % width, i / width);
            bool isAcross = across?[i] == true, isDown = down?[i] == true;
            if (!isAcross && !isDown)
            {
                // Where two lines cross, each continues on both sides.
                isAcross = isDown = across is not null && down is not null
                    && IsBetween(across, i, 1, x, width - 1 - x) && IsBetween(down, i, width, y, height - 1 - y);
            }

            if (isAcross || isDown)
            {
                int columns = isDown ? reach : 0, rows = isAcross ? reach : 0;
                int left = x >= columns ? x - columns : x + columns, right = x < width - columns ? x + columns : x - columns;
                int top = y >= rows ? y - rows : y + rows, bottom = y < height - rows ? y + rows : y - rows;
                int one = 4 * (top * width + left), other = 4 * (bottom * width + right);
                for (int colour = 0; colour < 3; colour++)
                {
                    rgba[4 * i + colour] = (byte)((before[one + colour] + before[other + colour]) / 2);
                }
            }
        }

        // At the picture's border a line need not continue.
        bool IsBetween(bool[] line, int i, int step, int least, int most) =>
            (least < reach || Enumerable.Range(1, reach).Any(k => line[i - k * step]))
            && (most < reach || Enumerable.Range(1, reach).Any(k => line[i + k * step]));
    }

    /// <summary>The pixels of the lines along a direction, widened by one at each side; null if there are fewer than two.</summary>
    private static bool[]? Find(byte[] rgba, (int Count, int Step) along, (int Count, int Step) side, int reach)
    {
        bool[] thin = Thin(rgba, along, side, reach);
        int length = along.Count / Pieces;
        bool[,] full = new bool[Pieces, side.Count]; // pieces of which most pixels are thin, in this row or the next
        for (int piece = 0; piece < Pieces; piece++)
        {
            for (int y = 0; y < side.Count; y++)
            {
                int count = 0;
                for (int x = piece * length; x < (piece + 1) * length; x++)
                {
                    count += thin[At(x, y)] || (y < side.Count - 1 && thin[At(x, y + 1)]) ? 1 : 0;
                }

                full[piece, y] = 5 * count >= 3 * length; // another line may cross it
            }
        }

        return Lines(Long) is null ? null : Lines(LongEnough);

        int At(int x, int y) => x * along.Step + y * side.Step;

        int Contrast(int i)
        {
            int y = i / side.Step % side.Count;
            return Difference(rgba, i, y < reach ? i + reach * side.Step : i - reach * side.Step);
        }

        // Whether one of two neighbouring pieces of a line is there.
        bool IsFull(int from, int to, int piece) => full[piece, Row(from, to, piece)] || full[piece + 1, Row(from, to, piece + 1)];

        static int Row(int from, int to, int piece) => from + ((to - from) * piece + (to > from ? Pieces / 2 : -Pieces / 2)) / Pieces;

        bool[]? Lines(double share)
        {
            bool[,] isLine = new bool[Pieces, side.Count];
            int slant = (int)(Slant * side.Count), least = (int)Math.Ceiling(share * Pieces);
            for (int from = 0; from < side.Count; from++)
            {
                for (int to = Math.Max(0, from - slant); to <= Math.Min(side.Count - 1, from + slant); to++)
                {
                    int count = 0;
                    for (int piece = 0; piece < Pieces && count + Pieces - piece >= least; piece++)
                    {
                        count += full[piece, Row(from, to, piece)] ? 1 : 0;
                    }

                    bool isWhole = IsFull(from, to, 0) && IsFull(from, to, Pieces - 2); // a stroke leaves a margin
                    for (int piece = 0; piece < Pieces && count >= least && isWhole; piece++)
                    {
                        isLine[piece, Row(from, to, piece)] = true;
                    }
                }
            }

            bool[] lines = new bool[thin.Length];
            int[] sections = new int[along.Count]; // the number of lines that a cut across the picture meets
            for (int x = 0; x < along.Count; x++)
            {
                int piece = Math.Min(x / length, Pieces - 1), last = -reach - 1;
                for (int y = 0; y < side.Count; y++)
                {
                    if (!isLine[piece, y])
                    {
                        continue;
                    }

                    sections[x] += y - last > reach ? 1 : 0;
                    last = y;
                    for (int near = Math.Max(0, y - 1); near <= Math.Min(side.Count - 1, y + 2); near++)
                    {
                        lines[At(x, near)] |= thin[At(x, near)]
                            || (near > 0 && thin[At(x, near - 1)]) || (near < side.Count - 1 && thin[At(x, near + 1)]);
                    }
                }
            }

            if (Paper.Quantile(0.5, sections) < 2)
            {
                return null;
            }

            // Pixels that are much darker or lighter than most of the line belong to a stroke across it.
            int most = 3 * Paper.Quantile(0.5, Enumerable.Range(0, lines.Length).Where(i => lines[i] && thin[i]).Select(Contrast)) / 2;
            return [.. lines.Select((isLine, i) => isLine && Contrast(i) <= most)];
        }
    }

    /// <summary>Marks the pixels that differ from both of their sides, which are alike.</summary>
    private static bool[] Thin(byte[] rgba, (int Count, int Step) along, (int Count, int Step) side, int reach)
    {
        const int Sample = 4096;
        int noise = Paper.Quantile(0.5, Enumerable.Range(0, Sample).Select(k =>
        {
            int at = (int)((long)k * along.Count * (side.Count - reach) / Sample);
            int first = at % along.Count * along.Step + at / along.Count * side.Step;
            return Difference(rgba, first, first + reach * side.Step);
        }));
        int least = Math.Max(LeastDifference, TimesNoise * noise);
        bool[] thin = new bool[along.Count * side.Count];
        for (int x = 0; x < along.Count; x++)
        {
            for (int y = 0; y < side.Count; y++)
            {
                int at = x * along.Step + y * side.Step, far = reach * side.Step;
                int up = y < reach ? at + 2 * far : at - far; // at the border, both sides are on one side
                int down = y >= side.Count - reach ? at - 2 * far : at + far;
                thin[at] = Difference(rgba, at, up) > least && Difference(rgba, at, down) > least
                    && 2 * Difference(rgba, up, down) < Difference(rgba, at, up) + Difference(rgba, at, down);
            }
        }

        return thin;
    }

    /// <summary>The difference of two pixels, the three colours added.</summary>
    private static int Difference(byte[] rgba, int one, int other) =>
        Math.Abs(rgba[4 * one] - rgba[4 * other]) + Math.Abs(rgba[4 * one + 1] - rgba[4 * other + 1])
            + Math.Abs(rgba[4 * one + 2] - rgba[4 * other + 2]);
}
