using System.IO.Compression;
using System.Numerics;
using CudnnDigits.Files;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>Unpacks and decodes the pages of a Parquet file's columns.</summary>
internal sealed class PageReader(string name, long fileBytes)
{
    private const int Plain = 0, PlainDictionary = 2, RleDictionary = 8;

    private const int Data = 0, Dictionary = 2, DataV2 = 3;

    private static readonly string[] Codecs = ["", "Snappy", "gzip", "LZO", "Brotli", "LZ4", "Zstandard", "LZ4"];

    private long _unpacked;

    /// <summary>The most bytes to which a file of a given length may unpack. Pictures are already compressed.</summary>
    public static long Allowed(long fileBytes) => (16 << 20) + 100 * fileBytes;

    public InputException Damaged(string how) => new($"{name}: the Parquet file is damaged: {how}; download it again");

    /// <summary>
    /// The values of one chunk of a column, page by page. The codec is Parquet's enum CompressionCodec; the count may be wrong.
    /// </summary>
    public IEnumerable<ReadOnlyMemory<byte>[]> Read(ReadOnlyMemory<byte> chunk, ParquetColumn column, int codec, long count)
    {
        ReadOnlyMemory<byte>[] dictionary = [];
        for (int at = 0; count > 0;)
        {
            ThriftStruct page;
            try
            {
                page = ThriftStruct.Read(chunk, ref at);
            }
            catch (InputException e)
            {
                throw new InputException(Damaged("the head of a page is").Message, e);
            }

            long packed = page.Number(3), unpacked = page.Number(2), type = page.Number(1);
            if (packed > chunk.Length - at || (_unpacked += unpacked) > Allowed(fileBytes))
            {
                throw Damaged("a page is longer than the file allows");
            }

            ReadOnlyMemory<byte> content = chunk.Slice(at, (int)packed);
            at += (int)packed;
            if (page.Has(4) && (uint)page.Signed(4) != Crc32.Append(0, content.Span))
            {
                throw Damaged("the checksum (CRC) of a page is wrong");
            }

            switch (type)
            {
                case Dictionary:
                    dictionary = Split(Unpack(content, codec, unpacked), column, CheckedCount(page.Inner(7).Number(1), unpacked));
                    break;
                case Data or DataV2:
                    ReadOnlyMemory<byte>[] values = type == Data
                        ? ReadPage(page.Inner(5), Unpack(content, codec, unpacked), column, dictionary, count)
                        : ReadPageV2(page.Inner(8), content, unpacked, codec, column, dictionary, count);
                    count -= values.Length;
                    yield return values;
                    break;
            }
        }
    }

    private ReadOnlyMemory<byte>[] ReadPage(
        ThriftStruct head, ReadOnlyMemory<byte> page, ParquetColumn column, ReadOnlyMemory<byte>[] dictionary, long most)
    {
        int values = CheckedCount(head.Number(1), most);
        if (column.Level > 0)
        {
            int length = page.Length >= 4 ? BinaryPrimitives.ReadInt32LittleEndian(page.Span) : -1;
            if (length < 0 || length > page.Length - 4)
            {
                throw Damaged("a page has no levels");
            }

            CheckLevels(page.Span.Slice(4, length), column, values);
            page = page[(4 + length)..];
        }

        return Decode(page, head.Number(2), column, values, dictionary);
    }

    private ReadOnlyMemory<byte>[] ReadPageV2(
        ThriftStruct head, ReadOnlyMemory<byte> page, long unpacked, int codec, ParquetColumn column, ReadOnlyMemory<byte>[] dictionary,
        long most)
    {
        int values = CheckedCount(head.Number(1), most);
        long levels = head.Number(5), repetitions = head.Number(6);
        if (levels > page.Length || repetitions > page.Length - levels || levels + repetitions > unpacked)
        {
            throw Damaged("a page has no levels");
        }

        CheckLevels(page.Span.Slice((int)repetitions, (int)levels), column, values);
        page = page[(int)(levels + repetitions)..];
        page = head.Flag(7, true) ? Unpack(page, codec, unpacked - levels - repetitions) : page;
        return Decode(page, head.Number(4), column, values, dictionary);
    }

    private int CheckedCount(long stated, long most) =>
        stated <= most && stated > 0 ? (int)stated : throw Damaged($"a page states {stated} values");

    /// <summary>Checks that no value is null.</summary>
    private void CheckLevels(ReadOnlySpan<byte> levels, ParquetColumn column, int count)
    {
        if (column.Level > 0
            && ReadHybrid(levels, BitOperations.Log2((uint)column.Level) + 1, count).AsSpan().ContainsAnyExcept(column.Level))
        {
            throw new InputException($"{name}: a value of column {column.Path} is missing (null); take such rows away");
        }
    }

