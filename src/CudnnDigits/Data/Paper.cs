using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>The sheet on which a digit was drawn: its colour at each place, and the direction of colour of the ink.</summary>
internal sealed class Paper
{
    // Both are estimated from a small copy of the picture, in which noise averages out. The sheet is a quadratic surface, fitted by
    // iteratively reweighted least squares with Tukey's biweight, which ignores outliers, plus a morphological opening of the remainder,
    // which follows shadows and edges and removes narrow strokes.
    private const int LongestSide = 48, Rounds = 12, Terms = 6;

    /// <summary>Strokes are narrower than this share of the mean of the picture's sides.</summary>
    private const double WidestStroke = 1 / 3.0;

    private readonly int _width, _height, _columns, _rows;

    /// <summary>The surface: the coefficients of 1, u, v, u², uv and v² (u across and v down, 0 … 1).</summary>
    private readonly Vector3[] _surface;

    /// <summary>(rows, columns): height of the sheet above the surface, in the direction of ink.</summary>
    private readonly float[] _above;

    /// <summary>The direction of ink, of length 1.</summary>
    private readonly Vector3 _ink;

    /// <summary>Estimates the sheet of a picture, (height, width, 4) uint8. The opacity is ignored.</summary>
    public Paper(ReadOnlySpan<byte> rgba, int width, int height)
    {
        (_width, _height) = (width, height);
        double scale = Math.Min(1, LongestSide / (double)Math.Max(width, height));
        (_columns, _rows) = (Math.Max(1, (int)(width * scale)), Math.Max(1, (int)(height * scale)));
        Vector3[] small = Reduce(rgba, width, height, _columns, _rows);
        float[][] samples = [.. small.Select((pixel, i) => Sample((i % _columns + 0.5f) / _columns, (i / _columns + 0.5f) / _rows, pixel))];
        _surface = Fit(small, samples);
        Vector3[] differences = Remainder(small, samples, _surface);
        Vector3 axis = Axis(differences);
        float[] along = Array.ConvertAll(differences, difference => Vector3.Dot(axis, difference));
        float[] against = Array.ConvertAll(along, value => -value);
        float[] aboveAlong = Opening(along), aboveAgainst = Opening(against);
        (_ink, _above) = Mass(along, aboveAlong) >= Mass(against, aboveAgainst) ? (axis, aboveAlong) : (-axis, aboveAgainst);
    }

    /// <summary>The differences of the pixels from the sheet, (height, width): 0 = sheet; black on white is 255.</summary>
    public float[] Differences(ReadOnlySpan<byte> rgba)
    {
        float[] differences = Along(rgba);
        float[] ink = Array.ConvertAll(_surface, term => Vector3.Dot(_ink, term));
        for (int y = 0; y < _height; y++)
        {
            float v = (y + 0.5f) / _height;
            (int top, int bottom, float down) = Between(v * _rows - 0.5f, _rows);
            for (int x = 0; x < _width; x++)
            {
                float u = (x + 0.5f) / _width;
                (int left, int right, float across) = Between(u * _columns - 0.5f, _columns);
                float upper = float.Lerp(_above[top * _columns + left], _above[top * _columns + right], across);
                float lower = float.Lerp(_above[bottom * _columns + left], _above[bottom * _columns + right], across);
                float sheet = ink[0] + ink[1] * u + ink[2] * v + ink[3] * u * u + ink[4] * u * v + ink[5] * v * v
                    + float.Lerp(upper, lower, down);
                int at = y * _width + x;
                differences[at] -= sheet / MathF.Sqrt(3);
            }
        }

        return differences;
    }

    /// <summary>The pixels in the direction of ink, (height, width).</summary>
    public float[] Along(ReadOnlySpan<byte> rgba)
    {
        float[] along = new float[_width * _height];
        for (int at = 0; at < along.Length; at++)
        {
            along[at] = Vector3.Dot(_ink, new Vector3(rgba[4 * at], rgba[4 * at + 1], rgba[4 * at + 2])) / MathF.Sqrt(3);
        }

        return along;
    }

