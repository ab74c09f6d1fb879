using System.Numerics;

namespace CudnnDigits.Data;

/// <summary>
/// The sheet on which a digit was drawn: its colour at each place, and the direction of colour in which the ink differs from it. Both
/// are found in a small copy of the picture, in which noise has averaged out. The sheet is what most pixels show and what changes
/// slowly: a quadratic surface fitted by iteratively reweighted least squares with Tukey's biweight, which ignores what lies far from
/// it; then a morphological opening, which follows shadows and edges and passes over what is narrow.
/// </summary>
internal sealed class Paper
{
    private const int LongestSide = 64, Rounds = 12;

    /// <summary>Strokes are narrower than this part of the mean of the picture's sides.</summary>
    private const double WidestStroke = 1 / 3.0;

    private readonly int _width, _height, _columns, _rows;

    /// <summary>The surface, a coefficient for each of <see cref="Terms"/>.</summary>
    private readonly Vector3[] _surface;

    /// <summary>(rows, columns): how far the sheet lies above the surface, in the direction of ink.</summary>
    private readonly float[] _above;

    /// <summary>Length 1.</summary>
    private readonly Vector3 _ink;

    /// <summary>Looks at a picture.</summary>
    /// <param name="rgba">(height, width, 4) uint8, of which the last is not looked at.</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="height">Rows.</param>
    public Paper(ReadOnlySpan<byte> rgba, int width, int height)
    {
        (_width, _height) = (width, height);
        double scale = Math.Min(1, LongestSide / (double)Math.Max(width, height));
        (_columns, _rows) = (Math.Max(1, (int)(width * scale)), Math.Max(1, (int)(height * scale)));
        Vector3[] small = Reduce(rgba);
        float[][] terms = [.. small.Select((_, i) => Terms((i % _columns + 0.5f) / _columns, (i / _columns + 0.5f) / _rows))];
        _surface = Fit(small, terms);
        Vector3[] differences = [.. small.Zip(terms, (pixel, term) => pixel - Sum(_surface, term))];
        Vector3 axis = Axis(differences);
        float[] along = Array.ConvertAll(differences, difference => Vector3.Dot(axis, difference)), against = Array.ConvertAll(along, value => -value);
        float[] aboveAlong = Opening(along), aboveAgainst = Opening(against);
        (_ink, _above) = Mass(along, aboveAlong) >= Mass(against, aboveAgainst) ? (axis, aboveAlong) : (-axis, aboveAgainst);
    }

