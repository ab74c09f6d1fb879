using CudnnDigits.Data;
using StbImageSharp;

namespace CudnnDigits.Cli.Serve;

/// <summary>A digit from a PNG of any kind.</summary>
internal static class PngPicture
{
    /// <summary>Reads a digit, as <see cref="DigitPicture.Read"/> does.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <returns>Whether the digit was fitted and centred; else it was taken as it is.</returns>
    /// <exception cref="InputException">Not a PNG, damaged, too large, or blank.</exception>
    public static bool Read(ReadOnlySpan<byte> bytes, Span<byte> image)
    {
        PngContainer png = PngContainer.Check(bytes);
        return DigitPicture.Read(Decode(png.Picture()), png.Width, png.Height, image);
    }

    private static byte[] Decode(byte[] bytes)
    {
        try
        {
            return ImageResult.FromMemory(bytes, ColorComponents.RedGreenBlueAlpha).Data;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new InputException("the PNG is damaged", e);
        }
    }
}
