using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// Deflate as RFC 1951 has it, bit by bit: slow, but independent of zlib, and it says where the compressed data ends. Beside it the
/// checksums of zip, gzip, PNG and zlib, by the loops of their specifications.
/// </summary>
internal sealed class PlainInflate
{
    private static readonly int[] LengthBase =
        [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
    private static readonly int[] LengthExtra = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
    private static readonly int[] DistanceBase =
        [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289,
        16385, 24577];
    private static readonly int[] DistanceExtra =
        [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
    private static readonly int[] CodeLengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    private readonly byte[] _packed;
    private readonly List<byte> _unpacked = [];
    private int _at, _bit;

    private PlainInflate(byte[] packed, int at) => (_packed, _at) = (packed, at);

    /// <summary>Unpacks what begins at a place; gives where it ends.</summary>
    public static (byte[] Unpacked, int End) Run(byte[] packed, int at)
    {
        PlainInflate inflate = new(packed, at);
        while (inflate.Block())
        {
        }

        return ([.. inflate._unpacked], inflate._bit == 0 ? inflate._at : inflate._at + 1);
    }

    public static uint Crc32(ReadOnlySpan<byte> bytes)
    {
        uint crc = 0xFFFFFFFF;
        foreach (byte one in bytes)
        {
            crc ^= one;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
            }
        }

        return ~crc;
    }

    public static uint Adler32(ReadOnlySpan<byte> bytes)
    {
        uint a = 1, b = 0;
        foreach (byte one in bytes)
        {
            a = (a + one) % 65521;
            b = (b + a) % 65521;
        }

        return b << 16 | a;
    }

    /// <summary>Unpacks a block; whether there is one more.</summary>
    private bool Block()
    {
        bool last = Bits(1) == 1;
        switch (Bits(2))
        {
            case 0:
                (_at, _bit) = (_bit == 0 ? _at : _at + 1, 0);
                int length = Bits(16);
                Require((length ^ Bits(16)) == 0xFFFF, "a stored block's length");
                Require(_at + length <= _packed.Length, "cut off");
                _unpacked.AddRange(_packed.AsSpan(_at, length));
                _at += length;
                break;
            case 1:
                int[] fixedLengths = [.. Enumerable.Range(0, 288)
                    .Select(symbol => symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8)];
                Codes(new Huffman(fixedLengths), new Huffman([.. Enumerable.Repeat(5, 30)]));
                break;
            case 2:
                int literals = Bits(5) + 257, distances = Bits(5) + 1, codeLengths = Bits(4) + 4;
                Require(literals <= 286 && distances <= 30, "too many codes");
                int[] order = new int[19];
                for (int i = 0; i < codeLengths; i++)
                {
                    order[CodeLengthOrder[i]] = Bits(3);
                }

                Huffman code = new(order);
                Require(code.Left == 0, "an incomplete code");
                List<int> lengths = [];
                while (lengths.Count < literals + distances)
                {
                    int symbol = Decode(code);
                    Require(symbol != 16 || lengths.Count > 0, "nothing to repeat");
                    lengths.AddRange(symbol switch
                    {
                        16 => Enumerable.Repeat(lengths[^1], 3 + Bits(2)),
                        17 => Enumerable.Repeat(0, 3 + Bits(3)),
                        18 => Enumerable.Repeat(0, 11 + Bits(7)),
                        _ => [symbol],
                    });
                }

                Require(lengths.Count == literals + distances && lengths[256] > 0, "code lengths");
                Huffman literal = new(lengths[..literals]), distance = new(lengths[literals..]);
                Require((literal.Left == 0 || literal.Single) && (distance.Left == 0 || distance.Single), "an incomplete code");
                Codes(literal, distance);
                break;
            default:
                throw new BrokenFileException("a block of no type");
        }

        return !last;
    }

    private void Codes(Huffman literals, Huffman distances)
    {
        for (int symbol = Decode(literals); symbol != 256; symbol = Decode(literals))
        {
            if (symbol < 256)
            {
                _unpacked.Add((byte)symbol);
                continue;
            }

            Require(symbol - 257 < LengthBase.Length, "a length");
            int length = LengthBase[symbol - 257] + Bits(LengthExtra[symbol - 257]), code = Decode(distances);
            Require(code < DistanceBase.Length, "a distance");
            int distance = DistanceBase[code] + Bits(DistanceExtra[code]);
            Require(distance <= _unpacked.Count, "a distance beyond the start");
            for (; length > 0; length--)
            {
                _unpacked.Add(_unpacked[^distance]);
            }

            Require(_unpacked.Count < 50_000_000, "far too much");
        }
    }

    private int Decode(Huffman huffman)
    {
        int code = 0, first = 0, index = 0;
        for (int length = 1; length <= 15; length++)
        {
            code |= Bits(1);
            int count = huffman.Count[length];
            if (code - count < first)
            {
                return huffman.Symbol[index + (code - first)];
            }

            index += count;
            first = first + count << 1;
            code <<= 1;
        }

        throw new BrokenFileException("no such code");
    }

    private int Bits(int count)
    {
        int value = 0;
        for (int i = 0; i < count; i++)
        {
            Require(_at < _packed.Length, "cut off");
            value |= (_packed[_at] >> _bit & 1) << i;
            (_at, _bit) = _bit == 7 ? (_at + 1, 0) : (_at, _bit + 1);
        }

        return value;
    }

    /// <summary>A canonical Huffman code from the lengths of its symbols' codes.</summary>
    private sealed class Huffman
    {
        public Huffman(IReadOnlyList<int> lengths)
        {
            foreach (int length in lengths)
            {
                Count[length]++;
            }

            Single = lengths.Count(length => length > 0) <= 1 && lengths.All(length => length <= 1);
            Count[0] = 0;
            for (int length = 1; length <= 15; length++)
            {
                Left = Left * 2 - Count[length];
                Require(Left >= 0, "too many codes of a length");
            }

            Symbol = [.. Enumerable.Range(0, lengths.Count).Where(symbol => lengths[symbol] > 0).OrderBy(symbol => lengths[symbol])];
        }

        public int[] Count { get; } = new int[16];

        public int[] Symbol { get; }

        /// <summary>Codes of 15 bits that are not used; 0 for a complete code.</summary>
        public int Left { get; } = 1;

        /// <summary>Whether it has one code of one bit at most, which zlib allows though it is incomplete.</summary>
        public bool Single { get; }
    }
}
