using System.Buffers;
using System.IO.Compression;
using CudnnDigits.Files;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// Checks a PNG file against the specification (W3C PNG, third edition), because the decoding library trusts what the file says. A wrong
/// CRC is refused in every chunk, also in ancillary ones: the CRC covers the chunk's name, so a damaged critical chunk may look like an
/// ancillary one. Bytes after IEND are ignored.
/// </summary>
internal sealed class PngContainer
{
    private const int Gray = 0, Rgb = 2, Palette = 3, GrayAlpha = 4, Rgba = 6;
    private const int HeaderBytes = 13, FrameBytes = 12, SizeAt = 16;

    private static readonly (int X, int Y, int StepX, int StepY)[] Adam7 =
        [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

    private static readonly SearchValues<byte> Letters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"u8);

    private readonly ArrayBufferWriter<byte> _before = new(), _packed = new();
    private int _depth, _colorType;
    private bool _interlaced, _transparency;

    /// <summary>Colours of the palette; 0 without one.</summary>
    private int _colors;

    private PngContainer()
    {
    }

    public int Width { get; private set; }

    public int Height { get; private set; }

    /// <summary>Exif's orientation, 1 to 8. The pixels are not turned yet.</summary>
    public int Orientation { get; private set; } = 1;

    /// <summary>First bytes of every PNG.</summary>
    public static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>The file without ancillary chunks and with its compressed data in one chunk: the decoder fails at an empty one.</summary>
    public byte[] Picture()
    {
        ArrayBufferWriter<byte> png = new(_before.WrittenCount + _packed.WrittenCount + 2 * FrameBytes);
        png.Write(_before.WrittenSpan);
        Append(png, "IDAT", _packed.WrittenSpan);
        Append(png, "IEND", []);
        return png.WrittenSpan.ToArray();
    }

    /// <summary>The number of pixels that a file claims, before it is checked. 0 if the claim is invalid.</summary>
    public static int Pixels(ReadOnlySpan<byte> bytes) => Memory(bytes) == 0 ? 0
        : (int)(BinaryPrimitives.ReadUInt32BigEndian(bytes[SizeAt..]) * BinaryPrimitives.ReadUInt32BigEndian(bytes[(SizeAt + 4)..]));

    /// <summary>The bytes that decoding needs according to the file's claims. 0 if these are invalid or too large.</summary>
    public static long Memory(ReadOnlySpan<byte> bytes) =>
        bytes.Length > SizeAt + 8 && MemoryOf(bytes[SizeAt..]) is <= PictureFile.MostMemory and var memory ? memory : 0;

    /// <summary>Checks a file and its compressed data, which must unpack to exactly the pixels of its size.</summary>
    /// <exception cref="InputException">It is not a PNG, damaged, not valid, or too large.</exception>
    public static PngContainer Check(ReadOnlySpan<byte> bytes)
    {
        PngContainer png = new();
        png.CheckChunks(bytes);
        png.CheckPixels();
        return png;
    }

    private void CheckChunks(ReadOnlySpan<byte> bytes)
    {
        if (!bytes.StartsWith(Signature) || bytes.Length < Signature.Length + FrameBytes + HeaderBytes || !bytes[12..].StartsWith("IHDR"u8))
        {
            throw new InputException("not a PNG or JPEG");
        }

        _before.Write(Signature);
        bytes = bytes[Signature.Length..];
        ReadSize(bytes[8..]);
        string before = "", type;
        bool pixels = false;
        do
        {
            type = Next(ref bytes, out ReadOnlySpan<byte> content);
            switch (type)
            {
                case "IHDR":
                    Require(before.Length == 0, "it has two chunks IHDR");
                    ReadHeader(content);
                    Append(_before, type, content);
                    break;
                case "PLTE":
                    bool inPlace = _colors == 0 && !_transparency && !pixels && _colorType is not (Gray or GrayAlpha);
                    Require(inPlace, "its chunk PLTE is out of place");
                    _colors = content.Length / 3;
                    int most = _colorType == Palette ? 1 << _depth : 256;
                    Require(content.Length % 3 == 0 && _colors >= 1 && _colors <= most, $"its palette has {content.Length} bytes");
                    Append(_before, type, content);
                    break;
                case "tRNS":
                    Require(!_transparency && !pixels && _colorType is Gray or Rgb or Palette, "its chunk tRNS is out of place");
                    _transparency = true;
                    bool fits = _colorType switch
                    {
                        Gray => content.Length == 2,
                        Rgb => content.Length == 6,
                        _ => content.Length >= 1 && content.Length <= _colors,
                    };
                    Require(fits, $"its chunk tRNS has {content.Length} bytes");
                    Append(_before, type, _colorType == Palette ? content : Samples(content));
                    break;
                case "IDAT":
                    Require(!pixels || before == "IDAT", "its chunks IDAT are not in one row");
                    Require(_colorType != Palette || _colors > 0, "its palette is missing");
                    pixels = true;
                    _packed.Write(content);
                    break;
                case "eXIf":
                    Orientation = Exif.Orientation(content) ?? 1;
                    break;
                case "IEND":
                    Require(pixels, "it has no pixels");
                    Require(content.IsEmpty, "its chunk IEND is not empty");
                    break;
                default:
                    if (char.IsAsciiLetterUpper(type[0]))
                    {
                        throw Damaged($"its chunk {type} is unknown, and the picture depends on it");
                    }

                    break;
            }

            before = type;
        }
        while (type != "IEND");
    }

    /// <summary>Clears the unused upper bits of samples of two bytes, which the decoder does not ignore.</summary>
    private byte[] Samples(ReadOnlySpan<byte> content)
    {
        byte[] samples = content.ToArray();
        for (int i = 0; i < samples.Length; i += 2)
        {
            int sample = BinaryPrimitives.ReadUInt16BigEndian(samples.AsSpan(i)) & ((1 << _depth) - 1);
            BinaryPrimitives.WriteUInt16BigEndian(samples.AsSpan(i), (ushort)sample);
        }

        return samples;
    }

    private static void Append(ArrayBufferWriter<byte> png, string type, ReadOnlySpan<byte> content)
    {
        Span<byte> frame = stackalloc byte[8];
        BinaryPrimitives.WriteInt32BigEndian(frame, content.Length);
        Encoding.ASCII.GetBytes(type, frame[4..]);
        png.Write(frame);
        png.Write(content);
        BinaryPrimitives.WriteUInt32BigEndian(frame, Crc32.Append(Crc32.Append(0, frame[4..]), content));
        png.Write(frame[..4]);
    }

    /// <summary>Reads the next chunk.</summary>
    private static string Next(ref ReadOnlySpan<byte> bytes, out ReadOnlySpan<byte> content)
    {
        if (bytes.Length < FrameBytes || BinaryPrimitives.ReadUInt32BigEndian(bytes) is var length && length > bytes.Length - FrameBytes)
        {
            throw new InputException("the PNG is cut off, or damaged; save it again");
        }

        ReadOnlySpan<byte> named = bytes[4..(8 + (int)length)];
        Require(!named[..4].ContainsAnyExcept(Letters), "a chunk has no name");
        string type = Encoding.ASCII.GetString(named[..4]);
        if (Crc32.Append(0, named) != BinaryPrimitives.ReadUInt32BigEndian(bytes[(8 + (int)length)..]))
        {
            throw Damaged($"the checksum (CRC) of its chunk {type} is wrong");
        }

        content = named[4..];
        bytes = bytes[(FrameBytes + (int)length)..];
        return type;
    }

    private void ReadSize(ReadOnlySpan<byte> header)
    {
        uint width = BinaryPrimitives.ReadUInt32BigEndian(header), height = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
        PictureFile.CheckSize(width, height, MemoryOf(header));
        (Width, Height) = ((int)width, (int)height);
    }

    /// <summary>Bytes for the unpacked rows, and for two copies of the pixels in four channels.</summary>
    /// <param name="header">The chunk IHDR from the size on.</param>
    private static long MemoryOf(ReadOnlySpan<byte> header)
    {
        const long Usual = 12, Deep = 24;
        ulong pixels = (ulong)BinaryPrimitives.ReadUInt32BigEndian(header) * BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
        return pixels > long.MaxValue / Deep ? long.MaxValue : (long)pixels * (header[8] == 16 ? Deep : Usual);
    }

    private void ReadHeader(ReadOnlySpan<byte> header)
    {
        Require(header.Length == HeaderBytes, $"its chunk IHDR has {header.Length} bytes");
        (_depth, _colorType, _interlaced) = (header[8], header[9], header[12] == 1);
        bool known = (_colorType, _depth)
            is (Gray, 1 or 2 or 4 or 8 or 16) or (Rgb or GrayAlpha or Rgba, 8 or 16) or (Palette, 1 or 2 or 4 or 8);
        Require(known, $"there is no colour type {_colorType} of {_depth} bits");
        Require(
            header[10] == 0 && header[11] == 0 && header[12] <= 1,
            $"there is no compression {header[10]}, filter method {header[11]} or interlacing {header[12]}");
    }

    private void CheckPixels()
    {
        Pieces packed = new(_packed.WrittenMemory);
        using ZLibStream unpacked = new(packed, CompressionMode.Decompress);
        try
        {
            foreach ((int x, int y, int stepX, int stepY) in _interlaced ? Adam7 : [(0, 0, 1, 1)])
            {
                CheckRows(unpacked, (Width - x + stepX - 1) / stepX, (Height - y + stepY - 1) / stepY);
            }

            // Reads to the end of the data, where the checksum (Adler-32) is.
            Require(unpacked.ReadByte() < 0, "it unpacks to more than its pixels");
        }
        catch (Exception e) when (e is InvalidDataException or IOException) // IOException: zlib asks for a dictionary; PNG has none
        {
            throw new InputException("the PNG is damaged: its compressed data is; save it again", e);
        }

        Require(!packed.AskedBeyond, "its compressed data is cut off");
    }

    /// <summary>Checks the rows of a picture, or of one pass of an interlaced one.</summary>
    private void CheckRows(ZLibStream unpacked, int width, int height)
    {
        int channels = _colorType switch { Rgb => 3, GrayAlpha => 2, Rgba => 4, _ => 1 };
        byte[] row = new byte[1 + (width * channels * _depth + 7) / 8], above = new byte[row.Length];
        for (int y = 0; y < height && width > 0; y++)
        {
            Require(unpacked.ReadAtLeast(row, row.Length, throwOnEndOfStream: false) == row.Length, "it unpacks to less than its pixels");
            Require(row[0] <= 4, "there is no such row filter");
            if (_colorType == Palette)
            {
                CheckIndices(row, above, width);
                (row, above) = (above, row);
            }
        }
    }

    /// <summary>Reverses the filter of a row of palette indices, and checks the indices.</summary>
    private void CheckIndices(byte[] row, byte[] above, int width)
    {
        for (int i = 1; i < row.Length; i++)
        {
            int left = i > 1 ? row[i - 1] : 0, up = above[i], corner = i > 1 ? above[i - 1] : 0;
            row[i] += (byte)(row[0] switch { 1 => left, 2 => up, 3 => (left + up) / 2, 4 => Paeth(left, up, corner), _ => 0 });
        }

        int mask = (1 << _depth) - 1;
        for (int x = 0; x < width; x++)
        {
            int bit = x * _depth, index = row[1 + bit / 8] >> (8 - _depth - bit % 8) & mask;
            Require(index < _colors, "a pixel's colour is not in its palette");
        }
    }

    private static int Paeth(int left, int up, int corner)
    {
        int estimate = left + up - corner, a = Math.Abs(estimate - left), b = Math.Abs(estimate - up), c = Math.Abs(estimate - corner);
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }

    private static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw Damaged(otherwise);
        }
    }

    private static InputException Damaged(string how) => new($"the PNG is damaged: {how}; save it again");

    /// <summary>The compressed data. It records whether it was read beyond its end, which ZLibStream does not treat as an error.</summary>
    private sealed class Pieces(ReadOnlyMemory<byte> packed) : ReadOnlyStream
    {
        private int _at;

        public bool AskedBeyond { get; private set; }

        public override int Read(Span<byte> buffer)
        {
            ReadOnlySpan<byte> next = packed.Span.Slice(_at, Math.Min(buffer.Length, packed.Length - _at));
            next.CopyTo(buffer);
            _at += next.Length;
            AskedBeyond |= next.IsEmpty;
            return next.Length;
        }
    }
}
