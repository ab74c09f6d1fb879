namespace CudnnDigits.Files;

/// <summary>
/// The unpacked bytes of a packed file. Fails if they are out of all proportion to the packed ones (a "zip bomb"): digits in Kaggle's
/// layout pack about 8 to 1, generated digits up to 15 to 1.
/// </summary>
internal sealed class BoundedStream(Stream unpacked, Func<long> packedBytes, string name) : ReadOnlyStream
{
    private const int MostTimes = 100;
    private const long AlwaysAllowed = 16 << 20;

    private long _total;

    protected override Stream Source => unpacked;

    public override int Read(Span<byte> buffer)
    {
        int read = unpacked.Read(buffer);
        _total += read;
        return _total <= AlwaysAllowed + MostTimes * packedBytes() ? read : throw new InputException(
            $"{name}: unpacks to more than {MostTimes} times its size, which no file of digits does; check where it came from");
    }
}
