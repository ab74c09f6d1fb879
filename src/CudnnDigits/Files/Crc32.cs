namespace CudnnDigits.Files;

/// <summary>The checksum of zip, gzip and PNG (ISO/IEC 3309, reflected polynomial 0xEDB88320), eight bytes at a time.</summary>
internal static class Crc32
{
    // (8, 256): the contribution of a byte to the checksum when 0 … 7 more bytes follow it
    private static readonly uint[][] Tables = MakeTables();

    /// <summary>Extends the checksum of the bytes before (0 if there are none) by more bytes.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes)
    {
        uint[] t0 = Tables[0], t1 = Tables[1], t2 = Tables[2], t3 = Tables[3];
        uint[] t4 = Tables[4], t5 = Tables[5], t6 = Tables[6], t7 = Tables[7];
        crc = ~crc;
        for (; bytes.Length >= 8; bytes = bytes[8..])
        {
            uint low = crc ^ BinaryPrimitives.ReadUInt32LittleEndian(bytes), high = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
            crc = t7[(byte)low] ^ t6[(byte)(low >> 8)] ^ t5[(byte)(low >> 16)] ^ t4[low >> 24]
                ^ t3[(byte)high] ^ t2[(byte)(high >> 8)] ^ t1[(byte)(high >> 16)] ^ t0[high >> 24];
        }

        foreach (byte one in bytes)
        {
            crc = t0[(byte)(crc ^ one)] ^ crc >> 8;
        }

        return ~crc;
    }

    private static uint[][] MakeTables()
    {
        uint[][] tables = [.. Enumerable.Range(0, 8).Select(_ => new uint[256])];
        for (uint value = 0; value < 256; value++)
        {
            uint crc = value;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
            }

            tables[0][value] = crc;
        }

        for (int more = 1; more < 8; more++)
        {
            for (int value = 0; value < 256; value++)
            {
                uint before = tables[more - 1][value];
                tables[more][value] = tables[0][(byte)before] ^ before >> 8;
            }
        }

        return tables;
    }
}
