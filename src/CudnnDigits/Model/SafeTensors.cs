using System.Security.Cryptography;
using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Its shape; empty for a scalar.</param>
/// <param name="Values">Its values: float[] (F32) or long[] (I64).</param>
internal sealed record NamedTensor(string Name, IReadOnlyList<int> Shape, Array Values);

/// <summary>
/// The safetensors format: 8 bytes little-endian header length, a JSON header (name → dtype, shape, data_offsets; and
/// __metadata__, text to text), then the tensors' bytes, without gaps or overlaps and with nothing after them. What is
/// written here carries a SHA-256 of its content in its metadata; where a file has one, reading compares it.
/// Source: https://huggingface.co/docs/safetensors.
/// </summary>
internal sealed class SafeTensors
{
    private const int MostHeaderBytes = 1 << 26; // a state of 100,000 epochs has 45 MB
    private const int MostHeaderTokens = 100_000; // some thousand tensors; each token takes memory beside the header
    private const int MostDataBytes = 1 << 28;
    private const string MetadataKey = "__metadata__", ChecksumKey = "cudnn_digits.sha256";

    private readonly string _name;
    private readonly byte[] _data;
    private readonly Dictionary<string, Entry> _entries = [];
    private readonly Dictionary<string, string> _metadata = [];

    private SafeTensors(string name, Stream file)
    {
        _name = name;
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(ReadExactly(file, 8, "it is shorter than its 8-byte header length"));
        if (headerLength > MostHeaderBytes)
        {
            throw Damaged($"it claims a header of {headerLength} bytes");
        }

        byte[] header = ReadExactly(file, (int)headerLength, "its header is cut off");
        try
        {
            if (header is not [(byte)'{', ..])
            {
                throw new FormatException("does not begin with '{'");
            }

            CountTokens(header);
            using JsonDocument json = JsonDocument.Parse(header, new JsonDocumentOptions { AllowDuplicateProperties = false });
            foreach (JsonProperty property in json.RootElement.EnumerateObject())
            {
                ReadEntry(property);
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw new InputException(Damaged($"its header is not what the format says ({Shorten(e.Message)})").Message, e);
        }

        _data = ReadExactly(file, CheckPlaces(), "its last tensor does not fit the file; it is damaged or cut off");
        if (file.ReadByte() >= 0)
        {
            throw Damaged("bytes follow its last tensor");
        }

        if (_metadata.TryGetValue(ChecksumKey, out string? checksum) && checksum != Checksum())
        {
            throw new InputException(
                $"{name}: is damaged, its content is not that of its {ChecksumKey}; bring back a copy of it (what was changed on purpose must not keep the old {ChecksumKey} in its metadata)");
        }
    }

    private SafeTensors(string name, IEnumerable<KeyValuePair<string, string>> metadata, IReadOnlyList<NamedTensor> tensors)
    {
        _name = name;
        _data = new byte[tensors.Sum(tensor => Buffer.ByteLength(tensor.Values))];
        int start = 0;
        foreach (NamedTensor tensor in tensors)
        {
            int length = Buffer.ByteLength(tensor.Values);
            Buffer.BlockCopy(tensor.Values, 0, _data, start, length);
            _entries.Add(tensor.Name, new Entry(tensor.Values is long[] _ ? "I64" : "F32", [.. tensor.Shape.Select(size => (long)size)], tensor.Values.Length, start, length));
            start += length;
        }

        foreach ((string key, string value) in metadata)
        {
            _metadata.Add(key, value);
        }

        _metadata.Add(ChecksumKey, Checksum());
    }

    /// <summary>Free text beside the tensors.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Names of the tensors.</summary>
    public IEnumerable<string> Names => _entries.Keys;

    /// <summary>Reads a file; a pipe will do.</summary>
    /// <param name="path">The file, with up to 256 MiB of tensors.</param>
    /// <exception cref="InputException">Not there, not readable, not in the format, or not what was written.</exception>
    public static SafeTensors Read(string path)
    {
        using InputFile file = InputFile.Open(path, "a .safetensors file");
        return Read(file);
    }

    /// <summary>Reads a file that is open.</summary>
    /// <param name="file">The file, at its beginning.</param>
    /// <exception cref="InputException">Not readable, not in the format, or not what was written.</exception>
    internal static SafeTensors Read(InputFile file)
    {
        try
        {
            return ForeignWeights.Describe(file) is { } other ? throw new InputException($"{file.Path}: {other}") : new SafeTensors(file.Path, file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{file.Path}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Writes a file, whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="metadata">Free text.</param>
    /// <param name="tensors">The tensors, in the order they are to stand in.</param>
    public static void Write(string path, IEnumerable<KeyValuePair<string, string>> metadata, IReadOnlyList<NamedTensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        ArgumentNullException.ThrowIfNull(tensors);
        SafeTensors content = new(path, metadata, tensors);
        byte[] header = content.Header();
        byte[] length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        AtomicFile.Write(path, file =>
        {
            file.Write(length);
            file.Write(header);
            file.Write(content._data);
        });
    }

    /// <summary>Shape of a tensor, or null where there is none of that name.</summary>
    /// <param name="name">Name of the tensor.</param>
    public IReadOnlyList<long>? Shape(string name) => _entries.TryGetValue(name, out Entry? entry) ? entry.Shape : null;

    /// <summary>Values of a floating-point tensor (F32, F64, F16 or BF16), as double.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <exception cref="InputException">There is none of that name, or it is not of a floating-point type.</exception>
    public double[] Doubles(string name)
    {
        Entry entry = Find(name);
        ReadOnlySpan<byte> bytes = Bytes(entry);
        double[] values = new double[entry.Count];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = entry.Type switch
            {
                "F64" => BinaryPrimitives.ReadDoubleLittleEndian(bytes[(8 * i)..]),
                "F32" => BinaryPrimitives.ReadSingleLittleEndian(bytes[(4 * i)..]),
                "F16" => (double)BinaryPrimitives.ReadHalfLittleEndian(bytes[(2 * i)..]),
                "BF16" => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(bytes[(2 * i)..]) << 16),
                _ => throw new InputException($"{_name}: tensor {Shorten(name)} is of type {entry.Type}, expected F32, F64, F16 or BF16; save it as one of these"),
            };
        }

        return values;
    }

    /// <summary>Values of a floating-point tensor, rounded to float.</summary>
    /// <param name="name">Name of the tensor.</param>
    public float[] Floats(string name) => Array.ConvertAll(Doubles(name), value => (float)value);

    /// <summary>Values of an I64 tensor.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <exception cref="InputException">There is none of that name, or it is of another type.</exception>
    public long[] Integers(string name)
    {
        Entry entry = Find(name);
        return entry.Type == "I64"
            ? MemoryMarshal.Cast<byte, long>(Bytes(entry)).ToArray()
            : throw new InputException($"{_name}: tensor {Shorten(name)} is of type {entry.Type}, expected I64");
    }

    /// <summary>Whether a tensor counts something, such as batch norm's num_batches_tracked, and so is no weight.</summary>
    /// <param name="name">Name of the tensor; there is one.</param>
    internal bool IsCounter(string name) =>
        name.EndsWith("num_batches_tracked", StringComparison.Ordinal) || _entries[name] is { Count: 1, Shape.Length: 0, Type: ['I' or 'U', ..] };

    private static void CountTokens(byte[] header)
    {
        Utf8JsonReader json = new(header);
        for (int count = 0; json.Read(); count++)
        {
            if (count == MostHeaderTokens)
            {
                throw new FormatException("has far more entries than that of a digit network");
            }
        }
    }

    private Entry Find(string name) =>
        _entries.TryGetValue(name, out Entry? entry) ? entry : throw new InputException($"{_name}: holds no tensor {Shorten(name)}");

    private ReadOnlySpan<byte> Bytes(Entry entry) => _data.AsSpan(entry.Start, entry.Length);

    private void ReadEntry(JsonProperty property)
    {
        if (property.Name == MetadataKey)
        {
            foreach (JsonProperty text in property.Value.EnumerateObject())
            {
                _metadata[text.Name] = text.Value.GetString() ?? throw new FormatException("null for a text");
            }

            return;
        }

        string type = property.Value.GetProperty("dtype").GetString() ?? "";
        long[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64())];
        long[] offsets = [.. property.Value.GetProperty("data_offsets").EnumerateArray().Select(offset => offset.GetInt64())];
        int bytesEach = type switch
        {
            "F64" or "I64" or "U64" or "C64" => 8,
            "F32" or "I32" or "U32" => 4,
            "F16" or "BF16" or "I16" or "U16" => 2,
            "I8" or "U8" or "BOOL" or "F8_E5M2" or "F8_E4M3" or "F8_E8M0" => 1,
            _ => throw Damaged($"tensor {Shorten(property.Name)} is of an unknown type, '{Shorten(type)}'"),
        };
        UInt128 count = shape.Aggregate((UInt128)1, (product, size) => size < 0 || product > uint.MaxValue ? UInt128.MaxValue : product * (UInt128)size);
        if (offsets is not [long start, long end] || start < 0 || start > end || end > MostDataBytes || count > MostDataBytes
            || count * (UInt128)bytesEach != (UInt128)(end - start))
        {
            throw Damaged($"tensor {Shorten(property.Name)} does not fit the file; it is damaged or cut off, or far larger than a digit network");
        }

        _entries.Add(property.Name, new Entry(type, shape, (int)count, (int)start, (int)(end - start)));
    }

    /// <summary>The tensors stand one after the other, in whatever order.</summary>
    /// <returns>How many bytes they have together.</returns>
    private int CheckPlaces()
    {
        int end = 0;
        foreach ((string name, Entry entry) in _entries.OrderBy(entry => entry.Value.Start).ThenBy(entry => entry.Value.Length))
        {
            if (entry.Start != end)
            {
                throw Damaged($"tensor {Shorten(name)} {(entry.Start < end ? "overlaps another" : "leaves bytes unused before it")}");
            }

            end += entry.Length;
        }

        return end;
    }

    /// <summary>The header as JSON, padded with spaces to a multiple of 8 bytes.</summary>
    private byte[] Header()
    {
        using MemoryStream header = new();
        using (Utf8JsonWriter json = new(header))
        {
            json.WriteStartObject();
            json.WriteStartObject(MetadataKey);
            foreach ((string key, string value) in _metadata)
            {
                json.WriteString(key, value);
            }

            json.WriteEndObject();
            foreach ((string name, Entry entry) in _entries)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", entry.Type);
                json.WriteStartArray("shape");
                foreach (long size in entry.Shape)
                {
                    json.WriteNumberValue(size);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(entry.Start);
                json.WriteNumberValue(entry.Start + entry.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (header.Length % 8 != 0)
        {
            header.WriteByte((byte)' ');
        }

        return header.ToArray();
    }

    /// <summary>
    /// SHA-256, in hexadecimal, over a line "key=value" for each entry of the metadata but the checksum itself, in the keys'
    /// order, then for each tensor, in the names' order, a line "name dtype [shape]" and its bytes. Not over the file as it
    /// stands, so that a tool that only writes the header in another order keeps it valid.
    /// </summary>
    private string Checksum()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string key, string value) in _metadata.Where(entry => entry.Key != ChecksumKey).OrderBy(entry => entry.Key, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{key}={value}\n"));
        }

        foreach ((string name, Entry entry) in _entries.OrderBy(entry => entry.Key, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{name} {entry.Type} [{string.Join(", ", entry.Shape)}]\n"));
            hash.AppendData(Bytes(entry));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Takes memory as the bytes come, not as the file claims to have them.</summary>
    private byte[] ReadExactly(Stream file, int count, string otherwise)
    {
        byte[] bytes = new byte[Math.Min(count, 1 << 20)];
        for (int read = 0; ;)
        {
            read += file.ReadAtLeast(bytes.AsSpan(read), bytes.Length - read, throwOnEndOfStream: false);
            if (read < bytes.Length)
            {
                throw Damaged(otherwise);
            }

            if (read == count)
            {
                return bytes;
            }

            Array.Resize(ref bytes, (int)Math.Min(count, 2L * read));
        }
    }

    private InputException Damaged(string how) => new($"{_name}: not a safetensors file: {how}");

    /// <summary>A name out of a file, for messages.</summary>
    internal static string Shorten(string text) => new([.. text.Take(60).Select(character => char.IsControl(character) ? '?' : character)]);

    private sealed record Entry(string Type, long[] Shape, int Count, int Start, int Length);
}
