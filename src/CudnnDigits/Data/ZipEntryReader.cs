using System.IO.Compression;

namespace CudnnDigits.Data;

/// <summary>
/// One file of a zip file, checked at its end: length and CRC-32, which .NET leaves unchecked (APPNOTE.TXT, 4.4.7 to 4.4.9).
/// </summary>
internal sealed class ZipEntryReader : ReadOnlyStream
{
    private readonly ZipArchiveEntry _entry;
    private readonly string _name;
    private readonly Stream _unpacked;
    private uint _crc;
    private long _length;

    /// <summary>Opens it.</summary>
    /// <param name="entry">The file.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <exception cref="InputException">It is encrypted, damaged, or packed in a way that .NET does not know.</exception>
    public ZipEntryReader(ZipArchiveEntry entry, string name)
    {
        (_entry, _name) = (entry, name);
        if (entry.IsEncrypted)
        {
            throw new InputException($"{name}: is encrypted; unpack the zip file with its password and give what it holds");
        }

        try
        {
            _unpacked = entry.Open();
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{name}: is damaged, or packed by another method than deflate; download the zip file again, or unpack it and give what it holds", e);
        }
    }

    public override int Read(Span<byte> buffer)
    {
        int read;
        try
        {
            read = _unpacked.Read(buffer);
        }
        catch (InvalidDataException e)
        {
            throw new InputException(Damaged("the compressed data is damaged").Message, e);
        }

        _crc = Crc32.Append(_crc, buffer[..read]);
        _length += read;
        if (read == 0 && !buffer.IsEmpty)
        {
            CheckEnd();
        }

        return read;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _unpacked.Dispose();
        }

        base.Dispose(disposing);
    }

    private void CheckEnd()
    {
        if (_length != _entry.Length)
        {
            throw Damaged($"unpacks to {_length} bytes where the zip file states {_entry.Length}");
        }

        if (_crc != _entry.Crc32)
        {
            throw Damaged("its checksum (CRC-32) is wrong");
        }
    }

    private InputException Damaged(string how) => new($"{_name}: {how}; download the zip file again");
}
