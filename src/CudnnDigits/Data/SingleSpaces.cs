using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A table whose columns are aligned by spaces, with one space between columns and none at the ends of a line.</summary>
/// <param name="text">The table; closed with this stream.</param>
internal sealed class SingleSpaces(Stream text) : ReadOnlyStream
{
    private readonly byte[] _buffer = new byte[1 << 16];
    private int _start, _end;
    private bool _isLineStart = true, _isPending;

    protected override Stream Source => text;

    /// <summary>Whether only spaces separate the first line's columns, and the line begins with one or has two in a row.</summary>
    public static bool AreNeeded(ReadOnlySpan<byte> seen)
    {
        seen = seen.TrimStart("\r\n"u8);
        ReadOnlySpan<byte> line = seen.IndexOfAny((byte)'\n', (byte)'\r') is >= 0 and int end ? seen[..end] : seen;
        return line.Count((byte)' ') >= DigitDataset.PixelCount - 1 && line.IndexOfAny(",;|\t\""u8) < 0
            && (line[0] == ' ' || line.IndexOf("  "u8) >= 0);
    }

    public override int Read(Span<byte> buffer)
    {
        int count = 0;
        while (count < buffer.Length)
        {
            if (_start == _end)
            {
                (_start, _end) = (0, text.Read(_buffer));
                if (_end == 0)
                {
                    break;
                }
            }

            byte next = _buffer[_start];
            bool isEnd = next is (byte)'\n' or (byte)'\r';
            if (next == ' ')
            {
                _isPending = !_isLineStart;
                _start++;
            }
            else if (_isPending && !isEnd)
            {
                buffer[count++] = (byte)' ';
                _isPending = false;
            }
            else
            {
                buffer[count++] = next;
                (_isLineStart, _isPending) = (isEnd, false);
                _start++;
            }
        }

        return count;
    }
}