    /// <summary>The surface's terms at a place, and the colour there.</summary>
    private static float[] Sample(float u, float v, Vector3 pixel) => [1, u, v, u * u, u * v, v * v, pixel.X, pixel.Y, pixel.Z];

    /// <summary>The differences of the small picture's pixels from a surface.</summary>
    private static Vector3[] Remainder(Vector3[] pixels, float[][] samples, Vector3[] surface)
    {
        Vector3[] remainder = new Vector3[pixels.Length];
        for (int i = 0; i < pixels.Length; i++)
        {
            Vector3 sheet = default;
            float[] sample = samples[i];
            for (int term = 0; term < surface.Length; term++)
            {
                sheet += sample[term] * surface[term];
            }

            remainder[i] = pixels[i] - sheet;
        }

        return remainder;
    }

    /// <summary>The two pixels between which a place lies, and its share of the way from one to the other.</summary>
    public static (int Before, int After, float Share) Between(float place, int count)
    {
        float at = Math.Clamp(place, 0, count - 1);
        return ((int)at, Math.Min((int)at + 1, count - 1), at - (int)at);
    }

    /// <summary>The value below which a share of the values lies.</summary>
    public static T Quantile<T>(double share, IEnumerable<T> values)
    {
        T[] sorted = [.. values];
        Array.Sort(sorted);
        return sorted[(int)(share * sorted.Length)];
    }

    private static Vector3 Median(IEnumerable<Vector3> pixels)
    {
        float Of(int channel) => Quantile(0.5, pixels.Select(pixel => pixel[channel]));
        return new Vector3(Of(0), Of(1), Of(2));
    }

    /// <summary>Means of the pixels in (rows, columns) cells of a picture.</summary>
    public static Vector3[] Reduce(ReadOnlySpan<byte> rgba, int width, int height, int columns, int rows)
    {
        Vector3[] small = new Vector3[columns * rows];
        for (int row = 0; row < rows; row++)
        {
            (int top, int bottom) = (row * height / rows, (row + 1) * height / rows);
            for (int column = 0; column < columns; column++)
            {
                (int left, int right) = (column * width / columns, (column + 1) * width / columns);
                Vector3 sum = default;
                for (int y = top; y < bottom; y++)
                {
                    for (int x = left; x < right; x++)
                    {
                        int at = 4 * (y * width + x);
                        sum += new Vector3(rgba[at], rgba[at + 1], rgba[at + 2]);
                    }
                }

                small[row * columns + column] = sum / ((bottom - top) * (right - left));
            }
        }

        return small;
    }

    /// <summary>Fits the surface to the sheet, starting from the median colour of the border.</summary>
    private Vector3[] Fit(Vector3[] pixels, float[][] samples)
    {
        const float FarMore = 1.25f;
        bool IsBorder(int i) => i < _columns || i >= pixels.Length - _columns || i % _columns is 0 || i % _columns == _columns - 1;
        Vector3 border = Median(pixels.Where((_, i) => IsBorder(i)));
        (Vector3[] surface, int near) = Fit(pixels, samples, border);
        (Vector3[] other, int nearOther) = Fit(pixels, samples, Median(pixels));
        return nearOther > FarMore * near ? other : surface; // the border shows a desk around the sheet
    }

    /// <summary>Fits a surface, starting from one colour, and counts the pixels near it.</summary>
    private static (Vector3[] Surface, int Near) Fit(Vector3[] pixels, float[][] samples, Vector3 start)
    {
        const float Still = 0.05f, Near = 10; // levels: the change below which the fit ends; noise and a little uneven light
        Vector3[] surface = new Vector3[Terms];
        surface[0] = start;
        float[] distances = [];
        for (int round = 0; round < Rounds; round++)
        {
            distances = Array.ConvertAll(Remainder(pixels, samples, surface), difference => difference.Length());

            // Tukey's constant; 15 % of deviations are within 0.189 σ. A low quantile, as ink may cover half of a closely cropped picture.
            float reach = 4.685f / 0.189f * Math.Max(0.5f, Quantile(0.15, distances));
            Vector3[] next = LeastSquares(samples, distances, reach);
            bool hasEnded = surface.Zip(next, (was, now) => (was - now).Length()).Max() < Still;
            surface = next;
            if (hasEnded)
            {
                break;
            }
        }

        return (surface, distances.Count(distance => distance < Near));
    }

