using System.IO.Compression;

namespace CudnnDigits.Files;

/// <summary>A file in a zip file. Its length and CRC-32, which .NET does not check, are checked at its end (APPNOTE.TXT, 4.4.7).</summary>
internal sealed class ZipEntryReader : ReadOnlyStream
{
    private readonly ZipArchiveEntry _entry;
    private readonly string _name;
    private readonly Stream _unpacked;
    private uint _crc;
    private long _length;

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
            throw new InputException(
                $"{name}: is damaged, or packed by another method than deflate; download it again, or unpack it and give what it holds", e);
        }
    }

    protected override Stream Source => _unpacked;

    public override int Read(Span<byte> buffer)
    {
        int read;
        try
        {
            read = _unpacked.Read(buffer);
        }
        catch (InvalidDataException e)
        {
            throw Damaged("the compressed data is damaged", e);
        }

        _crc = Crc32.Append(_crc, buffer[..read]);
        _length += read;
        return read > 0 || buffer.IsEmpty ? read
            : _length != _entry.Length ? throw Damaged($"unpacks to {_length} bytes where the zip file states {_entry.Length}")
            : _crc != _entry.Crc32 ? throw Damaged("its checksum (CRC-32) is wrong")
            : 0;
    }

    private InputException Damaged(string how, Exception? inner = null) => new($"{_name}: {how}; download the zip file again", inner!);
}
