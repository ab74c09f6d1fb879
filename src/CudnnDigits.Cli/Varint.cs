namespace CudnnDigits.Cli;

/// <summary>Variable-length integers of Protocol Buffers, Thrift and Parquet: seven bits a byte, the lowest first.</summary>
internal static class Varint
{
    /// <summary>Reads a number of up to 64 bits and moves to the byte after it; false if it is cut off or longer.</summary>
    public static bool TryRead(ReadOnlySpan<byte> bytes, ref int at, out ulong value)
    {
        value = 0;
        for (int shift = 0; shift < 64 && at < bytes.Length; shift += 7)
        {
            byte next = bytes[at++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return true;
            }
        }

        return false;
    }

    public static byte[] Bytes(ulong value) => value < 0x80 ? [(byte)value] : [(byte)(value | 0x80), .. Bytes(value >> 7)];
}
