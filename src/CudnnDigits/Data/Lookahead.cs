namespace CudnnDigits.Data;

/// <summary>A text that is looked into before it is read from front to back: its first lines say how to read it.</summary>
internal sealed class Lookahead : ReadOnlyStream
{
    private const int FirstLook = 64 << 10, LongestLook = 64 << 20;

    private readonly Stream _stream;
    private byte[] _buffer = new byte[FirstLook];
    private int _start, _end;

    private Lookahead(Stream stream) => _stream = stream;

    /// <summary>Begins with a look at the first 64 KiB.</summary>
    /// <param name="text">UTF-8, or UTF-16 with a byte order mark, which becomes UTF-8; columns aligned by spaces become separated by one.
    /// Disposed of with this.</param>
    public static Lookahead Open(Stream text)
    {
        Lookahead look = new(text);
        look.Fill();
        Encoding? other = look._buffer.AsSpan(0, look._end) switch
        {
            [0xFF, 0xFE, ..] => Encoding.Unicode,
            [0xFE, 0xFF, ..] => Encoding.BigEndianUnicode,
            _ => null,
        };
        if (other is not null)
        {
            look = new Lookahead(Encoding.CreateTranscodingStream(look, other, Encoding.UTF8));
            look.Fill();
        }

        if (SingleSpaces.AreNeeded(look.Seen))
        {
            look = new Lookahead(new SingleSpaces(look));
            look.Fill();
        }

        return look;
    }

    /// <summary>Whether the look goes to the end of the text.</summary>
    public bool SeesAll { get; private set; }

    /// <summary>What is seen, but for a line whose end is not.</summary>
    public ReadOnlyMemory<byte> Lines => _buffer.AsMemory(0, SeesAll ? _end : Seen.LastIndexOfAny((byte)'\n', (byte)'\r') + 1);

    /// <summary>What is seen.</summary>
    public ReadOnlySpan<byte> Seen => _buffer.AsSpan(0, _end);

    /// <summary>Looks four times as far; false where it sees all, or 64 MiB. Only before the first byte is read.</summary>
    public bool LookFurther()
    {
        if (SeesAll || _buffer.Length >= LongestLook)
        {
            return false;
        }

        Array.Resize(ref _buffer, 4 * _buffer.Length);
        Fill();
        return true;
    }

    /// <summary>Passes over bytes that are seen.</summary>
    public void Skip(int count) => _start += count;

    public override int Read(Span<byte> buffer)
    {
        if (_start == _end)
        {
            return _stream.Read(buffer);
        }

        int count = Math.Min(buffer.Length, _end - _start);
        _buffer.AsSpan(_start, count).CopyTo(buffer);
        _start += count;
        return count;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _stream.Dispose();
        }

        base.Dispose(disposing);
    }

    private void Fill()
    {
        _end += _stream.ReadAtLeast(_buffer.AsSpan(_end), _buffer.Length - _end, throwOnEndOfStream: false);
        SeesAll = _end < _buffer.Length;
    }
}
