using CudnnDigits.Data;
using StbImageWriteSharp;

namespace CudnnDigits.Cli.Report;

/// <summary>Grey pictures as PNG.</summary>
internal static class Picture
{
    /// <summary>One digit as it is, light ink on black, to be used as the source of an HTML image.</summary>
    /// <param name="image">(28, 28) uint8.</param>
    public static string DataUri(ReadOnlySpan<byte> image) =>
        "data:image/png;base64," + Convert.ToBase64String(ToPng(image, DigitDataset.Side, DigitDataset.Side));

    /// <summary>A picture as a PNG file.</summary>
    /// <param name="pixels">(height, width) uint8, 0 = black.</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="height">Rows.</param>
    public static byte[] ToPng(ReadOnlySpan<byte> pixels, int width, int height)
    {
        using MemoryStream png = new();
        new ImageWriter().WritePng(pixels.ToArray(), width, height, ColorComponents.Grey, png);
        return png.ToArray();
    }
}
