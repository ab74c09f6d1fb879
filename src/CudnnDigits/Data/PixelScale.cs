namespace CudnnDigits.Data;

/// <summary>The range of pixels in a file: 0 … 255, or 0 … 1 if they were divided by 255.</summary>
internal static class PixelScale
{
    /// <summary>Ink is 255. A set that stays below this value uses another range, 0 … 15 or 0 … 100.</summary>
    public const int LeastInk = 128;

    /// <summary>Rounding and resizing may exceed 0 and 1 by so much.</summary>
    private const double Over = 0.01;

    /// <summary>Fewer digits may really be faint.</summary>
    private const int LeastDigits = 10;

    /// <summary>Whether pixels go from 0 to 1, judged by the largest of them and whether all are whole numbers.</summary>
    public static bool IsUnit(double most, bool areWhole) => most > 0 && most <= (areWhole ? 1 : 1 + Over);

    /// <summary>A pixel 0 … 1 as a byte; −1 if it is out of that range.</summary>
    public static int ToByte(double pixel) =>
        pixel is >= -Over and <= 1 + Over ? (int)Math.Round(Math.Clamp(pixel, 0, 1) * byte.MaxValue) : -1;

    /// <summary>A warning if a set of digits stays so far below 255 that networks see next to nothing; otherwise null.</summary>
    public static string? Warning(DigitDataset data)
    {
        if (data.Count < LeastDigits || data.Pixels.IndexOfAnyInRange((byte)LeastInk, byte.MaxValue) >= 0)
        {
            return null;
        }

        byte most = data.Pixels.ToArray().Max();
        return most == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"the largest pixel of the {data.Count:N0} digits is {most}, "
            + $"and the networks expect ink of up to 255: multiply the pixels by {(double)byte.MaxValue / most:0.##} first");
    }
}
