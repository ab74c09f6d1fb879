namespace CudnnDigits.Tests.Reference;

/// <summary>
/// A file that breaks a rule of its format, as the plain readers (<c>Plain*</c>) see it. They are plain and strict from the formats'
/// specifications, to compare the real ones with: no buffers, no streams, no library that the real ones use.
/// </summary>
internal sealed class BrokenFileException(string why) : Exception(why)
{
    public static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new BrokenFileException(otherwise);
        }
    }
}
