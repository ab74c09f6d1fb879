namespace CudnnDigits.Data;

/// <summary>In which range pixels are given: 0 … 255, or 0 … 1 where they were divided by 255.</summary>
internal static class PixelScale
{
    /// <summary>Ink is 255; a whole set that stays below this was counted in another range, 0 … 15 or 0 … 100.</summary>
    public const int LeastInk = 128;

    /// <summary>Rounding and resizing run over 0 and 1 by so much.</summary>
    private const double Over = 0.01;

    /// <summary>Fewer digits may well be faint.</summary>
    private const int LeastDigits = 10;

    /// <summary>Whether pixels go from 0 to 1.</summary>
    /// <param name="most">The largest of them.</param>
    /// <param name="areWhole">Whether all are whole numbers: then 2 is no 1 that ran over.</param>
    public static bool IsUnit(double most, bool areWhole) => most > 0 && most <= (areWhole ? 1 : 1 + Over);

    /// <summary>A pixel 0 … 1 as a byte; −1 where it is out of that range.</summary>
    public static int ToByte(double pixel) => pixel is >= -Over and <= 1 + Over ? (int)Math.Round(Math.Clamp(pixel, 0, 1) * byte.MaxValue) : -1;

    /// <summary>One sentence where a set of digits goes nowhere near 255, so that networks see next to nothing; else null.</summary>
    public static string? Warning(DigitDataset data)
    {
        if (data.Count < LeastDigits || data.Pixels.IndexOfAnyInRange((byte)LeastInk, byte.MaxValue) >= 0)
        {
            return null;
        }

        byte most = 0;
        foreach (byte pixel in data.Pixels)
        {
            most = Math.Max(most, pixel);
        }

        return most == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"the largest pixel of the {data.Count:N0} digits is {most}, and the networks expect ink of up to 255: multiply the pixels by {(double)byte.MaxValue / most:0.##} first");
    }
}
