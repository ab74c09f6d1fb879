using System.Buffers;
using System.IO.Compression;

namespace CudnnDigits.Cli.Serve;

/// <summary>Decodes a PNG file (W3C PNG, third edition). Bytes after IEND are ignored.</summary>
internal sealed class PngContainer() : PictureFormat("PNG")
{
    private const int Gray = 0, Rgb = 2, Palette = 3, GrayAlpha = 4, Rgba = 6;
    private const int HeaderBytes = 13, FrameBytes = 12, SizeAt = 16;

    private static readonly (int X, int Y, int StepX, int StepY)[] Adam7 =
        [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

    private static readonly SearchValues<byte> Letters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"u8);

    private readonly ArrayBufferWriter<byte> _packed = new();
    private byte[] _palette = [], _transparency = [];
    private int _depth, _colorType, _channels;
    private bool _interlaced;

    /// <summary>First bytes of every PNG.</summary>
    public static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    public override void ReadSize(ReadOnlySpan<byte> bytes)
    {
        if (!bytes.StartsWith(Signature) || bytes.Length < Signature.Length + FrameBytes + HeaderBytes || !bytes[12..].StartsWith("IHDR"u8))
        {
            throw new InputException("not a PNG or JPEG");
        }

        // For each pixel: its samples, and two copies in four channels.
        ReadOnlySpan<byte> size = bytes[SizeAt..];
        uint width = BinaryPrimitives.ReadUInt32BigEndian(size), height = BinaryPrimitives.ReadUInt32BigEndian(size[4..]);
        UInt128 memory = (UInt128)width * height * (size[8] == 16 ? 24u : 12u);
        SetSize(width, height, (long)UInt128.Min(memory, long.MaxValue));
    }

    public override byte[] Decode(ReadOnlySpan<byte> bytes)
    {
        ReadSize(bytes);
        ReadChunks(bytes[Signature.Length..]);
        return ReadPixels();
    }

    private void ReadChunks(ReadOnlySpan<byte> bytes)
    {
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
                    break;
                case "PLTE":
                    bool isFirst = _palette.Length == 0 && _transparency.Length == 0 && !pixels;
                    Require(isFirst && _colorType is not (Gray or GrayAlpha), "its chunk PLTE is out of place");
                    _palette = content.ToArray();
                    int colors = content.Length / 3, most = _colorType == Palette ? 1 << _depth : 256;
                    Require(content.Length % 3 == 0 && colors >= 1 && colors <= most, $"its palette has {content.Length} bytes");
                    break;
                case "tRNS":
                    isFirst = _transparency.Length == 0 && !pixels;
                    Require(isFirst && _colorType is Gray or Rgb or Palette, "its chunk tRNS is out of place");
                    (int least, most) = _colorType == Palette ? (1, _palette.Length / 3) : (2 * _channels, 2 * _channels);
                    Require(content.Length >= least && content.Length <= most, $"its chunk tRNS has {content.Length} bytes");
                    _transparency = content.ToArray();
                    break;
                case "IDAT":
                    Require(!pixels || before == "IDAT", "its chunks IDAT are not in one row");
                    Require(_colorType != Palette || _palette.Length > 0, "its palette is missing");
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
                case var _ when char.IsAsciiLetterUpper(type[0]):
                    throw Damaged($"its chunk {type} is unknown, and the picture depends on it");
            }

            before = type;
        }
        while (type != "IEND");
    }

    private string Next(ref ReadOnlySpan<byte> bytes, out ReadOnlySpan<byte> content)
    {
        uint length = bytes.Length >= FrameBytes ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : uint.MaxValue;
        Require(length <= bytes.Length - FrameBytes, IsCutOff);
        ReadOnlySpan<byte> named = bytes[4..(8 + (int)length)];
        Require(!named[..4].ContainsAnyExcept(Letters), "a chunk has no name");
        string type = Encoding.ASCII.GetString(named[..4]);
        // In ancillary chunks too: the checksum covers the name, so a damaged critical chunk may look like one.
        if (Crc32.Append(0, named) != BinaryPrimitives.ReadUInt32BigEndian(bytes[(8 + (int)length)..]))
        {
            throw Damaged($"the checksum (CRC) of its chunk {type} is wrong");
        }

        content = named[4..];
        bytes = bytes[(FrameBytes + (int)length)..];
        return type;
    }

    private void ReadHeader(ReadOnlySpan<byte> header)
    {
        Require(header.Length == HeaderBytes, $"its chunk IHDR has {header.Length} bytes");
        (_depth, _colorType, _interlaced) = (header[8], header[9], header[12] == 1);
        _channels = _colorType switch { Rgb => 3, GrayAlpha => 2, Rgba => 4, _ => 1 };
        bool known = (_colorType, _depth)
            is (Gray, 1 or 2 or 4 or 8 or 16) or (Rgb or GrayAlpha or Rgba, 8 or 16) or (Palette, 1 or 2 or 4 or 8);
        Require(known, $"there is no colour type {_colorType} of {_depth} bits");
        (byte compression, byte filter, byte interlacing) = (header[10], header[11], header[12]);
        bool isUsual = compression == 0 && filter == 0 && interlacing <= 1;
        Require(isUsual, $"there is no compression {compression}, filter method {filter} or interlacing {interlacing}");
    }

    /// <summary>Unpacks the pixels, to (height, width, 4) uint8. The compressed data must have exactly as many as the size says.</summary>
    private byte[] ReadPixels()
    {
        byte[] rgba = new byte[4 * Width * Height];
        Pieces packed = new(_packed.WrittenMemory);
        using ZLibStream unpacked = new(packed, CompressionMode.Decompress);
        try
        {
            foreach ((int x, int y, int stepX, int stepY) in _interlaced ? Adam7 : [(0, 0, 1, 1)])
            {
                int columns = (Width - x + stepX - 1) / stepX, step = Math.Max(1, _channels * _depth / 8);
                byte[] row = new byte[step + (columns * _channels * _depth + 7) / 8], above = new byte[row.Length]; // zeros, then pixels
                for (int at = y; at < Height && columns > 0; at += stepY, (row, above) = (above, row))
                {
                    Span<byte> filtered = row.AsSpan(step - 1);
                    int read = unpacked.ReadAtLeast(filtered, filtered.Length, throwOnEndOfStream: false), filter = filtered[0];
                    Require(read == filtered.Length, "it unpacks to less than its pixels");
                    Require(filter <= 4, "there is no such row filter");
                    filtered[0] = 0;
                    ReverseFilter(filter, row, above, step);
                    for (int i = 0; i < columns; i++)
                    {
                        ReadPixel(filtered[1..], i, rgba.AsSpan(4 * (at * Width + x + i * stepX), 4));
                    }
                }
            }

            // Reads to the end of the data, where the checksum (Adler-32) is.
            Require(unpacked.ReadByte() < 0, "it unpacks to more than its pixels");
        }
        catch (Exception e) when (e is InvalidDataException or IOException) // IOException: zlib asks for a dictionary; PNG has none
        {
            throw Damaged("its compressed data is");
        }

        Require(!packed.AskedBeyond, "its compressed data is cut off");
        return rgba;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ReverseFilter(int filter, Span<byte> row, ReadOnlySpan<byte> above, int step)
    {
        ReadOnlySpan<byte> left = row, corner = above, up = above[step..];
        row = row[step..];
        for (int i = 0; i < row.Length && filter > 0; i++)
        {
            row[i] += (byte)(filter switch { 1 => left[i], 2 => up[i], 3 => (left[i] + up[i]) / 2, _ => Paeth(left[i], up[i], corner[i]) });
        }
    }

    private static int Paeth(int left, int up, int corner)
    {
        int estimate = left + up - corner, a = Math.Abs(estimate - left), b = Math.Abs(estimate - up), c = Math.Abs(estimate - corner);
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ReadPixel(ReadOnlySpan<byte> row, int column, Span<byte> rgba)
    {
        if (_channels >= 3 && _depth == 8 && _transparency.Length == 0)
        {
            ReadOnlySpan<byte> pixel = row.Slice(column * _channels, _channels);
            (rgba[3], rgba[2], rgba[1], rgba[0]) = (_channels == 4 ? pixel[3] : byte.MaxValue, pixel[2], pixel[1], pixel[0]);
            return;
        }

        if (_colorType == Palette)
        {
            int index = Sample(row, column);
            Require(3 * index < _palette.Length, "a pixel's colour is not in its palette");
            _palette.AsSpan(3 * index, 3).CopyTo(rgba);
            rgba[3] = index < _transparency.Length ? _transparency[index] : byte.MaxValue;
            return;
        }

        int largest = (1 << _depth) - 1, scale = byte.MaxValue / largest;
        bool isClear = _transparency.Length > 0;
        for (int channel = 0; channel < _channels; channel++)
        {
            int sample = Sample(row, column * _channels + channel);
            isClear = isClear && sample == (BinaryPrimitives.ReadUInt16BigEndian(_transparency.AsSpan(2 * channel)) & largest);
            rgba[_colorType == GrayAlpha ? 3 * channel : channel] = (byte)(_depth == 16 ? sample >> 8 : sample * scale);
        }

        if (_channels < 3)
        {
            rgba[1..3].Fill(rgba[0]);
        }

        if (_channels is 1 or 3)
        {
            rgba[3] = isClear ? byte.MinValue : byte.MaxValue;
        }
    }

    private int Sample(ReadOnlySpan<byte> row, int i) => _depth == 16
        ? BinaryPrimitives.ReadUInt16BigEndian(row[(2 * i)..])
        : row[i * _depth / 8] >> (8 - _depth - i * _depth % 8) & ((1 << _depth) - 1);

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
