using System.IO.Compression;

namespace CudnnDigits.Tests.Reference;

/// <summary>How a file stands in a zip file.</summary>
[Flags]
internal enum ZipKind
{
    Deflated = 0,
    Stored = 1,

    /// <summary>Sizes and CRC after the data instead of before it.</summary>
    Descriptor = 2,
    Encrypted = 4,
    Zip64 = 8,
    WrongChecksum = 16,

    /// <summary>The directory says one byte less, or one more, than there is.</summary>
    OneByteLess = 32,
    OneByteMore = 64,

    /// <summary>The directory says 2⁴⁰ bytes (with <see cref="Zip64"/>).</summary>
    Huge = 128,

    /// <summary>Packed by method 12 (bzip2).</summary>
    OtherMethod = 256,
}

/// <summary>Zip files of every kind, written from the specification (PKWARE's APPNOTE.TXT).</summary>
internal static class ZipFiles
{
    public static byte[] Write(params (string Name, byte[] Content, ZipKind Kind)[] files)
    {
        using MemoryStream zip = new(), directory = new();
        foreach ((string name, byte[] content, ZipKind kind) in files)
        {
            byte[] nameBytes = Encoding.UTF8.GetBytes(name), packed = kind.HasFlag(ZipKind.Stored) ? content : Deflate(content);
            uint crc = PlainInflate.Crc32(content) ^ (kind.HasFlag(ZipKind.WrongChecksum) ? 1u : 0);
            long length = kind.HasFlag(ZipKind.Huge) ? 1L << 40 : content.Length
                + (kind.HasFlag(ZipKind.OneByteMore) ? 1 : kind.HasFlag(ZipKind.OneByteLess) ? -1 : 0);
            bool descriptor = kind.HasFlag(ZipKind.Descriptor), zip64 = kind.HasFlag(ZipKind.Zip64);
            ushort flags = (ushort)((descriptor ? 8 : 0) | (kind.HasFlag(ZipKind.Encrypted) ? 1 : 0));
            ushort method = (ushort)(kind.HasFlag(ZipKind.OtherMethod) ? 12 : kind.HasFlag(ZipKind.Stored) ? 0 : 8);
            long local = zip.Position;
            using (BinaryWriter writer = new(zip, Encoding.UTF8, leaveOpen: true))
            {
                writer.Write("PK\x03\x04"u8);
                Common(writer, zip64, flags, method, descriptor ? 0 : crc, descriptor ? 0 : packed.Length, descriptor ? 0 : length,
                    nameBytes.Length);
                writer.Write((ushort)(zip64 ? 20 : 0));
                writer.Write(nameBytes);
                if (zip64)
                {
                    Extra(writer, 16, length, packed.Length);
                }

                writer.Write(packed);
                if (descriptor)
                {
                    writer.Write("PK\x07\x08"u8);
                    writer.Write(crc);
                    Size(writer, packed.Length, zip64);
                    Size(writer, length, zip64);
                }
            }

            using (BinaryWriter writer = new(directory, Encoding.UTF8, leaveOpen: true))
            {
                writer.Write("PK\x01\x02"u8);
                writer.Write((ushort)45);
                Common(writer, zip64, flags, method, crc, packed.Length, length, nameBytes.Length);
                writer.Write((ushort)(zip64 ? 28 : 0)); // extra
                writer.Write((ushort)0);                // comment
                writer.Write((ushort)0);                // disk
                writer.Write((ushort)0);                // internal attributes
                writer.Write(0u);                       // external attributes
                writer.Write(zip64 ? uint.MaxValue : (uint)local);
                writer.Write(nameBytes);
                if (zip64)
                {
                    Extra(writer, 24, length, packed.Length, local);
                }
            }
        }

        long start = zip.Position;
        directory.WriteTo(zip);
        using (BinaryWriter writer = new(zip, Encoding.UTF8, leaveOpen: true))
        {
            writer.Write("PK\x05\x06"u8);
            writer.Write(0u);
            writer.Write((ushort)files.Length);
            writer.Write((ushort)files.Length);
            writer.Write((uint)directory.Length);
            writer.Write((uint)start);
            writer.Write((ushort)0);
        }

        return zip.ToArray();
    }

    private static void Common(BinaryWriter writer, bool zip64, ushort flags, ushort method, uint crc, long packed, long length, int name)
    {
        writer.Write((ushort)(zip64 ? 45 : 20));
        writer.Write(flags);
        writer.Write(method);
        writer.Write(0x5A21_0000u); // a date and time
        writer.Write(crc);
        writer.Write(zip64 ? uint.MaxValue : (uint)packed);
        writer.Write(zip64 ? uint.MaxValue : (uint)length);
        writer.Write((ushort)name);
    }

    private static void Extra(BinaryWriter writer, ushort size, params long[] values)
    {
        writer.Write((ushort)1);
        writer.Write(size);
        foreach (long value in values)
        {
            writer.Write(value);
        }
    }

    private static void Size(BinaryWriter writer, long size, bool zip64)
    {
        if (zip64)
        {
            writer.Write(size);
        }
        else
        {
            writer.Write((uint)size);
        }
    }

    private static byte[] Deflate(byte[] content)
    {
        using MemoryStream packed = new();
        using (DeflateStream deflate = new(packed, CompressionLevel.Optimal))
        {
            deflate.Write(content);
        }

        return packed.ToArray();
    }
}
