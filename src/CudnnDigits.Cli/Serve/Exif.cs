namespace CudnnDigits.Cli.Serve;

/// <summary>The orientation of a photograph in the Exif data (2.3, 4.6.4) of a JPEG or PNG.</summary>
internal static class Exif
{
    private const int EntryBytes = 12, Tag = 0x0112, Short = 3, Long = 4;

    /// <summary>The orientation, 1 to 8, of the first directory. Null if there is no valid one.</summary>
    public static int? Orientation(ReadOnlySpan<byte> tiff)
    {
        bool little = tiff.StartsWith("II"u8);
        if (tiff.Length < 8 || !(little || tiff.StartsWith("MM"u8))
            || Int32(tiff[4..], little) is var directory && directory > tiff.Length - 2)
        {
            return null;
        }

        int count = Int16(tiff[(int)directory..], little);
        ReadOnlySpan<byte> entries = tiff[((int)directory + 2)..];
        for (; count > 0 && entries.Length >= EntryBytes; count--, entries = entries[EntryBytes..])
        {
            if (Int16(entries, little) == Tag)
            {
                ReadOnlySpan<byte> at = entries[8..];
                uint value = Int16(entries[2..], little) switch { Short => Int16(at, little), Long => Int32(at, little), _ => 0u };
                return value is >= 1 and <= 8 ? (int)value : null;
            }
        }

        return null;
    }

    private static ushort Int16(ReadOnlySpan<byte> at, bool little) =>
        little ? BinaryPrimitives.ReadUInt16LittleEndian(at) : BinaryPrimitives.ReadUInt16BigEndian(at);

    private static uint Int32(ReadOnlySpan<byte> at, bool little) =>
        little ? BinaryPrimitives.ReadUInt32LittleEndian(at) : BinaryPrimitives.ReadUInt32BigEndian(at);
}
