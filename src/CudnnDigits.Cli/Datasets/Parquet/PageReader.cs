using System.IO.Compression;
using System.Numerics;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>Parquet's enum CompressionCodec.</summary>
internal enum ParquetCodec
{
    None, Snappy, Gzip, LZO, Brotli, LZ4, Zstandard, LZ4Raw,
}

/// <summary>Unpacks and decodes the pages of a Parquet file's columns.</summary>
internal sealed class PageReader(string name, long fileBytes)
{
    private const int Plain = 0, PlainDictionary = 2, RleDictionary = 8; // encodings
    private const int Data = 0, Dictionary = 2, DataV2 = 3; // types of pages

    private long _unpacked;

    /// <summary>The most bytes to which a file of a given length may unpack. Pictures are already compressed.</summary>
    public static long Allowed(long fileBytes) => (16 << 20) + 100 * fileBytes;

    public InputException Damaged(string how) => new($"{name}: the Parquet file is damaged: {how}; download it again");

    /// <summary>So many values of one chunk of a column, page by page.</summary>
    public IEnumerable<ReadOnlyMemory<byte>[]> Read(ReadOnlyMemory<byte> chunk, ParquetColumn column, ParquetCodec codec, long count)
    {
        ThriftReader reader = new(name, chunk);
        ReadOnlyMemory<byte>[] dictionary = [];
        while (count > 0)
        {
            ThriftStruct head = reader.ReadStruct();
            long type = head.Number(1), unpacked = head.Number(2);
            ReadOnlyMemory<byte> page = reader.Take((ulong)head.Number(3));
            if ((_unpacked += unpacked) > Allowed(fileBytes))
            {
                throw Damaged("a page is longer than the file allows");
            }

            if (head.Find<long?>(4) is { } checksum && (uint)checksum != Crc32.Append(0, page.Span))
            {
                throw Damaged("the checksum (CRC) of a page is wrong");
            }

            if (type is Data or DataV2)
            {
                ReadOnlyMemory<byte>[] values = ReadData(head, type == DataV2, page, column, codec, dictionary, count);
                count -= values.Length;
                yield return values;
            }
            else if (type == Dictionary)
            {
                dictionary = Split(Unpack(page, codec, unpacked), column, CheckedCount(head.Inner(7).Number(1), unpacked));
            }
        }
    }

    /// <summary>A page of data. In version 1 the levels are packed with the values; in version 2 they stand before them.</summary>
    private ReadOnlyMemory<byte>[] ReadData(
        ThriftStruct page, bool isV2, ReadOnlyMemory<byte> bytes, ParquetColumn column, ParquetCodec codec,
        ReadOnlyMemory<byte>[] dictionary, long most)
    {
        ThriftStruct head = page.Inner(isV2 ? 8 : 5);
        long unpacked = page.Number(2);
        int count = CheckedCount(head.Number(1), most);
        bytes = isV2 ? bytes : Unpack(bytes, codec, unpacked);
        (long first, long length) = isV2 ? (head.Number(6), head.Number(5))
            : column.Level == 0 ? (0, 0)
            : (4, bytes.Length < 4 ? -1 : BinaryPrimitives.ReadInt32LittleEndian(bytes.Span));
        if (length < 0 || length > bytes.Length - first || first + length > unpacked)
        {
            throw Damaged("a page has no levels");
        }

        ReadOnlySpan<byte> levels = bytes.Span.Slice((int)first, (int)length);
        if (column.Level > 0
            && ReadHybrid(levels, BitOperations.Log2((uint)column.Level) + 1, count).AsSpan().ContainsAnyExcept(column.Level))
        {
            throw new InputException($"{name}: a value of column {column.Path} is missing (null); take such rows away");
        }

        bytes = bytes[(int)(first + length)..];
        bytes = isV2 && head.Find<bool?>(7) != false ? Unpack(bytes, codec, unpacked - first - length) : bytes;
        return Decode(bytes, head.Number(isV2 ? 4 : 2), column, count, dictionary);
    }

    private int CheckedCount(long stated, long most) =>
        stated <= most && stated > 0 ? (int)stated : throw Damaged($"a page states {stated} values");

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

