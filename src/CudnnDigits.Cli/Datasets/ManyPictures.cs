using CudnnDigits.Cli.Serve;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Converts many pictures to digits in parallel, in the same way as <c>serve</c>.</summary>
internal sealed class ManyPictures
{
    private int _jpegs, _normalized;

    /// <summary>The number of pictures of each kind: "200 PNG and 3 JPEG, of which 7 were normalised as MNIST is".</summary>
    public string Counts(int all)
    {
        string kinds = _jpegs == 0 ? $"{all:N0} PNG" : _jpegs == all ? $"{all:N0} JPEG" : $"{all - _jpegs:N0} PNG and {_jpegs:N0} JPEG";
        return kinds + (_normalized == 0 ? ", taken as they are"
            : _normalized == all ? ", normalised as MNIST is"
            : $", of which {_normalized:N0} were normalised as MNIST is");
    }

    /// <summary>Reads pictures.</summary>
    /// <param name="count">The number of pictures, N.</param>
    /// <param name="picture">Gives the bytes of a picture and its name for messages; called on several threads.</param>
    /// <param name="pixels">(N, 28, 28) uint8, overwritten.</param>
    /// <exception cref="InputException">Some pictures cannot be read. The message names the first of them and their number.</exception>
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
            string advice = wrong.Message.Contains(';', StringComparison.Ordinal) ? ", or take it away" : "; take it away";
            string more = bad == 1 ? "" : $" (the first of {bad:N0} pictures that cannot be read)";
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
