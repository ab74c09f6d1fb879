namespace CudnnDigits.Data;

/// <summary>Collects images one by one. Memory grows with the images that are read, not with the number that a file states.</summary>
internal sealed class PixelBuffer(string name)
{
    private const int FirstBlock = 64, LargestBlock = 8192;

    private readonly List<byte[]> _blocks = [];
    private int _left;

    /// <summary>The most images that one array can hold.</summary>
    public static int Most => Array.MaxLength / DigitDataset.PixelCount;

    public int Count { get; private set; }

    /// <summary>Room for one more image, (28, 28).</summary>
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

        Count++;
        return _blocks[^1].AsSpan(_blocks[^1].Length - _left-- * DigitDataset.PixelCount, DigitDataset.PixelCount);
    }

    /// <summary>All images, (N, 28, 28).</summary>
    public byte[] ToArray()
    {
        byte[] pixels = GC.AllocateUninitializedArray<byte>(Count * DigitDataset.PixelCount);
        Span<byte> rest = pixels;
        foreach (byte[] block in _blocks)
        {
            block.AsSpan(0, Math.Min(block.Length, rest.Length)).CopyTo(rest);
            rest = rest[Math.Min(block.Length, rest.Length)..];
        }

        return pixels;
    }
}
