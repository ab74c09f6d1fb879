using CudnnDigits.Data;

namespace CudnnDigits.Cli.Serve;

/// <summary>A digit from a picture, PNG or JPEG.</summary>
internal static class PngPicture
{
    /// <summary>Reads a digit, as <see cref="DigitPicture.Read"/> does.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="image">(28, 28) uint8, overwritten.</param>
    /// <returns>Whether the digit was fitted and centred; else it was taken as it is.</returns>
    /// <exception cref="InputException">Neither a PNG nor a JPEG, damaged, too large, or blank.</exception>
    public static bool Read(ReadOnlySpan<byte> bytes, Span<byte> image)
    {
        (byte[] rgba, int width, int height) = PictureFile.Decode(bytes);
        return DigitPicture.Read(rgba, width, height, image);
    }
}
