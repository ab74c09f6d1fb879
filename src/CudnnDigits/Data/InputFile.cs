namespace CudnnDigits.Data;

/// <summary>
/// A file that the user names: a plain one, or a FIFO, a device, /dev/stdin or a file of /proc, whose length nobody knows before
/// its end. It is read once from front to back, with a look at what comes next.
/// </summary>
internal sealed class InputFile : ReadOnlyStream
{
    private readonly Stream _file;
    private readonly byte[] _buffer = new byte[1 << 16];
    private int _start, _end;

    private InputFile(string path, Stream file) => (Path, _file) = (path, file);

    /// <summary>Its path, as the user gives it.</summary>
    public string Path { get; }

    /// <summary>Bytes read so far.</summary>
    public long Taken { get; private set; }

    /// <summary>What a packed file unpacks to, as a file of its own.</summary>
    /// <param name="path">What to call it in messages.</param>
    /// <param name="unpacked">The bytes.</param>
    public static InputFile Of(string path, Stream unpacked) => new(path, unpacked);

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="expected">What to give instead where it is not there: "a .safetensors file".</param>
    /// <exception cref="InputException">Not there, a folder, or not readable.</exception>
    public static InputFile Open(string path, string expected)
    {
        try
        {
            return Directory.Exists(path) ? throw new InputException($"{path}: is a folder; give {expected}")
                : File.Exists(path) ? new InputFile(path, new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 0, FileOptions.SequentialScan))
                : throw new InputException($"{path}: no such file; give {(path == "-" && !OperatingSystem.IsWindows() ? "/dev/stdin for standard input, or " : "")}{expected}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>All bytes of the file. Memory follows what is there, not what the file system promises.</summary>
    /// <param name="most">Bytes beyond which it cannot be what is expected.</param>
    /// <param name="expected">What to give instead: "a .safetensors file".</param>
    /// <exception cref="InputException">Not readable, or longer.</exception>
    public byte[] ReadAll(long most, string expected)
    {
        try
        {
            byte[] bytes = new byte[IsPlain ? Math.Min(most, _file.Length) : 0];
            int count = 0;
            while (true)
            {
                count += this.ReadAtLeast(bytes.AsSpan(count), bytes.Length - count, throwOnEndOfStream: false);
                if (count < bytes.Length || Peek(1).IsEmpty)
                {
                    Array.Resize(ref bytes, count);
                    return bytes;
                }

                if (count == most)
                {
                    throw new InputException($"{Path}: goes on after {most >> 20} MiB, more than it can hold; give {expected}");
                }

                Array.Resize(ref bytes, (int)Math.Min(most, Math.Max(1 << 16, 2L * count)));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(Path, e);
        }
    }

    /// <summary>
    /// The file as one to move about in, which a zip file needs, or null where it is none (a pipe). What was unpacked is kept whole.
    /// </summary>
    public Stream? Seekable()
    {
        if (_file is not FileStream)
        {
            return new MemoryStream(ReadAll(Array.MaxLength, "it unpacked"));
        }

        if (!IsPlain)
        {
            return null;
        }

        _file.Position = 0;
        return _file;
    }

    /// <summary>The next bytes, which remain to be read; fewer where the file ends.</summary>
    /// <param name="count">How many, up to half the buffer: 32 KiB.</param>
    public ReadOnlySpan<byte> Peek(int count)
    {
        if (_end - _start < count)
        {
            _buffer.AsSpan(_start.._end).CopyTo(_buffer);
            (_start, _end) = (0, _end - _start);
            _end += _file.ReadAtLeast(_buffer.AsSpan(_end), count - _end, throwOnEndOfStream: false);
        }

        return _buffer.AsSpan(_start, Math.Min(count, _end - _start));
    }

    /// <summary>Passes over bytes that were looked at.</summary>
    public void Skip(int count)
    {
        _start += count;
        Taken += count;
    }

    /// <summary>The last bytes passed over are to be read again; nothing may have been looked at since.</summary>
    public void PutBack(int count) => Skip(-count);

    public override int Read(Span<byte> buffer)
    {
        if (_start == _end && buffer.Length >= _buffer.Length)
        {
            int direct = _file.Read(buffer);
            Taken += direct;
            return direct;
        }

        if (_start == _end)
        {
            Peek(1); // fills the buffer
        }

        ReadOnlySpan<byte> next = _buffer.AsSpan(_start, Math.Min(_end - _start, buffer.Length));
        next.CopyTo(buffer);
        Skip(next.Length);
        return next.Length;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _file.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <summary>Devices and /proc say that they can be moved about in, and that they are empty.</summary>
    private bool IsPlain => _file.CanSeek && _file.Length > 0;

    private static InputException Unreadable(string path, Exception e) => new($"{path}: cannot be read: {e.Message}", e);
}
