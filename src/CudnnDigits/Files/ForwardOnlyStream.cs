namespace CudnnDigits.Files;

/// <summary>A stream that is used once from front to back: no seeking, no length. Subclasses support either reading or writing.</summary>
internal abstract class ForwardOnlyStream : Stream
{
    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}

/// <summary>A stream that is read once from front to back.</summary>
internal abstract class ReadOnlyStream : ForwardOnlyStream
{
    public override bool CanRead => true;

    /// <summary>The stream that the bytes come from, which is closed with this one; null if there is none to close.</summary>
    protected virtual Stream? Source => null;

    public abstract override int Read(Span<byte> buffer);

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Source?.Dispose();
        }

        base.Dispose(disposing);
    }
}

/// <summary>A stream that is written once from front to back and buffers nothing.</summary>
internal abstract class WriteOnlyStream : ForwardOnlyStream
{
    public override bool CanWrite => true;

    public abstract override void Write(ReadOnlySpan<byte> buffer);

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));
}
