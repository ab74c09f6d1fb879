using System.Buffers.Binary;
using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>All members of a gzip file (RFC 1952), which zeros may follow.</summary>
internal static class PlainGzip
{
    public static byte[] Read(byte[] bytes)
    {
        List<byte> unpacked = [];
        int at = 0;
        do
        {
            int start = at;
            Require(bytes.Length - at >= 10 && bytes[at] == 0x1F && bytes[at + 1] == 0x8B && bytes[at + 2] == 8, "no gzip header");
            byte flags = bytes[at + 3];
            Require(flags < 32, "reserved flags");
            at += 10;
            if ((flags & 4) != 0)
            {
                Require(bytes.Length - at >= 2, "cut off");
                at += 2 + BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));
            }

            for (int text = 8; text <= 16; text *= 2)
            {
                if ((flags & text) != 0)
                {
                    at = at < bytes.Length ? Array.IndexOf(bytes, (byte)0, at) + 1 : 0;
                    Require(at > 0, "cut off");
                }
            }

            if ((flags & 2) != 0)
            {
                Require(
                    bytes.Length - at >= 2
                        && BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at)) == (ushort)PlainInflate.Crc32(bytes.AsSpan(start..at)),
                    "header CRC");
                at += 2;
            }

            (byte[] member, at) = PlainInflate.Run(bytes, at);
            Require(bytes.Length - at >= 8 && BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at)) == PlainInflate.Crc32(member),
                "CRC");
            Require(BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at + 4)) == member.Length, "length");
            at += 8;
            unpacked.AddRange(member);
        }
        while (bytes.AsSpan(at).ContainsAnyExcept((byte)0));

        return [.. unpacked];
    }
}
