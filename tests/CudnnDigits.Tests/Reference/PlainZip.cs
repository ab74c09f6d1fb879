using System.Buffers.Binary;
using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// The one file of a name in a zip file (PKWARE's APPNOTE.TXT), stored or deflated, without Zip64 and encryption; or the one table there.
/// </summary>
internal static class PlainZip
{
    public static byte[] Read(byte[] bytes, string name)
    {
        int end = bytes.Length - 22;
        while (end >= 0 && !(bytes.AsSpan(end).StartsWith("PK\x05\x06"u8) && end + 22 + U16(end + 20) <= bytes.Length))
        {
            end--;
        }

        Require(end >= 0, "no end of the central directory");
        Require(U16(end + 4) == 0 && U16(end + 6) == 0 && U16(end + 8) == U16(end + 10), "several disks");
        int count = U16(end + 10);
        long at = U32(end + 16);
        List<byte[]> found = [];
        for (int i = 0; i < count; i++)
        {
            Require(at + 46 <= end && bytes.AsSpan((int)at).StartsWith("PK\x01\x02"u8), "central directory");
            int header = (int)at, nameLength = U16(header + 28);
            at += 46 + nameLength + U16(header + 30) + U16(header + 32);
            Require(at <= end, "central directory");
            string entry = Encoding.Latin1.GetString(bytes, header + 46, nameLength).Split('/')[^1];
            if (entry == name || (count == 1 && !entry.StartsWith('.')
                && (entry.EndsWith(".csv", StringComparison.OrdinalIgnoreCase)
                || entry.EndsWith(".tsv", StringComparison.OrdinalIgnoreCase))))
            {
                found.Add(Entry(header));
            }
        }

        return found is [byte[] one] ? one : throw new BrokenFileException($"{found.Count} files of the name");

        byte[] Entry(int header)
        {
            int flags = U16(header + 8), method = U16(header + 10);
            long packed = U32(header + 20), length = U32(header + 24), local = U32(header + 42);
            Require((flags & 1) == 0 && method is 0 or 8 && U16(header + 34) == 0, "encrypted, another method, or another disk");
            Require(local + 30 <= bytes.Length && bytes.AsSpan((int)local).StartsWith("PK\x03\x04"u8), "local header");
            long start = local + 30 + U16((int)local + 26) + U16((int)local + 28);
            Require(start + packed <= bytes.Length, "cut off");
            byte[] raw = bytes[(int)start..(int)(start + packed)], content = method == 0 ? raw : PlainInflate.Run(raw, 0).Unpacked;
            Require(content.Length == length && PlainInflate.Crc32(content) == U32(header + 16), "length or CRC");
            return content;
        }

        int U16(int place) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(place));

        long U32(int place) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(place));
    }
}
