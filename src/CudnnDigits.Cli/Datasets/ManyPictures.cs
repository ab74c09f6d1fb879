using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Converts many pictures to digits in parallel, in the same way as <c>serve</c>.</summary>
internal sealed class ManyPictures
{
    private int _jpegs, _normalized;

    public int Count { get; private set; }

    /// <summary>The number of pictures of each kind: "200 PNG and 3 JPEG, of which 7 were normalised as MNIST is".</summary>
    public override string ToString() =>
        (_jpegs == 0 ? $"{Count:N0} PNG" : _jpegs == Count ? $"{Count:N0} JPEG" : $"{Count - _jpegs:N0} PNG and {_jpegs:N0} JPEG")
        + (_normalized == 0 ? ", taken as they are"
            : _normalized == Count ? ", normalised as MNIST is"
            : $", of which {_normalized:N0} were normalised as MNIST is");

    /// <summary>Reads pictures, which a function on several threads gives with their names for messages, into pixels (N, 28, 28).</summary>
    public void Read(int count, Func<int, (ReadOnlyMemory<byte> Bytes, string Name)> picture, Memory<byte> pixels)
    {
        InputException?[] errors = new InputException?[count];
        Parallel.For(0, count, i =>
        {
            string? name = null;
            try
            {
                (ReadOnlyMemory<byte> bytes, name) = picture(i);
                bool isNormalized = PictureFile.Read(bytes.Span, pixels.Span.Slice(i * DigitDataset.PixelCount, DigitDataset.PixelCount));
                Interlocked.Add(ref _normalized, isNormalized ? 1 : 0);
                Interlocked.Add(ref _jpegs, JpegContainer.Begins(bytes.Span) ? 1 : 0);
            }
            catch (InputException e)
            {
                errors[i] = name is null ? e : new InputException($"{name}: {e.Message}", e);
            }
        });
        if (errors.OfType<InputException>().ToArray() is [var first, ..] all)
        {
            string advice = first.Message.Contains(';', StringComparison.Ordinal) ? ", or take it away" : "; take it away";
            string more = all.Length == 1 ? "" : $" (the first of {all.Length:N0} pictures that cannot be read)";
            throw new InputException(first.Message.TrimEnd('.') + advice + more, first);
        }

        Count += count;
    }
}
