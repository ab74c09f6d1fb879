using System.IO.Compression;

namespace CudnnDigits.Files;

/// <summary>
/// The unpacked bytes of a gzip file, each of its members checked to the last byte (RFC 1952). .NET's own stream does not notice that a
/// file is cut off, and takes damage after the first member for the end.
/// </summary>
internal sealed class GzipReader(InputFile file, string name) : ReadOnlyStream
{
    private const int TrailerBytes = 8;
    private const byte HeaderChecksum = 2, ExtraField = 4, OriginalName = 8, Comment = 16, Reserved = 0xE0;

    private readonly Handout _handout = new(file);
    private DeflateStream? _member;
    private bool _any;
    private uint _crc, _length;

    /// <summary>The first two bytes of every gzip file.</summary>
    private static ReadOnlySpan<byte> Magic => [0x1F, 0x8B];

    protected override Stream Source => file;

    /// <summary>Whether a file is gzip data, judged by its first bytes.</summary>
    public static bool Begins(ReadOnlySpan<byte> head) => head.StartsWith(Magic);

    public override int Read(Span<byte> buffer)
    {
        while (!buffer.IsEmpty && (_member is not null || StartMember()))
        {
            int read;
            try
            {
                read = _member!.Read(buffer);
            }
            catch (InvalidDataException e)
            {
                throw Damaged("the compressed data is damaged", e);
            }

            if (read > 0)
            {
                _crc = Crc32.Append(_crc, buffer[..read]);
                _length += (uint)read;
                return read;
            }

            EndMember();
        }

        return 0;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _member?.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <summary>Skips the header of the next member; false at the end of the file, which may be padded with zeros.</summary>
    private bool StartMember()
    {
        ReadOnlySpan<byte> magic = file.Peek(Magic.Length);
        if (_any && !magic.SequenceEqual(Magic))
        {
            while (file.Peek(1) is [0])
            {
                file.Skip(1);
            }

            return file.Peek(1).IsEmpty ? false : throw Damaged("the gzip data goes on after its end");
        }

        uint crc = 0;
        ReadOnlySpan<byte> header = Take(10);
        byte flags = header[3];
        if (!header.StartsWith(Magic) || header[2] != 8 || (flags & Reserved) != 0)
        {
            throw Damaged("not gzip data");
        }

        if ((flags & ExtraField) != 0)
        {
            for (int left = BinaryPrimitives.ReadUInt16LittleEndian(Take(2)); left > 0; left--)
            {
                Take(1);
            }
        }

        int texts = int.PopCount(flags & (OriginalName | Comment));
        while (texts > 0)
        {
            texts -= Take(1)[0] == 0 ? 1 : 0;
        }

        ushort headerCrc = (ushort)crc;
        if ((flags & HeaderChecksum) != 0 && BinaryPrimitives.ReadUInt16LittleEndian(Take(2)) != headerCrc)
        {
            throw Damaged("the checksum of the gzip header is wrong");
        }

        (_any, _crc, _length) = (true, 0, 0);
        _member = new DeflateStream(_handout, CompressionMode.Decompress, leaveOpen: true);
        return true;

        ReadOnlySpan<byte> Take(int count)
        {
            ReadOnlySpan<byte> bytes = file.Peek(count);
            if (bytes.Length < count)
            {
                throw Damaged("the gzip data is cut off");
            }

            crc = Crc32.Append(crc, bytes);
            file.Skip(count);
            return bytes;
        }
    }

    /// <summary>Checks and skips the trailer. DeflateStream has got it with its last bytes, so its expected bytes are searched.</summary>
    private void EndMember()
    {
        Span<byte> trailer = stackalloc byte[TrailerBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(trailer, _crc);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[4..], _length);
        int within = Math.Max(0, _handout.Last - 1);
        file.PutBack(within);
        int at = file.Peek(within + TrailerBytes).IndexOf(trailer);
        if (at < 0)
        {
            throw Damaged("the compressed data is cut off, or its checksum (CRC-32) or length is wrong");
        }

        file.Skip(at + TrailerBytes);
        _member!.Dispose();
        _member = null;
    }

    private InputException Damaged(string how, Exception? inner = null) =>
        new($"{name}: {how}; download or pack the file again", inner!);

    /// <summary>
    /// Hands the file's bytes to DeflateStream in pieces that can be put back. Where the file ends soon or another member may begin, the
    /// pieces are single bytes, so that only the right place for the trailer is searched.
    /// </summary>
    private sealed class Handout(InputFile file) : ReadOnlyStream
    {
        private const int Piece = 1 << 10, Ahead = 2 * Piece;

        /// <summary>The first bytes of every member: the magic number and the method, deflate.</summary>
        private static ReadOnlySpan<byte> MemberStart => [0x1F, 0x8B, 8];

        /// <summary>Size of the last piece.</summary>
        public int Last { get; private set; }

        public override int Read(Span<byte> buffer)
        {
            ReadOnlySpan<byte> next = file.Peek(Ahead);
            int piece = next.Length < Ahead || next.IndexOf(MemberStart) >= 0 ? 1 : Piece;
            Last = file.Read(buffer[..Math.Min(Math.Min(next.Length, buffer.Length), piece)]);
            return Last;
        }
    }
}
