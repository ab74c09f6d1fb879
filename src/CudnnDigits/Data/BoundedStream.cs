namespace CudnnDigits.Data;

/// <summary>
/// What a packed file unpacks to, cut off where it is out of all proportion (a "zip bomb"). Digits in Kaggle's layout pack about
/// 8 to 1, generated ones up to 15 to 1.
/// </summary>
/// <param name="unpacked">What is read.</param>
/// <param name="packedBytes">Bytes that it was unpacked from, so far.</param>
/// <param name="name">What to call it in messages.</param>
internal sealed class BoundedStream(Stream unpacked, Func<long> packedBytes, string name) : ReadOnlyStream
{
    private const int MostTimes = 100;
    private const long AlwaysAllowed = 16 << 20;

    private long _total;

    public override int Read(Span<byte> buffer)
    {
        int read = unpacked.Read(buffer);
        _total += read;
        return _total <= AlwaysAllowed + MostTimes * packedBytes()
            ? read
            : throw new InputException($"{name}: unpacks to more than {MostTimes} times its size, which no file of digits does; check where it came from");
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            unpacked.Dispose();
        }

        base.Dispose(disposing);
    }
}
