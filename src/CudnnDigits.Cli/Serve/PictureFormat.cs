using System.Diagnostics.CodeAnalysis;

namespace CudnnDigits.Cli.Serve;

/// <summary>A picture's file. It is checked against its format's specification, because decoders trust what a file says.</summary>
internal abstract class PictureFormat(string name)
{
    /// <summary>Bytes to decode one picture: together with the largest body, all memory that the server's requests share.</summary>
    public const long MostMemory = 60 << 20;

    protected const string IsCutOff = "it is cut off";

    public int Width { get; private set; }

    public int Height { get; private set; }

    /// <summary>Exif's orientation, 1 to 8. The decoded pixels are not turned.</summary>
    public int Orientation { get; protected set; } = 1;

    /// <summary>Bytes that decoding needs beside the file.</summary>
    public long Memory { get; private set; }

    public static PictureFormat Of(ReadOnlySpan<byte> bytes) => JpegContainer.Begins(bytes) ? new JpegContainer() : new PngContainer();

    /// <summary>Reads the file up to its size, which comes before the pixels.</summary>
    public abstract void ReadSize(ReadOnlySpan<byte> bytes);

    /// <summary>Checks and decodes the file, to (height, width, channels) uint8: grey; red, green, blue; or these and alpha.</summary>
    public abstract byte[] Decode(ReadOnlySpan<byte> bytes);

    /// <summary>Refuses a picture that has no pixels or whose decoding would need too many bytes.</summary>
    protected void SetSize(long width, long height, long memory)
    {
        if (width == 0 || height == 0 || memory > MostMemory)
        {
            long most = memory == 0 ? 4 << 20 : MostMemory * width * height / memory;
            throw new InputException($"a picture of {width}×{height} pixels; "
                + $"expected at most {most / 1e6:F1} million pixels in a file of its kind, and at least 1×1; make it smaller");
        }

        (Width, Height, Memory) = ((int)width, (int)height, memory);
    }

    protected void Require([DoesNotReturnIf(false)] bool holds, string otherwise)
    {
        if (!holds)
        {
            throw Damaged(otherwise);
        }
    }

    protected InputException Damaged(string how) => new($"the {name} is damaged: {how}; save it again");
}
