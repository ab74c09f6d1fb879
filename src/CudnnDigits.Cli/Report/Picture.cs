using StbImageWriteSharp;

namespace CudnnDigits.Cli.Report;

internal static class Picture
{
    /// <summary>A picture, (height, width) uint8, 0 = black, as a PNG file.</summary>
    public static byte[] ToPng(ReadOnlySpan<byte> pixels, int width, int height)
    {
        using MemoryStream png = new();
        new ImageWriter().WritePng(pixels.ToArray(), width, height, ColorComponents.Grey, png);
        return png.ToArray();
    }
}
