namespace CudnnDigits.Files;

/// <summary>A stream that is read or written once from front to back: no seeking, no length, no buffer.</summary>
internal abstract class ForwardOnlyStream(bool reads) : Stream
{
    public override bool CanRead => reads;

    public override bool CanSeek => false;

    public override bool CanWrite => !reads;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Flush()
    {
    }

    public override int Read(Span<byte> buffer) => throw new NotSupportedException();

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}

internal abstract class ReadOnlyStream() : ForwardOnlyStream(reads: true)
{
    /// <summary>The stream that the bytes come from, which is closed with this one; null if there is none to close.</summary>
    protected virtual Stream? Source => null;

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Source?.Dispose();
        }

        base.Dispose(disposing);
    }
}

internal abstract class WriteOnlyStream() : ForwardOnlyStream(reads: false);
