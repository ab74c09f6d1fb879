namespace CudnnDigits.Files;

/// <summary>A file that the user names, also a FIFO or a device, read once from front to back; the next bytes can be looked at.</summary>
internal sealed class InputFile(string path, Stream file) : ReadOnlyStream
{
    private byte[] _buffer = new byte[1 << 16];
    private int _start, _end;

    /// <summary>The path as the user gives it.</summary>
    public string Path => path;

    protected override Stream Source => file;

    /// <summary>Bytes read so far.</summary>
    public long Taken { get; private set; }

    /// <summary>Whether it is a regular file. Devices and files of /proc claim that they can seek and are empty.</summary>
    private bool IsPlain => file.CanSeek && file.Length > 0;

    /// <summary>The unpacked bytes of a packed file, as a file of its own.</summary>
    public static InputFile Of(string path, Stream unpacked) => new(path, unpacked);

    /// <summary>Opens a file; the message of a failure says what is expected, such as "a .safetensors file".</summary>
    public static InputFile Open(string path, string expected) => Reading(path, () =>
    {
        string input = path == "-" && !OperatingSystem.IsWindows() ? "/dev/stdin for standard input, or " : "";
        return Directory.Exists(path) ? throw new InputException($"{path}: is a folder; give {expected}")
            : !File.Exists(path) ? throw new InputException($"{path}: no such file; give {input}{expected}")
            : new InputFile(path, new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 0, FileOptions.SequentialScan));
    });

    /// <summary>Runs a function that reads a file or a folder, and names that in the message of a failure.</summary>
    public static T Reading<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>All bytes of the file, of which there may be at most so many.</summary>
    public byte[] ReadAll(long most, string expected) => Reading(Path, () =>
    {
        byte[] bytes = ReadUpTo(most);
        return Peek(1).IsEmpty
            ? bytes
            : throw new InputException($"{Path}: goes on after {most >> 20} MiB, more than it can hold; give {expected}");
    });

    /// <summary>The next bytes, fewer at the end of the file. Memory grows with the bytes that are there, not with the count.</summary>
    public byte[] ReadUpTo(long count)
    {
        byte[] bytes = new byte[Math.Min(count, IsPlain ? file.Length : _buffer.Length)];
        for (int read = 0; ;)
        {
            read += this.ReadAtLeast(bytes.AsSpan(read), bytes.Length - read, throwOnEndOfStream: false);
            if (read < bytes.Length || read == count || Peek(1).IsEmpty)
            {
                Array.Resize(ref bytes, read);
                return bytes;
            }

            Array.Resize(ref bytes, (int)Math.Min(count, 2L * read));
        }
    }

    /// <summary>The file as a stream that can seek, which zip files need; null for a pipe. An unpacked file is read into memory.</summary>
    public Stream? Seekable()
    {
        if (file is not FileStream)
        {
            return new MemoryStream(ReadAll(Array.MaxLength, "it unpacked"));
        }

        if (!IsPlain)
        {
            return null;
        }

        file.Position = 0;
        return file;
    }

    /// <summary>The next bytes, which remain to be read; fewer at the end of the file.</summary>
    public ReadOnlySpan<byte> Peek(int count)
    {
        if (_end - _start < count)
        {
            byte[] before = _buffer;
            _buffer = count > before.Length ? new byte[count] : before;
            before.AsSpan(_start.._end).CopyTo(_buffer);
            (_start, _end) = (0, _end - _start);
            _end += file.ReadAtLeast(_buffer.AsSpan(_end), count - _end, throwOnEndOfStream: false);
        }

        return _buffer.AsSpan(_start, Math.Min(count, _end - _start));
    }

    /// <summary>Skips bytes that were looked at.</summary>
    public void Skip(int count)
    {
        _start += count;
        Taken += count;
    }

    /// <summary>Makes the bytes that were skipped last be read again. Nothing may have been looked at since.</summary>
    public void PutBack(int count) => Skip(-count);

    /// <summary>Replaces the next bytes, which were looked at, by others.</summary>
    public void Replace(int count, ReadOnlySpan<byte> by)
    {
        byte[] next = [.. by, .. _buffer.AsSpan((_start + count).._end)];
        (_start, _end) = (0, next.Length);
        Array.Resize(ref next, Math.Max(next.Length, 1 << 16));
        _buffer = next;
    }

    public override int Read(Span<byte> buffer)
    {
        if (_start == _end && buffer.Length >= _buffer.Length)
        {
            int direct = file.Read(buffer);
            Taken += direct;
            return direct;
        }

        Peek(1); // fills the buffer if it is empty
        ReadOnlySpan<byte> next = _buffer.AsSpan(_start, Math.Min(_end - _start, buffer.Length));
        next.CopyTo(buffer);
        Skip(next.Length);
        return next.Length;
    }
}
