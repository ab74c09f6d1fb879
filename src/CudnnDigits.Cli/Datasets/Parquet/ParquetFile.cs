using CudnnDigits.Data;

namespace CudnnDigits.Cli.Datasets.Parquet;

/// <summary>Types of values that a column may have (Parquet's enum Type).</summary>
internal enum ParquetType
{
    Boolean, Int32, Int64, Int96, Float, Double, ByteArray, FixedBytes,
}

/// <summary>A column without repeated values.</summary>
/// <param name="Index">Which of the file's columns.</param>
/// <param name="Path">Its name, with those that it lies in: image.bytes.</param>
/// <param name="Type">Of its values.</param>
/// <param name="Level">How many of these names may be null.</param>
internal sealed record ParquetColumn(int Index, string Path, ParquetType Type, int Level);

/// <summary>
/// A Parquet file (https://github.com/apache/parquet-format): its columns, and their values page by page. What it states is believed only
/// within the bounds of the file.
/// </summary>
internal sealed class ParquetFile
{
    private const int FooterBytes = 8, MostDescription = 8 << 20, Repeated = 2;

    private readonly Stream _file;
    private readonly string _name;
    private readonly IReadOnlyList<ThriftStruct> _groups;
    private readonly PageReader _pages;

    private ParquetFile(Stream file, string name, ThriftStruct description)
    {
        (_file, _name, _groups, _pages) = (file, name, description.Structs(4), new PageReader(name, file.Length));
        IReadOnlyList<ThriftStruct> schema = description.Structs(2);
        int at = 0, index = 0;
        List<ParquetColumn> columns = [];
        Walk(schema, ref at, ref index, "", 0, false, columns, depth: 16);
        Columns = columns;
        Rows = _groups.Sum(group => Math.Min(int.MaxValue, group.Number(3)));
        if (Rows > Math.Min(PixelBuffer.Most, PageReader.Allowed(file.Length) / DigitDataset.PixelCount))
        {
            throw new InputException($"{name}: states {Rows:N0} rows, more than can be read from {file.Length:N0} bytes; the Parquet file is damaged, or too large");
        }
    }

    /// <summary>Columns of single values; those of lists are left out.</summary>
    public IReadOnlyList<ParquetColumn> Columns { get; }

    public long Rows { get; }

    /// <summary>Reads the description, which stands at the end.</summary>
    /// <exception cref="InputException">Damaged, or encrypted.</exception>
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
            throw new InputException($"{name}: the Parquet file is {(footer.AsSpan(4).SequenceEqual("PARE"u8) ? "encrypted; give it unencrypted" : "cut off, or damaged at its end; download it again")}");
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(footer);
        if (length > Math.Min(MostDescription, file.Length - FooterBytes - 4))
        {
            throw new InputException($"{name}: states a description of {length:N0} bytes; the Parquet file is damaged: download it again");
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

    /// <summary>The values of a column, from the first row to the last, in pieces.</summary>
    /// <exception cref="InputException">Damaged, packed or encoded in a way that is not read, or a value is missing (null).</exception>
    public IEnumerable<ReadOnlyMemory<byte>[]> Values(ParquetColumn column)
    {
        foreach (ThriftStruct group in _groups)
        {
            IReadOnlyList<ThriftStruct> chunks = group.Structs(1);
            ThriftStruct chunk = column.Index < chunks.Count ? chunks[column.Index].Inner(3) : throw _pages.Damaged("a column is missing");
            long start = chunk.Number(9), length = chunk.Number(7);
            start = chunk.Has(11) && chunk.Number(11) is > 0 and var dictionary ? Math.Min(start, dictionary) : start;
            if (chunk.Number(1) != (long)column.Type || start > _file.Length || length > _file.Length - start || length > Array.MaxLength)
            {
                throw _pages.Damaged($"column {column.Path} is said to lie where it cannot");
            }

            byte[] bytes = new byte[length];
            _file.Position = start;
            _file.ReadExactly(bytes);
            long left = group.Number(3);
            foreach (ReadOnlyMemory<byte>[] values in _pages.Read(bytes, column, (int)Math.Min(int.MaxValue, chunk.Number(4)), chunk.Number(5)))
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

    /// <summary>The schema is a tree, written from its root on, each with the number of its children.</summary>
    private static void Walk(IReadOnlyList<ThriftStruct> schema, ref int at, ref int index, string path, int level, bool repeated, List<ParquetColumn> columns, int depth)
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
            if (!repeated)
            {
                columns.Add(new ParquetColumn(index, own, (ParquetType)element.Number(1), level));
            }

            index++;
        }

        for (; children > 0; children--)
        {
            Walk(schema, ref at, ref index, own, level, repeated, columns, depth - 1);
        }
    }
}
