namespace CudnnDigits.Cli.Serve;

/// <summary>How a camera was held, as Exif (2.3, 4.6.4) tells it in a JPEG and in a PNG.</summary>
internal static class Exif
{
    private const int EntryBytes = 12, Tag = 0x0112, Short = 3, Long = 4;

    /// <summary>The orientation, 1 to 8, of the first directory; null where there is none that makes sense.</summary>
    /// <param name="tiff">Exif's data, which are those of a TIFF file.</param>
    public static int? Orientation(ReadOnlySpan<byte> tiff)
    {
        bool little = tiff.StartsWith("II"u8);
        if (tiff.Length < 8 || !(little || tiff.StartsWith("MM"u8)) || Int32(tiff[4..], little) is var directory && directory > tiff.Length - 2)
        {
            return null;
        }

        int count = Int16(tiff[(int)directory..], little);
        for (ReadOnlySpan<byte> entries = tiff[((int)directory + 2)..]; count > 0 && entries.Length >= EntryBytes; count--, entries = entries[EntryBytes..])
        {
            if (Int16(entries, little) == Tag)
            {
                uint value = Int16(entries[2..], little) switch { Short => Int16(entries[8..], little), Long => Int32(entries[8..], little), _ => 0u };
                return value is >= 1 and <= 8 ? (int)value : null;
            }
        }

        return null;
    }

    private static ushort Int16(ReadOnlySpan<byte> at, bool little) => little ? BinaryPrimitives.ReadUInt16LittleEndian(at) : BinaryPrimitives.ReadUInt16BigEndian(at);

    private static uint Int32(ReadOnlySpan<byte> at, bool little) => little ? BinaryPrimitives.ReadUInt32LittleEndian(at) : BinaryPrimitives.ReadUInt32BigEndian(at);
}