    /// <summary>How far each pixel lies from the sheet in the direction of ink.</summary>
    /// <param name="rgba">The picture that was looked at.</param>
    /// <returns>(height, width) f32: 0 = sheet; black on white is 255.</returns>
    public float[] Differences(ReadOnlySpan<byte> rgba)
    {
        float[] differences = new float[_width * _height];
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
                float sheet = ink[0] + ink[1] * u + ink[2] * v + ink[3] * u * u + ink[4] * u * v + ink[5] * v * v + float.Lerp(upper, lower, down);
                int at = y * _width + x;
                float pixel = Vector3.Dot(_ink, new Vector3(rgba[4 * at], rgba[4 * at + 1], rgba[4 * at + 2]));
                differences[at] = (pixel - sheet) / MathF.Sqrt(3);
            }
        }

        return differences;
    }

    private static float[] Terms(float u, float v) => [1, u, v, u * u, u * v, v * v];

    private static Vector3 Sum(Vector3[] surface, float[] terms)
    {
        Vector3 sum = default;
        for (int i = 0; i < terms.Length; i++)
        {
            sum += terms[i] * surface[i];
        }

        return sum;
    }

    private static (int Before, int After, float Share) Between(float place, int count)
    {
        float at = Math.Clamp(place, 0, count - 1);
        return ((int)at, Math.Min((int)at + 1, count - 1), at - (int)at);
    }

    private static float Quantile(double share, IEnumerable<float> values)
    {
        float[] sorted = [.. values.Order()];
        return sorted[(int)(share * sorted.Length)];
    }

    private Vector3[] Reduce(ReadOnlySpan<byte> rgba)
    {
        Vector3[] small = new Vector3[_columns * _rows];
        for (int row = 0; row < _rows; row++)
        {
            (int top, int bottom) = (row * _height / _rows, (row + 1) * _height / _rows);
            for (int column = 0; column < _columns; column++)
            {
                (int left, int right) = (column * _width / _columns, (column + 1) * _width / _columns);
                Vector3 sum = default;
                for (int y = top; y < bottom; y++)
                {
                    for (int x = left; x < right; x++)
                    {
                        int at = 4 * (y * _width + x);
                        sum += new Vector3(rgba[at], rgba[at + 1], rgba[at + 2]);
                    }
                }

                small[row * _columns + column] = sum / ((bottom - top) * (right - left));
            }
        }

        return small;
    }

    /// <summary>Fits the surface to the sheet, beginning with what most of the border shows.</summary>
    private Vector3[] Fit(Vector3[] pixels, float[][] terms)
    {
        Vector3[] border = [.. pixels.Where((_, i) => i < _columns || i >= pixels.Length - _columns || i % _columns is 0 || i % _columns == _columns - 1)];
        Vector3[] surface = new Vector3[terms[0].Length];
        surface[0] = new(Quantile(0.5, border.Select(pixel => pixel.X)), Quantile(0.5, border.Select(pixel => pixel.Y)), Quantile(0.5, border.Select(pixel => pixel.Z)));
        for (int round = 0; round < Rounds; round++)
        {
            // The first quartile, not the median: ink may cover half of a picture that was cut out closely.
            float[] distances = [.. pixels.Zip(terms, (pixel, term) => (pixel - Sum(surface, term)).Length())];
            float reach = 4.685f * 5.288f * Math.Max(0.5f, Quantile(0.15, distances)); // Tukey's constant; deviations in a first quartile
            surface = LeastSquares(pixels, terms, Array.ConvertAll(distances, distance => Biweight(distance / reach)));
        }

        return surface;
    }

    private static double Biweight(float distance) => distance >= 1 ? 0 : Math.Pow(1 - distance * distance, 2);

    /// <summary>Solves the normal equations by Gaussian elimination; they are kept from being singular by a trace of ridge.</summary>
    private static Vector3[] LeastSquares(Vector3[] pixels, float[][] terms, double[] weights)
    {
        int count = terms[0].Length;
        double[,] equations = new double[count, count + 3];
        for (int i = 0; i < pixels.Length; i++)
        {
            for (int row = 0; row < count; row++)
            {
                double factor = weights[i] * terms[i][row];
                for (int column = 0; column < count; column++)
                {
                    equations[row, column] += factor * terms[i][column];
                }

                for (int channel = 0; channel < 3; channel++)
                {
                    equations[row, count + channel] += factor * pixels[i][channel];
                }
            }
        }

        for (int pivot = 0; pivot < count; pivot++)
        {
            equations[pivot, pivot] += 1e-6 * pixels.Length;
            for (int row = 0; row < count; row++)
            {
                double factor = row == pivot ? 0 : equations[row, pivot] / equations[pivot, pivot];
                for (int column = pivot; factor != 0 && column < count + 3; column++)
                {
                    equations[row, column] -= factor * equations[pivot, column];
                }
            }
        }

        return [.. Enumerable.Range(0, count).Select(i => new Vector3(
            (float)(equations[i, count] / equations[i, i]), (float)(equations[i, count + 1] / equations[i, i]), (float)(equations[i, count + 2] / equations[i, i])))];
    }

    /// <summary>How much there is that rises above the surface and above its opening, the far heavier than the wide.</summary>
    private static double Mass(float[] values, float[] opening) =>
        values.Zip(opening, (value, open) => Math.Pow(Math.Max(0, Math.Min(value, value - open)), 3)).Sum();

    /// <summary>The principal axis of the differences, found by power iteration.</summary>
    private static Vector3 Axis(Vector3[] differences)
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

    /// <summary>Passes over what is narrow and high. A sheet's edge that falls between two cells belongs to the higher side.</summary>
    private float[] Opening(float[] values)
    {
        int reach = Math.Max(1, (int)((_columns + _rows) / 2 * WidestStroke / 2));
        float[] opening = Extreme(Extreme(values, reach, -1), reach + 1, 1);
        float excess = Quantile(0.15, values.Zip(opening, (value, open) => value - open)); // noise lowers an opening everywhere
        return Array.ConvertAll(opening, value => value + excess);
    }

    /// <summary>The greatest (sign 1) or the least (sign −1) value in a square around each.</summary>
    private float[] Extreme(float[] values, int reach, int sign)
    {
        float[] across = new float[values.Length], all = new float[values.Length];
        for (int i = 0; i < values.Length; i++)
        {
            int x = i % _columns;
            across[i] = Greatest(values, i - Math.Min(x, reach), i + Math.Min(_columns - 1 - x, reach), 1, sign);
        }

        for (int i = 0; i < values.Length; i++)
        {
            int y = i / _columns;
            all[i] = Greatest(across, i - _columns * Math.Min(y, reach), i + _columns * Math.Min(_rows - 1 - y, reach), _columns, sign);
        }

        return all;
    }

    private static float Greatest(float[] values, int from, int to, int step, int sign)
    {
        float greatest = values[from];
        for (int i = from + step; i <= to; i += step)
        {
            greatest = sign * values[i] > sign * greatest ? values[i] : greatest;
        }

        return greatest;
    }
}
