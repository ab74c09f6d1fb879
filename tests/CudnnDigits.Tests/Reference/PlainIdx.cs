using System.Buffers.Binary;
using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>MNIST's images.</summary>
internal static class PlainIdx
{
    public static byte[] Read(byte[] bytes)
    {
        Require(bytes.Length > 16 && bytes.AsSpan().StartsWith((ReadOnlySpan<byte>)[0, 0, 8, 3]), "header");
        Require(BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(8)) == 28 && BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(12)) == 28,
            "another size");
        Require(bytes.Length - 16 == 784L * BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(4)), "another length");
        return bytes[16..];
    }
}
