using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>The types of a column's values (Parquet's enum Type).</summary>
internal enum ParquetType
{
    Boolean, Int32, Int64, Int96, Float, Double, ByteArray, FixedBytes,
}

/// <summary>A column without repeated values.</summary>
/// <param name="Index">Its index among the file's columns.</param>
/// <param name="Path">Its name with the names of the groups that contain it: image.bytes.</param>
/// <param name="Type">The type of its values.</param>
/// <param name="Level">The number of these names that may be null.</param>
internal sealed record ParquetColumn(int Index, string Path, ParquetType Type, int Level);

/// <summary>
/// A Parquet file (https://github.com/apache/parquet-format): its columns, and their values page by page. All sizes and offsets in the
/// file are checked against its length.
/// </summary>
internal sealed class ParquetFile
{
    private const int FooterBytes = 8, MostDescription = 8 << 20;

    private readonly Stream _file;
    private readonly string _name;
    private readonly IReadOnlyList<ThriftStruct> _groups;
    private readonly PageReader _pages;

    private ParquetFile(Stream file, string name, ThriftStruct description)
    {
        (_file, _name, _groups, _pages) = (file, name, description.Structs(4), new PageReader(name, file.Length));
        Columns = ReadSchema(description.Structs(2));
        Rows = _groups.Sum(group => Math.Min(int.MaxValue, group.Number(3)));
        if (Rows > Math.Min(PixelBuffer.Most, PageReader.Allowed(file.Length) / DigitDataset.PixelCount))
        {
            throw new InputException($"{name}: states {Rows:N0} rows, more than can be read from {file.Length:N0} bytes; "
                + "the Parquet file is damaged, or too large");
        }
    }

    /// <summary>The columns of single values, without columns of lists.</summary>
    public IReadOnlyList<ParquetColumn> Columns { get; }

    public long Rows { get; }

    /// <summary>Reads the metadata at the end of the file.</summary>
    /// <exception cref="InputException">The file is damaged or encrypted.</exception>
    public static ParquetFile Open(Stream file, string name)
    {
        byte[] footer = new byte[FooterBytes];
        if (file.Length < 4 + FooterBytes)
        {
            throw new InputException($"{name}: the Parquet file is cut off; download it again");
        }

        file.Position = file.Length - FooterBytes;
        file.ReadExactly(footer);
        if (!footer.AsSpan(4).SequenceEqual("PAR1"u8))
        {
            bool isEncrypted = footer.AsSpan(4).SequenceEqual("PARE"u8);
            throw new InputException($"{name}: the Parquet file is "
                + (isEncrypted ? "encrypted; give it unencrypted" : "cut off, or damaged at its end; download it again"));
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(footer);
        if (length > Math.Min(MostDescription, file.Length - FooterBytes - 4))
        {
            throw new InputException(
                $"{name}: states a description of {length:N0} bytes; the Parquet file is damaged: download it again");
        }

        byte[] description = new byte[length];
        file.Position = file.Length - FooterBytes - length;
        file.ReadExactly(description);
        try
        {
            int at = 0;
            return new ParquetFile(file, name, ThriftStruct.Read(description, ref at));
        }
        catch (InputException e) when (!e.Message.StartsWith(name, StringComparison.Ordinal))
        {
            throw new InputException($"{name}: {e.Message}; download it again", e);
        }
    }

    /// <summary>The values of a column from the first row to the last, page by page.</summary>
    /// <exception cref="InputException">The column is damaged, has an unknown compression or encoding, or has a null value.</exception>
    public IEnumerable<ReadOnlyMemory<byte>[]> Values(ParquetColumn column)
    {
        foreach (ThriftStruct group in _groups)
        {
            IReadOnlyList<ThriftStruct> chunks = group.Structs(1);
            ThriftStruct chunk = column.Index < chunks.Count ? chunks[column.Index].Inner(3) : throw _pages.Damaged("a column is missing");
            long start = chunk.Number(9), length = chunk.Number(7);
            start = chunk.Has(11) && chunk.Number(11) is > 0 and var dictionary ? Math.Min(start, dictionary) : start;
            if (chunk.Number(1) != (long)column.Type || start > _file.Length || length > Math.Min(Array.MaxLength, _file.Length - start))
            {
                throw _pages.Damaged($"column {column.Path} is said to lie where it cannot");
            }

            byte[] bytes = new byte[length];
            _file.Position = start;
            _file.ReadExactly(bytes);
            long left = group.Number(3);
            int codec = (int)Math.Min(int.MaxValue, chunk.Number(4));
            foreach (ReadOnlyMemory<byte>[] values in _pages.Read(bytes, column, codec, chunk.Number(5)))
            {
                left -= values.Length;
                yield return left >= 0 ? values : throw _pages.Damaged($"column {column.Path} has more values than rows");
            }

            if (left != 0)
            {
                throw _pages.Damaged($"column {column.Path} has fewer values than rows");
            }
        }
    }

    /// <summary>Reads the schema: a tree in depth-first order, in which each element states the number of its children.</summary>
    private static List<ParquetColumn> ReadSchema(IReadOnlyList<ThriftStruct> schema)
    {
        const int Repeated = 2, MostDepth = 16;
        List<ParquetColumn> columns = [];
        int at = 0, index = 0;
        Walk("", 0, false, MostDepth);
        return columns;

        void Walk(string path, int level, bool repeated, int depth)
        {
            if (at >= schema.Count || depth == 0)
            {
                throw new InputException("the Parquet file's schema is damaged");
            }

            bool isRoot = at == 0;
            ThriftStruct element = schema[at++];
            long repetition = element.Number(3, 0), children = element.Number(5, 0);
            string own = isRoot ? "" : (path.Length == 0 ? "" : path + ".") + element.Text(4);
            level += !isRoot && repetition != 0 ? 1 : 0;
            repeated |= !isRoot && repetition == Repeated;
            if (children == 0 && element.Has(1))
            {
                columns.AddRange(repeated ? [] : [new ParquetColumn(index, own, (ParquetType)element.Number(1), level)]);
                index++;
            }

            for (; children > 0; children--)
            {
                Walk(own, level, repeated, depth - 1);
            }
        }
    }
}
