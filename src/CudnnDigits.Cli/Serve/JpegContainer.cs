using StbImageSharp;

namespace CudnnDigits.Cli.Serve;

/// <summary>Checks a JPEG file (ITU-T T.81), and decodes it with a library. Previews after its end are ignored.</summary>
internal sealed class JpegContainer() : PictureFormat("JPEG")
{
    /// <summary>Encoders use about ten scans. A file with more scans than this is an attack on the decoder's time.</summary>
    private const int MostScans = 64;

    private const byte Baseline = 0xC0, Extended = 0xC1, Progressive = 0xC2, Huffman = 0xC4;
    private const byte FirstRestart = 0xD0, LastRestart = 0xD7, Start = 0xD8, End = 0xD9, Scan = 0xDA;
    private const byte Quantization = 0xDB, RestartInterval = 0xDD, Application = 0xE1;

    private readonly bool[] _quantization = new bool[4], _direct = new bool[4], _alternating = new bool[4];
    private Component[] _components = [];
    private bool _progressive, _inColour, _hasOrientation;
    private int _scans;

    /// <summary>Whether a file is a JPEG, by its first bytes.</summary>
    public static bool Begins(ReadOnlySpan<byte> bytes) => bytes.StartsWith((ReadOnlySpan<byte>)[0xFF, Start, 0xFF]);

    public override void ReadSize(ReadOnlySpan<byte> bytes) => Check(bytes, upToSize: true);

    public override byte[] Decode(ReadOnlySpan<byte> bytes)
    {
        Check(bytes, upToSize: false);
        try
        {
            return ImageResult.FromMemory(bytes.ToArray(), _inColour ? ColorComponents.RedGreenBlue : ColorComponents.Grey).Data;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new InputException("the JPEG is damaged; save it again", e);
        }
    }

    private void Check(ReadOnlySpan<byte> bytes, bool upToSize)
    {
        bytes = bytes[2..];
        while (!(upToSize && Width > 0) && NextMarker(ref bytes) is var marker && marker != End)
        {
            // These markers have no segment. They are valid only among the pixels, or not at all.
            Require(marker is not (0 or 1 or Start or (>= FirstRestart and <= LastRestart)), $"it has a marker 0x{marker:X2} out of place");
            ReadOnlySpan<byte> segment = NextSegment(ref bytes);
            switch (marker)
            {
                case Huffman:
                    ReadHuffman(segment);
                    break;
                case Quantization:
                    ReadQuantization(segment);
                    break;
                case RestartInterval:
                    Require(segment.Length == 2, "its restart interval has a wrong length");
                    break;
                case Baseline or Extended or Progressive:
                    ReadFrame(marker, segment);
                    break;
                case 0xC3 or (>= 0xC5 and <= 0xC7) or (>= 0xC9 and <= 0xCF):
                    string kind = marker < 0xC8 ? "lossless or hierarchical JPEG" : "JPEG with arithmetic coding";
                    throw new InputException($"a {kind}; save it again as an ordinary JPEG or PNG");
                case Application when !_hasOrientation && segment.StartsWith("Exif\0\0"u8) && Exif.Orientation(segment[6..]) is { } first:
                    (Orientation, _hasOrientation) = (first, true); // the first one counts, as in browsers
                    break;
                case Scan:
                    long least = ReadScan(segment);
                    Require(8L * PassOverPixels(ref bytes) >= least, "pixels are missing");
                    break;
            }
        }

        Require(upToSize || (_components.Length > 0 && _components.All(component => component.Scanned)), "pixels are missing");
    }

    private byte NextMarker(ref ReadOnlySpan<byte> bytes)
    {
        int at = bytes.IndexOfAnyExcept((byte)0xFF);
        Require(at >= 0, IsCutOff);
        Require(at > 0, "a marker is missing");
        byte marker = bytes[at];
        bytes = bytes[(at + 1)..];
        return marker;
    }

    private ReadOnlySpan<byte> NextSegment(ref ReadOnlySpan<byte> bytes)
    {
        int length = bytes.Length >= 2 ? BinaryPrimitives.ReadUInt16BigEndian(bytes) : int.MaxValue;
        Require(length <= bytes.Length, IsCutOff);
        Require(length >= 2, "a segment has no length");
        ReadOnlySpan<byte> segment = bytes[2..length];
        bytes = bytes[length..];
        return segment;
    }

    /// <summary>Skips the compressed data, up to the next marker that does not belong to it, and returns their length.</summary>
    private int PassOverPixels(ref ReadOnlySpan<byte> bytes)
    {
        int before = bytes.Length;
        while (true)
        {
            int at = bytes.IndexOf((byte)0xFF);
            Require(at >= 0 && at + 1 < bytes.Length, IsCutOff);
            if (bytes[at + 1] is not (0 or 0xFF or (>= FirstRestart and <= LastRestart)))
            {
                bytes = bytes[at..];
                return before - bytes.Length;
            }

            bytes = bytes[(at + (bytes[at + 1] == 0xFF ? 1 : 2))..];
        }
    }