    private ReadOnlyMemory<byte>[] Decode(
        ReadOnlyMemory<byte> page, long encoding, ParquetColumn column, int count, ReadOnlyMemory<byte>[] dictionary)
    {
        if (encoding == Plain)
        {
            return Split(page, column, count);
        }

        if (encoding is not (PlainDictionary or RleDictionary))
        {
            throw new InputException($"{name}: column {column.Path} is encoded in a way (number {encoding}) that is not read; "
                + "write it again as pandas or pyarrow do by default");
        }

        int width = page.IsEmpty ? 33 : page.Span[0];
        if (width > 32)
        {
            throw Damaged("a page of a dictionary's indices has no width");
        }

        int[] indices = ReadHybrid(page.Span[1..], width, count);
        return Array.ConvertAll(indices, index =>
            (uint)index < (uint)dictionary.Length ? dictionary[index] : throw Damaged("a value is not in its dictionary"));
    }

    /// <summary>Splits plain values; each value of variable length follows its length.</summary>
    private ReadOnlyMemory<byte>[] Split(ReadOnlyMemory<byte> page, ParquetColumn column, int count)
    {
        int width = column.Type switch
        {
            ParquetType.Int32 or ParquetType.Float => 4,
            ParquetType.Int64 or ParquetType.Double => 8,
            ParquetType.ByteArray => 0,
            _ => throw new InputException($"{name}: column {column.Path} is of type {column.Type}, which is neither a picture nor a label"),
        };
        if (count > page.Length / 4)
        {
            throw Damaged("a page is too short for its values");
        }

        ReadOnlyMemory<byte>[] values = new ReadOnlyMemory<byte>[count];
        for (int i = 0; i < count; i++)
        {
            int length = width;
            if (width == 0 && page.Length >= 4)
            {
                length = BinaryPrimitives.ReadInt32LittleEndian(page.Span);
                page = page[4..];
            }

            if (length < 0 || length > page.Length)
            {
                throw Damaged("a page is too short for its values");
            }

            values[i] = page[..length];
            page = page[length..];
        }

        return values;
    }

    /// <summary>Decodes Parquet's hybrid of run-length encoding and bit packing in groups of eight numbers.</summary>
    private int[] ReadHybrid(ReadOnlySpan<byte> bytes, int width, int count)
    {
        int[] numbers = new int[count];
        for (int at = 0, from = 0; at < count;)
        {
            bool isWhole = Varint.TryRead(bytes, ref from, out ulong header) && header is >= 2 and <= uint.MaxValue;
            bool isRun = (header & 1) == 0;
            long groups = (long)(header >> 1), length = isRun ? (width + 7) / 8 : groups * width;
            if (!isWhole || length > bytes.Length - from)
            {
                throw Damaged("a page's levels or indices are cut off");
            }

            ReadOnlySpan<byte> packed = bytes.Slice(from, (int)length);
            int run = (int)Math.Min(isRun ? groups : 8 * groups, count - at);
            if (isRun)
            {
                numbers.AsSpan(at, run).Fill(Bits(packed, 0, (int)length * 8));
            }

            for (int i = 0; !isRun && i < run; i++)
            {
                numbers[at + i] = Bits(packed, (long)i * width, width);
            }

            (at, from) = (at + run, from + (int)length);
        }

        return numbers;
    }

    private static int Bits(ReadOnlySpan<byte> packed, long first, int width)
    {
        int value = 0;
        for (int i = 0; i < width; i++)
        {
            long bit = first + i;
            value |= (packed[(int)(bit >> 3)] >> (int)(bit & 7) & 1) << i;
        }

        return value;
    }

    private ReadOnlyMemory<byte> Unpack(ReadOnlyMemory<byte> packed, int codec, long length)
    {
        const int Snappy = 1, Gzip = 2, Brotli = 4, Zstandard = 6;
        if (codec == 0)
        {
            return packed;
        }

        byte[] unpacked = new byte[length];
        bool whole;
        try
        {
            switch (codec)
            {
                case Snappy:
                    whole = Snappier.Snappy.TryDecompress(packed.Span, unpacked, out int written) && written == length;
                    break;
                case Gzip or Brotli:
                    using (MemoryStream stream = new(packed.ToArray()))
                    using (Stream decompressor = codec == Gzip
                        ? new GZipStream(stream, CompressionMode.Decompress) : new BrotliStream(stream, CompressionMode.Decompress))
                    {
                        whole = decompressor.ReadAtLeast(unpacked, unpacked.Length, throwOnEndOfStream: false) == length
                            && decompressor.ReadByte() < 0;
                    }

                    break;
                case Zstandard:
                    using (ZstdSharp.Decompressor decompressor = new())
                    {
                        whole = decompressor.TryUnwrap(packed.Span, unpacked, out written) && written == length;
                    }

                    break;
                default:
                    throw new InputException($"{name}: is packed by {(codec < Codecs.Length ? Codecs[codec] : "an unknown method")}; "
                        + "expected Snappy, gzip, Brotli, Zstandard or nothing: write it again so");
            }
        }
        catch (Exception e) when (
            e is InvalidDataException or InvalidOperationException or IOException or ArgumentException or ZstdSharp.ZstdException)
        {
            throw new InputException(Damaged("a page cannot be unpacked").Message, e);
        }

        return whole ? unpacked : throw Damaged("a page unpacks to another length than it states");
    }
}
