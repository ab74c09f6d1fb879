namespace CudnnDigits.Data;

/// <summary>Images that arrive one by one; grows as they do, so that memory follows what was read, not what was promised.</summary>
/// <param name="name">Where they come from, for messages.</param>
internal sealed class PixelBuffer(string name)
{
    private const int FirstBlock = 64, LargestBlock = 8192;

    private readonly List<byte[]> _blocks = [];
    private int _left;

    /// <summary>Images that one array can hold.</summary>
    public static int Most => Array.MaxLength / DigitDataset.PixelCount;

    public int Count { get; private set; }

    /// <summary>Room for one more image, (28, 28).</summary>
    /// <exception cref="InputException">There are <see cref="Most"/> already.</exception>
    public Span<byte> AddImage()
    {
        if (Count == Most)
        {
            throw new InputException($"{name}: goes on after {Most} digits, the most that can be read; give a part of it");
        }

        if (_left == 0)
        {
            _left = Math.Min(Math.Clamp(Count, FirstBlock, LargestBlock), Most - Count);
            _blocks.Add(GC.AllocateUninitializedArray<byte>(_left * DigitDataset.PixelCount));
        }

        Span<byte> block = _blocks[^1];
        Span<byte> image = block.Slice(block.Length - _left * DigitDataset.PixelCount, DigitDataset.PixelCount);
        _left--;
        Count++;
        return image;
    }

    /// <summary>All of them, (N, 28, 28).</summary>
    public byte[] ToArray()
    {
        byte[] pixels = GC.AllocateUninitializedArray<byte>(Count * DigitDataset.PixelCount);
        int at = 0;
        foreach (byte[] block in _blocks)
        {
            int length = Math.Min(block.Length, pixels.Length - at);
            block.AsSpan(0, length).CopyTo(pixels.AsSpan(at));
            at += length;
        }

        return pixels;
    }
}