    private void ReadFrame(byte marker, ReadOnlySpan<byte> frame)
    {
        Require(_components.Length == 0, "it has two frames");
        Require(frame.Length >= 6 && frame.Length == 6 + 3 * frame[5], "its frame has a wrong length");
        if (frame[0] != 8)
        {
            throw new InputException($"a JPEG of {frame[0]} bits a colour; save it again with 8");
        }

        if (frame[5] == 4)
        {
            throw new InputException("a JPEG in printing colours (CMYK); save it again in RGB");
        }

        Require(frame[5] is 1 or 3, $"it has {frame[5]} colours");
        _progressive = marker == Progressive;
        _components = new Component[frame[5]];
        for (int i = 0; i < _components.Length; i++)
        {
            ReadOnlySpan<byte> one = frame.Slice(6 + 3 * i, 3);
            _components[i] = new Component(one[0], one[1] >> 4, one[1] & 15, one[2]);
            bool isPossible = _components[i] is { Across: >= 1 and <= 4, Down: >= 1 and <= 4, Table: <= 3 };
            Require(isPossible, "its colours are sampled in no possible way");
        }

        int across = _components.Max(component => component.Across), down = _components.Max(component => component.Down);
        bool isUsual = _components.All(component => across % component.Across == 0 && down % component.Down == 0);
        Require(isUsual, "its colours are sampled in no usual way");
        Require(_components.DistinctBy(component => component.Id).Count() == _components.Length, "two of its colours have one name");
        int height = BinaryPrimitives.ReadUInt16BigEndian(frame[1..]), width = BinaryPrimitives.ReadUInt16BigEndian(frame[3..]);
        foreach (Component component in _components)
        {
            component.SetBlocks(width, height, across, down);
        }

        // The stored planes, the coefficients of a progressive file, and two copies of the pixels. A large picture is decoded in grey.
        long stored = 64 * _components.Sum(component => component.Blocks) * (_progressive ? 3 : 1), pixels = 2L * width * height;
        _inColour = _components.Length == 3 && stored + 3 * pixels <= MostMemory;
        SetSize(width, height, stored + (_inColour ? 3 : 1) * pixels);
    }

    private void ReadHuffman(ReadOnlySpan<byte> tables)
    {
        while (!tables.IsEmpty)
        {
            Require(tables.Length >= 17 && tables[0] >> 4 <= 1 && (tables[0] & 15) <= 3, "a table of codes (DHT) is damaged");
            int count = 0, codes = 0;
            for (int length = 1; length <= 16; length++)
            {
                count += tables[length];
                codes += tables[length] << (16 - length);
            }

            Require(count <= 256 && codes <= 1 << 16 && tables.Length >= 17 + count, "a table of codes (DHT) is damaged");
            (tables[0] >> 4 == 0 ? _direct : _alternating)[tables[0] & 15] = true;
            tables = tables[(17 + count)..];
        }
    }

    private void ReadQuantization(ReadOnlySpan<byte> tables)
    {
        while (!tables.IsEmpty)
        {
            int length = 1 + (tables[0] >> 4 == 0 ? 64 : 128);
            Require(tables[0] >> 4 <= 1 && (tables[0] & 15) <= 3 && tables.Length >= length, "a table of steps (DQT) is damaged");
            _quantization[tables[0] & 15] = true;
            tables = tables[length..];
        }
    }

    /// <summary>Reads the head of a scan. Returns the least bits of compressed data that its blocks need.</summary>
    private long ReadScan(ReadOnlySpan<byte> scan)
    {
        long blocks = 0;
        int count = scan.IsEmpty ? 0 : scan[0];
        bool fits = count >= 1 && count <= _components.Length && scan.Length == 4 + 2 * count;
        Require(fits, "a scan has a wrong length, or comes before the frame");
        int from = scan[1 + 2 * count], to = scan[2 + 2 * count], high = scan[3 + 2 * count] >> 4, low = scan[3 + 2 * count] & 15;
        bool isPossible = _progressive
            ? from <= to && to <= 63 && (from > 0 || to == 0) && (from == 0 || count == 1) && high <= 13 && low <= 13
            : from == 0 && high == 0 && low == 0;
        Require(isPossible, "a scan covers no possible frequencies");
        for (int i = 0; i < count; i++)
        {
            int id = scan[1 + 2 * i], direct = scan[2 + 2 * i] >> 4, alternating = scan[2 + 2 * i] & 15;
            Component? of = Array.Find(_components, component => component.Id == id);
            Require(of is not null && direct <= 3 && alternating <= 3, "a scan is of no colour");
            Require(_progressive || !of.Scanned, "its pixels come twice");
            Require((_progressive && (from > 0 || high > 0)) || _direct[direct], "a table of codes (DHT) is missing");
            Require((_progressive && from == 0) || _alternating[alternating], "a table of codes (DHT) is missing");
            Require(_quantization[of.Table], "a table of steps (DQT) is missing");
            of.Scanned |= from == 0;
            blocks += count == 1 ? of.VisibleBlocks : of.Blocks;
        }

        Require(++_scans <= MostScans, $"its pixels come in more than {MostScans} passes");
        return _progressive ? from == 0 ? blocks : 0 : 2 * blocks; // one code of higher frequencies can stand for many blocks
    }

    /// <summary>A colour of the picture, or its brightness, and how it is sampled.</summary>
    private sealed record Component(byte Id, int Across, int Down, byte Table)
    {
        public bool Scanned { get; set; }

        /// <summary>Blocks of 8×8 in a scan of several colours, which has whole groups of them.</summary>
        public long Blocks { get; private set; }

        /// <summary>Blocks in a scan of this colour alone.</summary>
        public long VisibleBlocks { get; private set; }

        /// <summary>Counts the blocks of a picture whose most finely sampled colour is sampled as given.</summary>
        public void SetBlocks(int width, int height, int across, int down)
        {
            Blocks = Up(width, 8 * across) * Across * Up(height, 8 * down) * Down;
            VisibleBlocks = Up(Up((long)width * Across, across), 8) * Up(Up((long)height * Down, down), 8);

            static long Up(long number, long by) => (number + by - 1) / by;
        }
    }
}
