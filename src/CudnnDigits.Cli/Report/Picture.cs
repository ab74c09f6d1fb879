using CudnnDigits.Data;
using StbImageWriteSharp;

namespace CudnnDigits.Cli.Report;

/// <summary>Grey pictures as PNG.</summary>
internal static class Picture
{
    /// <summary>A digit, (28, 28) uint8, as the source of an HTML image.</summary>
    public static string DataUri(ReadOnlySpan<byte> image) =>
        "data:image/png;base64," + Convert.ToBase64String(ToPng(image, DigitDataset.Side, DigitDataset.Side));

    /// <summary>A picture, (height, width) uint8, 0 = black, as a PNG file.</summary>
    public static byte[] ToPng(ReadOnlySpan<byte> pixels, int width, int height)
    {
        using MemoryStream png = new();
        new ImageWriter().WritePng(pixels.ToArray(), width, height, ColorComponents.Grey, png);
        return png.ToArray();
    }
}