        int width = page.IsEmpty ? int.MaxValue : page.Span[0];
        int[] indices = width <= 32
            ? ReadHybrid(page.Span[1..], width, count) : throw Damaged("a page of a dictionary's indices has no width");
        return Array.ConvertAll(indices, index =>
            (uint)index < (uint)dictionary.Length ? dictionary[index] : throw Damaged("a value is not in its dictionary"));
    }

    /// <summary>Splits plain values; each value of variable length follows its length.</summary>
    private ReadOnlyMemory<byte>[] Split(ReadOnlyMemory<byte> page, ParquetColumn column, int count)
    {
        (int prefix, int width) = column.Type switch
        {
            ParquetType.Int32 or ParquetType.Float => (0, 4),
            ParquetType.Int64 or ParquetType.Double => (0, 8),
            ParquetType.ByteArray => (4, 0),
            _ => throw new InputException($"{name}: column {column.Path} is of type {column.Type}, which is neither a picture nor a label"),
        };
        ReadOnlyMemory<byte>[] values = new ReadOnlyMemory<byte>[Math.Min(count, page.Length / 4)];
        for (int i = 0; i < count; i++)
        {
            int length = prefix == 0 ? width : page.Length < prefix ? -1 : BinaryPrimitives.ReadInt32LittleEndian(page.Span);
            if (length < 0 || length > page.Length - prefix || i == values.Length)
            {
                throw Damaged("a page is too short for its values");
            }

            values[i] = page.Slice(prefix, length);
            page = page[(prefix + length)..];
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
            Span<int> run = numbers.AsSpan(at, (int)Math.Min(isRun ? groups : 8 * groups, count - at));
            int bits = isRun ? 8 * (int)length : width, distinct = isRun ? 1 : run.Length, held = 0;
            ulong buffer = 0;
            for (int i = 0, next = 0; i < distinct; i++)
            {
                for (; held < bits; held += 8)
                {
                    buffer |= (ulong)packed[next++] << held;
                }

                run[i] = (int)(buffer & ((1UL << bits) - 1));
                (buffer, held) = (buffer >> bits, held - bits);
            }

            run[distinct..].Fill(run[0]);
            (at, from) = (at + run.Length, from + (int)length);
        }

        return numbers;
    }

    private ReadOnlyMemory<byte> Unpack(ReadOnlyMemory<byte> packed, ParquetCodec codec, long length)
    {
        if (codec == ParquetCodec.None)
        {
            return packed;
        }

        byte[] unpacked = new byte[length];
        try
        {
            int written = codec switch
            {
                ParquetCodec.Snappy => Snappier.Snappy.TryDecompress(packed.Span, unpacked, out int size) ? size : -1,
                ParquetCodec.Gzip => UnpackGzip(packed, unpacked),
                ParquetCodec.Brotli => BrotliDecoder.TryDecompress(packed.Span, unpacked, out int size) ? size : -1,
                ParquetCodec.Zstandard => UnpackZstandard(packed, unpacked),
                _ => throw new InputException($"{name}: is packed by {(Enum.IsDefined(codec) ? codec : "an unknown method")}; "
                    + "expected Snappy, gzip, Brotli, Zstandard or nothing: write it again so"),
            };
            return written == length ? unpacked : throw Damaged("a page unpacks to another length than it states");
        }
        catch (Exception e) when (
            e is InvalidDataException or InvalidOperationException or IOException or ArgumentException or ZstdSharp.ZstdException)
        {
            throw new InputException(Damaged("a page cannot be unpacked").Message, e);
        }
    }

    private static int UnpackGzip(ReadOnlyMemory<byte> packed, byte[] unpacked)
    {
        using GZipStream stream = new(new MemoryStream(packed.ToArray()), CompressionMode.Decompress);
        int written = stream.ReadAtLeast(unpacked, unpacked.Length, throwOnEndOfStream: false);
        return stream.ReadByte() < 0 ? written : -1;
    }

    private static int UnpackZstandard(ReadOnlyMemory<byte> packed, byte[] unpacked)
    {
        using ZstdSharp.Decompressor decompressor = new();
        return decompressor.TryUnwrap(packed.Span, unpacked, out int written) ? written : -1;
    }
}
