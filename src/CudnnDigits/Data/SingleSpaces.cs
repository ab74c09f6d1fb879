using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A table whose columns are aligned by spaces, with one space between columns and none before the first.</summary>
internal sealed class SingleSpaces(Stream text) : ReadOnlyStream
{
    private byte _last = (byte)'\n';

    protected override Stream Source => text;

    /// <summary>Whether only spaces separate the first line's columns, and the line begins with one or has two in a row.</summary>
    public static bool AreNeeded(ReadOnlySpan<byte> seen)
    {
        ReadOnlySpan<byte> line = FirstLine(seen);
        return line.Count((byte)' ') >= DigitDataset.PixelCount - 1 && line.IndexOfAny(",;|\t\""u8) < 0
            && (line[0] == ' ' || line.IndexOf("  "u8) >= 0);
    }

    public static ReadOnlySpan<byte> FirstLine(ReadOnlySpan<byte> text)
    {
        text = text.TrimStart("\r\n"u8);
        return text.IndexOfAny((byte)'\n', (byte)'\r') is >= 0 and int end ? text[..end] : text;
    }

    public override int Read(Span<byte> buffer)
    {
        int count = 0;
        for (int read = 1; count == 0 && read > 0;)
        {
            read = text.Read(buffer);
            foreach (byte next in buffer[..read])
            {
                if (next != ' ' || _last is not ((byte)' ' or (byte)'\n' or (byte)'\r'))
                {
                    buffer[count++] = next;
                }

                _last = next;
            }
        }

        return count;
    }
}
