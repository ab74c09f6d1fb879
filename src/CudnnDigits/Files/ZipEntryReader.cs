using System.IO.Compression;

namespace CudnnDigits.Files;

/// <summary>A file in a zip file. Its length and CRC-32, which .NET does not check, are checked at its end (APPNOTE.TXT, 4.4.7).</summary>
internal sealed class ZipEntryReader(ZipArchiveEntry entry, string name, long zipBytes)
    : UnpackedStream(name, "download the zip file again")
{
    private readonly Stream _unpacked = Open(entry, name);

    protected override Stream Source => _unpacked;

    protected override long PackedBytes => zipBytes;

    public override int Read(Span<byte> buffer)
    {
        int read = Read(_unpacked, buffer);
        return read > 0 || buffer.IsEmpty ? read
            : Sum.Bytes != entry.Length ? throw Damaged($"unpacks to {Sum.Bytes} bytes where the zip file states {entry.Length}")
            : Sum.Crc != entry.Crc32 ? throw Damaged("its checksum (CRC-32) is wrong")
            : 0;
    }

    private static Stream Open(ZipArchiveEntry entry, string name)
    {
        try
        {
            return !entry.IsEncrypted ? entry.Open() : throw new InputException(
                $"{name}: is encrypted; unpack the zip file with its password and give what it holds");
        }
        catch (InvalidDataException e)
        {
            throw new InputException(
                $"{name}: is damaged, or packed by another method than deflate; download it again, or unpack it and give what it holds", e);
        }
    }
}
