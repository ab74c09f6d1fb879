using System.Buffers.Binary;
using StbImageWriteSharp;

namespace CudnnDigits.Tests.Reference;

/// <summary>JPEG files: small ones of every kind, from tests/CudnnDigits.Tests/Pictures, and others made of them.</summary>
internal static class JpegFiles
{
    /// <summary>A seven in dark ink on light paper, 90×120, which PIL and libjpeg-turbo wrote, and seven.png, what they wrote.</summary>
    public static byte[] Read(string name) =>
        File.ReadAllBytes(Path.Combine(SharedFiles.RepositoryRoot, "tests/CudnnDigits.Tests/Pictures", name));

    /// <summary>A grey picture as an ordinary JPEG.</summary>
    public static byte[] Write(byte[] pixels, int width, int height, int quality = 90)
    {
        using MemoryStream stream = new();
        new ImageWriter().WriteJpg(pixels, width, height, ColorComponents.Grey, stream, quality);
        return stream.ToArray();
    }

    /// <summary>With Exif after the first two bytes, as cameras write it.</summary>
    public static byte[] WithOrientation(byte[] jpeg, uint orientation, bool littleEndian, bool isLong = false) =>
        WithSegment(jpeg, 0xE1, [.. "Exif\0\0"u8, .. Exif(orientation, littleEndian, isLong)]);

    /// <summary>Exif's data with an orientation, a SHORT as the standard has it or a LONG as some write it.</summary>
    public static byte[] Exif(uint orientation, bool littleEndian, bool isLong = false)
    {
        byte[] value = isLong ? Int(orientation) : [.. Short((ushort)orientation), 0, 0];
        return [.. littleEndian ? "II*\0"u8 : "MM\0*"u8, .. Int(8), .. Short(2), .. Short(0x010F), .. Short(2), .. Int(2), .. Int(0),
            .. Short(0x0112), .. Short((ushort)(isLong ? 4 : 3)), .. Int(1), .. value, .. Int(0)];

        byte[] Short(ushort number)
        {
            byte[] bytes = BitConverter.GetBytes(number);
            return littleEndian ? bytes : [.. bytes.Reverse()];
        }

        byte[] Int(uint number)
        {
            byte[] bytes = BitConverter.GetBytes(number);
            return littleEndian ? bytes : [.. bytes.Reverse()];
        }
    }

    /// <summary>With one more segment in front.</summary>
    public static byte[] WithSegment(byte[] jpeg, byte marker, byte[] content)
    {
        byte[] length = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)(content.Length + 2));
        return [.. jpeg[..2], 0xFF, marker, .. length, .. content, .. jpeg[2..]];
    }

    /// <summary>Where the first segment with one of these markers begins.</summary>
    public static int Find(byte[] jpeg, params byte[] markers)
    {
        int at = 2;
        while (!markers.Contains(jpeg[at + 1]))
        {
            at += 2 + BinaryPrimitives.ReadUInt16BigEndian(jpeg.AsSpan(at + 2));
        }

        return at;
    }

    /// <summary>One that states another size.</summary>
    public static byte[] WithSize(byte[] jpeg, ushort width, ushort height)
    {
        byte[] other = [.. jpeg];
        int at = Find(jpeg, 0xC0, 0xC2);
        BinaryPrimitives.WriteUInt16BigEndian(other.AsSpan(at + 5), height);
        BinaryPrimitives.WriteUInt16BigEndian(other.AsSpan(at + 7), width);
        return other;
    }
}
