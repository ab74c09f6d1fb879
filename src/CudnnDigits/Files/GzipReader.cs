using System.IO.Compression;

namespace CudnnDigits.Files;

/// <summary>Unpacks a gzip file (RFC 1952). Unlike .NET's own stream it notices that a file is cut off or goes on in another way.</summary>
internal sealed class GzipReader(InputFile file, string name) : UnpackedStream(name, "download or pack the file again")
{
    private const int TrailerBytes = 8;
    private const byte HeaderChecksum = 2, ExtraField = 4, OriginalName = 8, Comment = 16, Reserved = 0xE0;

    private readonly Handout _handout = new(file);
    private DeflateStream? _member;

    /// <summary>The first bytes of every member: the magic number and the method, deflate.</summary>
    private static ReadOnlySpan<byte> MemberStart => [0x1F, 0x8B, 8];

    protected override Stream Source => file;

    protected override long PackedBytes => file.Taken;

    public static bool Begins(ReadOnlySpan<byte> head) => head.StartsWith(MemberStart[..2]);

    public override int Read(Span<byte> buffer)
    {
        while (!buffer.IsEmpty && (_member is not null || StartMember()))
        {
            int read = Read(_member!, buffer);
            if (read > 0)
            {
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
        if (file.Taken > 0 && !Begins(file.Peek(2)))
        {
            while (file.Peek(1) is [0])
            {
                file.Skip(1);
            }

            Require(file.Peek(1).IsEmpty, "the gzip data goes on after its end");
            return false;
        }

        uint crc = 0;
        ReadOnlySpan<byte> header = Take(10);
        byte flags = header[3];
        Require(header.StartsWith(MemberStart) && (flags & Reserved) == 0, "not gzip data");
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
        bool isIntact = (flags & HeaderChecksum) == 0 || BinaryPrimitives.ReadUInt16LittleEndian(Take(2)) == headerCrc;
        Require(isIntact, "the checksum of the gzip header is wrong");
        Sum = default;
        _member = new DeflateStream(_handout, CompressionMode.Decompress, leaveOpen: true);
        return true;

        ReadOnlySpan<byte> Take(int count)
        {
            ReadOnlySpan<byte> bytes = file.Peek(count);
            Require(bytes.Length == count, "the gzip data is cut off");
            crc = Crc32.Append(crc, bytes);
            file.Skip(count);
            return bytes;
        }
    }

    /// <summary>Checks and skips the trailer. DeflateStream has got it with its last bytes, so its expected bytes are searched.</summary>
    private void EndMember()
    {
        Span<byte> trailer = stackalloc byte[TrailerBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(trailer, Sum.Crc);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[4..], (uint)Sum.Bytes);
        int within = Math.Max(0, _handout.Last - 1);
        file.PutBack(within);
        int at = file.Peek(within + TrailerBytes).IndexOf(trailer);
        Require(at >= 0, "the compressed data is cut off, or its checksum (CRC-32) or length is wrong");
        file.Skip(at + TrailerBytes);
        _member!.Dispose();
        _member = null;
    }

    /// <summary>The file in pieces that can be put back: single bytes where a member may end, to find the place of its trailer.</summary>
    private sealed class Handout(InputFile file) : ReadOnlyStream
    {
        private const int Piece = 1 << 10, Ahead = 2 * Piece;

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
