using CudnnDigits.Cli.Serve;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Many pictures made digits, as <c>serve</c> makes them, on all processors.</summary>
internal sealed class ManyPictures
{
    private int _jpegs, _normalized;

    /// <summary>How many of each kind there were, for people: "200 PNG and 3 JPEG, of which 7 were normalised as MNIST is".</summary>
    public string Counts(int all) =>
        $"{(_jpegs < all ? $"{all - _jpegs:N0} PNG" : "")}{(_jpegs > 0 && _jpegs < all ? " and " : "")}{(_jpegs > 0 ? $"{_jpegs:N0} JPEG" : "")}, {(_normalized == 0 ? "taken as they are" : _normalized == all ? "normalised as MNIST is" : $"of which {_normalized:N0} were normalised as MNIST is")}";

    /// <summary>Reads pictures.</summary>
    /// <param name="count">How many, N.</param>
    /// <param name="picture">The bytes of one, and what to call it in messages; called on several threads.</param>
    /// <param name="pixels">(N, 28, 28) uint8, overwritten.</param>
    /// <exception cref="InputException">The first that cannot be read, by its name, and how many cannot.</exception>
    public void Read(int count, Func<int, (ReadOnlyMemory<byte> Bytes, string Name)> picture, Memory<byte> pixels)
    {
        Lock theFirst = new();
        (int Index, Exception? Wrong) first = (count, null);
        int bad = 0;
        Parallel.For(0, count, i =>
        {
            try
            {
                (ReadOnlyMemory<byte> bytes, string name) = picture(i);
                ReadOne(bytes.Span, name, pixels.Span.Slice(i * DigitDataset.PixelCount, DigitDataset.PixelCount));
            }
            catch (InputException e)
            {
                lock (theFirst)
                {
                    bad++;
                    first = i < first.Index ? (i, e) : first;
                }
            }
        });
        if (first.Wrong is { } wrong)
        {
            string advice = wrong.Message.Contains(';', StringComparison.Ordinal) ? ", or take it away" : "; take it away", more = bad == 1 ? "" : $" (the first of {bad:N0} pictures that cannot be read)";
            throw new InputException(wrong.Message.TrimEnd('.') + advice + more, wrong);
        }
    }

    private void ReadOne(ReadOnlySpan<byte> bytes, string name, Span<byte> image)
    {
        try
        {
            if (PictureFile.Read(bytes, image))
            {
                Interlocked.Increment(ref _normalized);
            }

            if (JpegContainer.Begins(bytes))
            {
                Interlocked.Increment(ref _jpegs);
            }
        }
        catch (InputException e)
        {
            throw new InputException($"{name}: {e.Message}", e);
        }
    }
}
