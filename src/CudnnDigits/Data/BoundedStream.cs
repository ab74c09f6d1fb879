namespace CudnnDigits.Data;

/// <summary>
/// What a packed file unpacks to, cut off where it is out of all proportion (a "zip bomb"), with damage reported as
/// <see cref="InputException"/>, and with a check of the length at the end, which GZipStream leaves out. Digits in Kaggle's layout pack about 8 to 1, generated ones up to 15 to 1.
/// </summary>
internal sealed class BoundedStream(Stream unpacked, long packedBytes, string name, uint? lengthModulo32Bits = null) : Stream
{
    private const int MostTimes = 100;
    private const long AlwaysAllowed = 16 << 20;

    private readonly long _limit = AlwaysAllowed + MostTimes * packedBytes;
    private long _total;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        int read;
        try
        {
            read = unpacked.Read(buffer);
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{name}: the compressed data is damaged; download or pack the file again", e);
        }

        _total += read;
        if (read == 0 && buffer.Length > 0 && lengthModulo32Bits is { } length && length != (uint)_total)
        {
            throw new InputException($"{name}: the compressed data is cut off, or made of several pieces; download or pack the file again");
        }

        return _total <= _limit
            ? read
            : throw new InputException($"{name}: unpacks to more than {MostTimes} times its size, which no file of digits does; check where it came from");
    }

    public override void Flush() => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            unpacked.Dispose();
        }

        base.Dispose(disposing);
    }
}
