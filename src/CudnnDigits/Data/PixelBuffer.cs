namespace CudnnDigits.Data;

/// <summary>Images that arrive one by one; grows as they do, so that memory follows what was read, not what was promised.</summary>
internal sealed class PixelBuffer
{
    private byte[] _pixels = new byte[64 * DigitDataset.PixelCount];

    public int Count { get; private set; }

    /// <summary>Room for one more image, (28, 28).</summary>
    public Span<byte> AddImage()
    {
        int at = Count * DigitDataset.PixelCount;
        if (at == _pixels.Length)
        {
            Array.Resize(ref _pixels, checked(_pixels.Length * 2));
        }

        Count++;
        return _pixels.AsSpan(at, DigitDataset.PixelCount);
    }

    public byte[] ToArray() => _pixels[..(Count * DigitDataset.PixelCount)];
}
