using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A text whose first lines can be looked at before it is read from front to back: they tell its format.</summary>
internal sealed class Lookahead : ReadOnlyStream
{
    private const int FirstLook = 64 << 10, LongestLook = 64 << 20;

    private readonly Stream _stream;
    private byte[] _buffer = new byte[FirstLook];
    private int _start, _end;
    private bool _seesAll;

    private Lookahead(Stream stream)
    {
        _stream = stream;
        Fill();
    }

    /// <summary>Opens a text and looks at its first 64 KiB.</summary>
    /// <param name="text">UTF-8, or UTF-16 with a byte order mark, which becomes UTF-8. Columns that are aligned by several spaces
    /// become columns separated by one space. The stream is closed with the result.</param>
    public static Lookahead Open(Stream text)
    {
        Lookahead look = new(text);
        Encoding? other = look._buffer.AsSpan(0, look._end) switch
        {
            [0xFF, 0xFE, ..] => Encoding.Unicode,
            [0xFE, 0xFF, ..] => Encoding.BigEndianUnicode,
            _ => null,
        };
        look = other is null ? look : new Lookahead(Encoding.CreateTranscodingStream(look, other, Encoding.UTF8));
        return SingleSpaces.AreNeeded(look.Seen) ? new Lookahead(new SingleSpaces(look)) : look;
    }

    /// <summary>The bytes that have been looked at.</summary>
    public ReadOnlySpan<byte> Seen => _buffer.AsSpan(0, _end);

    /// <summary>The whole lines among the bytes that have been looked at.</summary>
    public ReadOnlyMemory<byte> Lines => _buffer.AsMemory(0, _seesAll ? _end : Seen.LastIndexOfAny((byte)'\n', (byte)'\r') + 1);

    protected override Stream Source => _stream;

    /// <summary>Looks four times as far; false at the end of the text or at 64 MiB. Only before the first byte is read.</summary>
    public bool LookFurther()
    {
        if (_seesAll || _buffer.Length >= LongestLook)
        {
            return false;
        }

        Array.Resize(ref _buffer, 4 * _buffer.Length);
        Fill();
        return true;
    }

    /// <summary>Replaces the first bytes of the text, which must be seen, by others. Only before the first byte is read.</summary>
    public void ReplaceStart(int count, ReadOnlySpan<byte> by)
    {
        byte[] rest = Seen[count..].ToArray();
        _buffer = new byte[Math.Max(FirstLook, by.Length + rest.Length)];
        by.CopyTo(_buffer);
        rest.CopyTo(_buffer, by.Length);
        _end = by.Length + rest.Length;
        Fill();
    }

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

    private void Fill()
    {
        _end += _stream.ReadAtLeast(_buffer.AsSpan(_end), _buffer.Length - _end, throwOnEndOfStream: false);
        _seesAll = _end < _buffer.Length;
    }
}
