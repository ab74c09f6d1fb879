namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>The types of a column's values (Parquet's enum Type).</summary>
internal enum ParquetType
{
    Boolean, Int32, Int64, Int96, Float, Double, ByteArray, FixedBytes,
}

/// <summary>A column of single values: image.bytes is column bytes in group image. Level names of its path may be null.</summary>
internal sealed record ParquetColumn(int Index, string Path, ParquetType Type, int Level);

/// <summary>A Parquet file (https://github.com/apache/parquet-format). All its sizes and offsets are checked against its length.</summary>
internal sealed class ParquetFile
{
    private const int FooterBytes = 8, MostDescription = 8 << 20, MostDepth = 16;

    private readonly Stream _file;
    private readonly ThriftStruct[] _groups;
    private readonly PageReader _pages;

    /// <summary>Reads the metadata at the end of the file.</summary>
    public ParquetFile(Stream file, string name)
    {
        (_file, _pages) = (file, new PageReader(name, file.Length));
        ReadOnlySpan<byte> footer = file.Length < 4 + FooterBytes
            ? throw new InputException($"{name}: the Parquet file is cut off; download it again")
            : ReadAt(file.Length - FooterBytes, FooterBytes);
        if (!footer.EndsWith("PAR1"u8))
        {
            throw new InputException($"{name}: the Parquet file is "
                + (footer.EndsWith("PARE"u8) ? "encrypted; give it unencrypted" : "cut off, or damaged at its end; download it again"));
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(footer);
        if (length > Math.Min(MostDescription, file.Length - FooterBytes - 4))
        {
            throw new InputException($"{name}: states a description of {length:N0} bytes; the Parquet file is damaged: download it again");
        }

        ThriftStruct description = new ThriftReader(name, ReadAt(file.Length - FooterBytes - length, length)).ReadStruct();
        _groups = description.Structs(4);
        AddColumns(description.Structs(2));
        Rows = _groups.Sum(group => Math.Min(int.MaxValue, group.Number(3)));
        if (Rows > Math.Min(PixelBuffer.Most, PageReader.Allowed(file.Length) / DigitDataset.PixelCount))
        {
            throw new InputException($"{name}: states {Rows:N0} rows, more than can be read from {file.Length:N0} bytes; "
                + "the Parquet file is damaged, or too large");
        }
    }

    /// <summary>The columns of single values, without columns of lists.</summary>
    public List<ParquetColumn> Columns { get; } = [];

    public long Rows { get; }

    /// <summary>The values of a column from the first row to the last, page by page; none may be null.</summary>
    public IEnumerable<ReadOnlyMemory<byte>[]> Values(ParquetColumn column)
    {
        foreach (ThriftStruct group in _groups)
        {
            ThriftStruct[] chunks = group.Structs(1);
            ThriftStruct chunk = column.Index < chunks.Length ? chunks[column.Index].Inner(3) : throw _pages.Damaged("a column is missing");
            long start = chunk.Number(9), length = chunk.Number(7), dictionary = chunk.Number(11, 0);
            start = dictionary > 0 ? Math.Min(start, dictionary) : start;
            if (chunk.Number(1) != (long)column.Type || start > _file.Length || length > Math.Min(Array.MaxLength, _file.Length - start))
            {
                throw _pages.Damaged($"column {column.Path} is said to lie where it cannot");
            }

            if (chunk.Number(5) != group.Number(3))
            {
                throw _pages.Damaged($"column {column.Path} has not as many values as rows");
            }

            ParquetCodec codec = (ParquetCodec)Math.Min(int.MaxValue, chunk.Number(4));
            foreach (ReadOnlyMemory<byte>[] values in _pages.Read(ReadAt(start, length), column, codec, group.Number(3)))
            {
                yield return values;
            }
        }
    }

    private byte[] ReadAt(long start, long length)
    {
        byte[] bytes = new byte[length];
        _file.Position = start;
        _file.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>Reads the schema: a tree in depth-first order, in which each element states the number of its children.</summary>
    private void AddColumns(ThriftStruct[] schema)
    {
        const int Repeated = 2;
        int at = 0, leaves = 0;
        AddBelow(Next(), "", level: 0, isSingle: true, MostDepth);

        ThriftStruct Next() => at < schema.Length ? schema[at++] : throw _pages.Damaged("its schema is cut off");

        void AddBelow(ThriftStruct parent, string path, int level, bool isSingle, int depth)
        {
            for (long i = parent.Number(5, 0); i > 0; i--)
            {
                ThriftStruct element = depth > 0 ? Next() : throw _pages.Damaged("its schema is too deep");
                string own = path + element.Text(4);
                long repetition = element.Number(3, 0);
                ParquetColumn column = new(leaves, own, (ParquetType)element.Number(1, 0), level + (repetition == 0 ? 0 : 1));
                bool isLeaf = element.Number(5, 0) == 0 && element.ContainsKey(1), isOne = isSingle && repetition != Repeated;
                leaves += isLeaf ? 1 : 0;
                Columns.AddRange(isLeaf && isOne ? [column] : []);
                AddBelow(element, own + ".", column.Level, isOne, depth - 1);
            }
        }
    }
}
