using System.Numerics;

namespace CudnnDigits.Tests.Reference;

/// <summary>A picture of a sheet that somebody wrote on, (Height, Width, 4) uint8, and what happens to such pictures.</summary>
internal sealed class Sheet(int width, int height)
{
    private readonly Vector3[] _pixels = new Vector3[width * height];

    public int Width => width;

    public int Height => height;

    /// <summary>Gives every pixel a colour by its place, 0 … 1 across and down.</summary>
    public Sheet Paper(Func<float, float, Vector3> colour) => Each((_, x, y) => colour((x + 0.5f) / width, (y + 0.5f) / height));

    public Sheet Paper(float brightness) => Paper((_, _) => new Vector3(brightness));

    /// <summary>Draws what covers the sheet from 0 to 1 at each pixel.</summary>
    public Sheet Draw(Vector3 ink, Func<int, int, float> cover) => Each((paper, x, y) => Vector3.Lerp(paper, ink, cover(x, y)));

    /// <summary>Draws a digit of 28×28, enlarged to a square.</summary>
    public Sheet Draw(Vector3 ink, ReadOnlySpan<byte> digit, int size, int left, int top)
    {
        float[] cover = Enlarge(digit, size);
        return Draw(ink, (x, y) => x >= left && x < left + size && y >= top && y < top + size ? cover[(y - top) * size + x - left] : 0);
    }

    /// <summary>Draws a digit that is so many pixels wider at each side.</summary>
    public Sheet Bold(Vector3 ink, ReadOnlySpan<byte> digit, int size, int left, int top, int wider)
    {
        float[] cover = Enlarge(digit, size);
        return Draw(ink, (x, y) =>
        {
            float most = 0;
            for (int row = Math.Max(0, y - top - wider); row < Math.Min(size, y - top + wider + 1); row++)
            {
                for (int column = Math.Max(0, x - left - wider); column < Math.Min(size, x - left + wider + 1); column++)
                {
                    most = Math.Max(most, cover[row * size + column]);
                }
            }

            return most;
        });
    }

    /// <summary>Draws the middle line of a digit, as large as the sheet, with a round pen.</summary>
    public Sheet Trace(Vector3 ink, ReadOnlySpan<byte> digit, int pen)
    {
        bool[] line = MiddleLine(Array.ConvertAll(Enlarge(digit, width), value => value > 0.5f), width), drawn = new bool[line.Length];
        int radius = pen / 2;
        for (int i = 0; i < line.Length; i++)
        {
            for (int y = Math.Max(0, i / width - radius); line[i] && y <= Math.Min(height - 1, i / width + radius); y++)
            {
                for (int x = Math.Max(0, i % width - radius); x <= Math.Min(width - 1, i % width + radius); x++)
                {
                    (int across, int down) = (x - i % width, y - i / width);
                    drawn[y * width + x] |= across * across + down * down <= radius * radius;
                }
            }
        }

        return Draw(ink, (x, y) => drawn[y * width + x] ? 1 : 0);
    }

    /// <summary>Adds Gaussian noise, the same in all three channels or its own in each.</summary>
    public Sheet Noise(float deviation, Random random, bool gray = true)
    {
        return Each((pixel, _, _) => pixel + deviation * (gray ? new Vector3(Normal()) : new Vector3(Normal(), Normal(), Normal())));

        float Normal() => MathF.Sqrt(-2 * MathF.Log(1 - random.NextSingle())) * MathF.Cos(2 * MathF.PI * random.NextSingle());
    }

    /// <summary>Multiplies the light by its share at each place, 0 … 1 across and down.</summary>
    public Sheet Light(Func<float, float, float> share) => Each((pixel, x, y) => pixel * share((x + 0.5f) / width, (y + 0.5f) / height));

    /// <summary>Makes grey of black and white dots, by a Bayer matrix, as a scanner of one bit does.</summary>
    public Sheet Dots()
    {
        int[] levels = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5];
        return Each((pixel, x, y) => new Vector3(pixel.Y > levels[y % 4 * 4 + x % 4] * 16 + 8 ? 255 : 0));
    }

    public byte[] ToRgba()
    {
        byte[] rgba = new byte[4 * _pixels.Length];
        for (int i = 0; i < rgba.Length; i++)
        {
            rgba[i] = i % 4 == 3 ? (byte)255 : (byte)Math.Clamp(MathF.Round(_pixels[i / 4][i % 4]), 0, 255);
        }

        return rgba;
    }

    /// <summary>(size, size) 0 … 1, interpolated between the pixels of a digit.</summary>
    private static float[] Enlarge(ReadOnlySpan<byte> digit, int size)
    {
        float[] cover = new float[size * size];
        for (int i = 0; i < cover.Length; i++)
        {
            (float x, float y) = ((i % size + 0.5f) * 28 / size - 0.5f, (i / size + 0.5f) * 28 / size - 0.5f);
            (int left, int top) = ((int)MathF.Floor(x), (int)MathF.Floor(y));
            float upper = float.Lerp(At(digit, left, top), At(digit, left + 1, top), x - left);
            float lower = float.Lerp(At(digit, left, top + 1), At(digit, left + 1, top + 1), x - left);
            cover[i] = float.Lerp(upper, lower, y - top) / 255;
        }

        return cover;

        static float At(ReadOnlySpan<byte> digit, int x, int y) => x is >= 0 and < 28 && y is >= 0 and < 28 ? digit[28 * y + x] : 0;
    }

    /// <summary>
    /// Thins strokes to lines of one pixel. Source: T. Y. Zhang, C. Y. Suen, "A fast parallel algorithm for thinning digital patterns",
    /// 1984.
    /// </summary>
    private static bool[] MiddleLine(bool[] stroke, int width)
    {
        (int X, int Y)[] around = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)];
        List<int> left = [.. Enumerable.Range(0, stroke.Length).Where(i => stroke[i])];
        int[] near = new int[9];
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int half = 0; half < 2; half++)
            {
                List<int> edge = [];
                foreach (int i in left)
                {
                    for (int n = 0; n < 8; n++)
                    {
                        (int x, int y) = (i % width + around[n].X, i / width + around[n].Y);
                        near[n] = x >= 0 && x < width && y >= 0 && y < stroke.Length / width && stroke[y * width + x] ? 1 : 0;
                    }

                    near[8] = near[0];
                    (int count, int rises) = (0, 0);
                    for (int n = 0; n < 8; n++)
                    {
                        count += near[n];
                        rises += near[n] < near[n + 1] ? 1 : 0;
                    }

                    bool open = half == 0
                        ? near[0] * near[2] * near[4] == 0 && near[2] * near[4] * near[6] == 0
                        : near[0] * near[2] * near[6] == 0 && near[0] * near[4] * near[6] == 0;
                    if (count is >= 2 and <= 6 && rises == 1 && open)
                    {
                        edge.Add(i);
                    }
                }

                edge.ForEach(i => stroke[i] = false);
                left.RemoveAll(i => !stroke[i]);
                changed |= edge.Count > 0;
            }
        }

        return stroke;
    }

    private Sheet Each(Func<Vector3, int, int, Vector3> change)
    {
        for (int i = 0; i < _pixels.Length; i++)
        {
            _pixels[i] = change(_pixels[i], i % width, i / width);
        }

        return this;
    }
}
