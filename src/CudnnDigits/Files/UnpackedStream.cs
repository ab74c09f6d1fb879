namespace CudnnDigits.Files;

/// <summary>The unpacked bytes of a packed file. Fails if they are out of all proportion to the packed ones (a "zip bomb").</summary>
internal abstract class UnpackedStream(string name, string advice) : ReadOnlyStream
{
    private const int MostTimes = 100; // digits in Kaggle's layout pack about 8 to 1, generated digits up to 15 to 1
    private const long AlwaysAllowed = 16 << 20;

    private long _total;

    /// <summary>Number and CRC-32 of the bytes since they were set to 0.</summary>
    protected (long Bytes, uint Crc) Sum { get; set; }

    protected abstract long PackedBytes { get; }

    protected int Read(Stream unpacking, Span<byte> buffer)
    {
        int read;
        try
        {
            read = unpacking.Read(buffer);
        }
        catch (InvalidDataException e)
        {
            throw Damaged("the compressed data is damaged", e);
        }

        Sum = (Sum.Bytes + read, Crc32.Append(Sum.Crc, buffer[..read]));
        _total += read;
        return _total <= AlwaysAllowed + MostTimes * PackedBytes ? read : throw new InputException(
            $"{name}: unpacks to more than {MostTimes} times its size, which no file of digits does; check where it came from");
    }

    protected void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw Damaged(otherwise);
        }
    }

    protected InputException Damaged(string how, Exception? inner = null) => new($"{name}: {how}; {advice}", inner!);
}