    /// <summary>Fits with Tukey's weights. A trace of ridge keeps the normal equations from being singular.</summary>
    private static Vector3[] LeastSquares(float[][] samples, float[] distances, float reach)
    {
        const int Columns = Terms + 3;
        double[,] equations = new double[Terms, Columns];
        for (int i = 0; i < samples.Length; i++)
        {
            float far = distances[i] / reach;
            if (far >= 1)
            {
                continue;
            }

            float weight = (1 - far * far) * (1 - far * far);
            float[] sample = samples[i];
            for (int row = 0; row < Terms; row++)
            {
                float factor = weight * sample[row];
                for (int column = row; column < Columns; column++)
                {
                    equations[row, column] += factor * sample[column];
                }
            }
        }

        for (int row = 0; row < Terms; row++)
        {
            equations[row, row] += 1e-6 * samples.Length;
            for (int column = 0; column < row; column++)
            {
                equations[row, column] = equations[column, row];
            }
        }

        for (int pivot = 0; pivot < Terms; pivot++)
        {
            for (int row = 0; row < Terms; row++)
            {
                double factor = row == pivot ? 0 : equations[row, pivot] / equations[pivot, pivot];
                for (int column = pivot; factor != 0 && column < Columns; column++)
                {
                    equations[row, column] -= factor * equations[pivot, column];
                }
            }
        }

        float Solution(int term, int channel) => (float)(equations[term, Terms + channel] / equations[term, term]);
        return [.. Enumerable.Range(0, Terms).Select(i => new Vector3(Solution(i, 0), Solution(i, 1), Solution(i, 2)))];
    }

    /// <summary>The amount of ink above the surface and its opening; the cube weighs high ink more than wide ink.</summary>
    private static double Mass(float[] values, float[] opening) =>
        values.Zip(opening, (value, open) => Math.Pow(Math.Max(0, Math.Min(value, value - open)), 3)).Sum();

    /// <summary>The principal axis of the differences, found by power iteration.</summary>
    public static Vector3 Axis(Vector3[] differences)
    {
        Vector3 axis = differences.MaxBy(difference => difference.LengthSquared());
        axis = axis == default ? Vector3.One : axis;
        for (int round = 0; round < Rounds; round++)
        {
            Vector3 sum = 1e-6f * axis;
            foreach (Vector3 difference in differences)
            {
                sum += Vector3.Dot(axis, difference) * difference;
            }

            axis = Vector3.Normalize(sum);
        }

        return axis;
    }

    /// <summary>Removes what is narrow and high. The edge of a sheet between two cells belongs to the higher cell.</summary>
    private float[] Opening(float[] values)
    {
        int reach = Math.Max(1, (int)((_columns + _rows) / 2 * WidestStroke / 2));
        float[] eroded = Array.ConvertAll(Dilation(Array.ConvertAll(values, value => -value), reach), value => -value);
        float[] opening = Dilation(eroded, reach + 1);
        float excess = Quantile(0.15, values.Zip(opening, (value, open) => value - open)); // noise lowers an opening everywhere
        return Array.ConvertAll(opening, value => value + excess);
    }

    /// <summary>The greatest value in a square around each place.</summary>
    private float[] Dilation(float[] values, int reach) => Greatest(Greatest(values, reach, _columns, 1), reach, _rows, _columns);

    /// <summary>The greatest value within reach of each place along one axis, whose places are a step apart.</summary>
    private static float[] Greatest(float[] values, int reach, int length, int step)
    {
        float[] greatest = [.. values];
        for (int i = 0; i < values.Length; i++)
        {
            int at = i / step % length, last = i + step * Math.Min(length - 1 - at, reach);
            for (int near = i - step * Math.Min(at, reach); near <= last; near += step)
            {
                greatest[i] = values[near] > greatest[i] ? values[near] : greatest[i];
            }
        }

        return greatest;
    }
}
