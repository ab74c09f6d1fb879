using System.Security.Cryptography;
using System.Text.Json.Nodes;

namespace CudnnDigits.Files;

/// <summary>A tensor to write: its values are float[] (F32) or long[] (I64); a scalar has an empty shape.</summary>
internal sealed record NamedTensor(string Name, IReadOnlyList<int> Shape, Array Values);

/// <summary>
/// The safetensors format: the header's length in 8 bytes, little-endian; a JSON header (name → dtype, shape, data_offsets; and
/// __metadata__, text to text); then the tensors' bytes, without gaps or overlaps and with nothing after them. This program writes a
/// SHA-256 of the content into the metadata, and checks it when a file has one.
/// Source: https://huggingface.co/docs/safetensors.
/// </summary>
internal sealed class SafeTensors
{
    private const int MostHeaderBytes = 1 << 26; // a state of 100,000 epochs has 45 MB
    private const int MostHeaderTokens = 100_000; // some thousand tensors; the parser needs memory for each token
    private const int MostDataBytes = 1 << 28;
    private const string MetadataKey = "__metadata__", ChecksumKey = "cudnn_digits.sha256";

    private readonly byte[] _data;
    private readonly Dictionary<string, Entry> _entries = [];
    private readonly Dictionary<string, string> _metadata = [];

    private SafeTensors(InputFile file)
    {
        Path = file.Path;
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(ReadExactly(file, 8, "it is shorter than its 8-byte header length"));
        Require(headerLength <= MostHeaderBytes, $"it claims a header of {headerLength} bytes");
        byte[] header = ReadExactly(file, (int)headerLength, "its header is cut off");
        Require(header is [(byte)'{', ..], "its header is not what the format says: it does not begin with '{'");
        try
        {
            Utf8JsonReader tokens = new(header);
            for (int count = 0; tokens.Read(); count++)
            {
                Require(count < MostHeaderTokens, "its header has far more entries than that of a digit network");
            }

            using JsonDocument json = JsonDocument.Parse(header, new JsonDocumentOptions { AllowDuplicateProperties = false });
            foreach (JsonProperty property in json.RootElement.EnumerateObject())
            {
                ReadEntry(property);
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw Damaged($"its header is not what the format says ({KnownFile.Shorten(e.Message)})", e);
        }

        _data = ReadExactly(file, CheckPlaces(), "its last tensor does not fit the file; it is damaged or cut off");
        Require(file.ReadByte() < 0, "bytes follow its last tensor");
        if (_metadata.TryGetValue(ChecksumKey, out string? checksum) && checksum != Checksum())
        {
            throw new InputException($"{Path}: is damaged: its content does not match its {ChecksumKey}; restore a copy of it "
                + $"(if you changed it on purpose, remove {ChecksumKey} from its metadata)");
        }
    }

    private SafeTensors(string path, IEnumerable<KeyValuePair<string, string>> metadata, IReadOnlyList<NamedTensor> tensors)
    {
        Path = path;
        _data = new byte[tensors.Sum(tensor => Buffer.ByteLength(tensor.Values))];
        int start = 0;
        foreach (NamedTensor tensor in tensors)
        {
            int length = Buffer.ByteLength(tensor.Values);
            Buffer.BlockCopy(tensor.Values, 0, _data, start, length);
            string type = tensor.Values is long[] _ ? "I64" : "F32";
            _entries.Add(tensor.Name, new Entry(type, [.. tensor.Shape.Select(size => (long)size)], tensor.Values.Length, start, length));
            start += length;
        }

        _metadata = new(metadata);
        _metadata.Add(ChecksumKey, Checksum());
    }

    public string Path { get; }

    /// <summary>Free text beside the tensors.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    public IEnumerable<string> Names => _entries.Keys;

    /// <summary>Reads a file, or a pipe, with up to 256 MiB of tensors.</summary>
    public static SafeTensors Read(string path)
    {
        using InputFile file = InputFile.Open(path, "a .safetensors file");
        return Read(file);
    }

    public static SafeTensors Read(InputFile file) => InputFile.Reading(file.Path, () => ForeignWeights.Describe(file) is { } other
        ? throw new InputException($"{file.Path}: {other}")
        : new SafeTensors(file));

    /// <summary>Writes a file with the tensors in the given order.</summary>
    public static void Write(string path, IEnumerable<KeyValuePair<string, string>> metadata, IReadOnlyList<NamedTensor> tensors)
    {
        SafeTensors content = new(path, metadata, tensors);
        byte[] header = content.Header();
        AtomicFile.Write(path, file =>
        {
            file.Write(BitConverter.GetBytes((long)header.Length));
            file.Write(header);
            file.Write(content._data);
        });
    }

    /// <summary>Shape of a tensor, or null if there is no such tensor.</summary>
    public IReadOnlyList<long>? Shape(string name) => _entries.GetValueOrDefault(name)?.Shape;

    /// <summary>Values of a floating-point tensor (F32, F64, F16 or BF16), as double.</summary>
    public double[] Doubles(string name) => Find(name) is { Type: "F64" } entry
        ? MemoryMarshal.Cast<byte, double>(Bytes(entry)).ToArray()
        : Array.ConvertAll(Floats(name), value => (double)value);

    /// <summary>Values of a floating-point tensor, rounded to float.</summary>
    public float[] Floats(string name) => Find(name) is var entry && Floats(entry.Type, Bytes(entry)) is { } values
        ? values
        : throw new InputException(
            $"{Path}: tensor {KnownFile.Shorten(name)} is of type {entry.Type}, expected F32, F64, F16 or BF16; save it as such");

    /// <summary>Little-endian numbers of a floating-point type, rounded to float; null for another type.</summary>
    public static float[]? Floats(string type, ReadOnlySpan<byte> bytes) => type switch
    {
        "F32" => MemoryMarshal.Cast<byte, float>(bytes).ToArray(),
        "F64" => Array.ConvertAll(MemoryMarshal.Cast<byte, double>(bytes).ToArray(), value => (float)value),
        "F16" => Array.ConvertAll(MemoryMarshal.Cast<byte, Half>(bytes).ToArray(), value => (float)value),
        "BF16" => Array.ConvertAll(
            MemoryMarshal.Cast<byte, ushort>(bytes).ToArray(), value => BitConverter.UInt32BitsToSingle((uint)value << 16)),
        _ => null,
    };

    public long[] Integers(string name)
    {
        Entry entry = Find(name);
        return entry.Type == "I64"
            ? MemoryMarshal.Cast<byte, long>(Bytes(entry)).ToArray()
            : throw new InputException($"{Path}: tensor {KnownFile.Shorten(name)} is of type {entry.Type}, expected I64");
    }

    /// <summary>Whether an existing tensor is a counter, such as batch norm's num_batches_tracked, and not a weight.</summary>
    internal bool IsCounter(string name) =>
        name.EndsWith("num_batches_tracked", StringComparison.Ordinal)
        || _entries[name] is { Count: 1, Shape.Length: 0, Type: ['I' or 'U', ..] };

    private Entry Find(string name) =>
        _entries.GetValueOrDefault(name) ?? throw new InputException($"{Path}: holds no tensor {KnownFile.Shorten(name)}");

    private Span<byte> Bytes(Entry entry) => _data.AsSpan(entry.Start, entry.Length);

    private void ReadEntry(JsonProperty property)
    {
        if (property.Name == MetadataKey)
        {
            foreach (JsonProperty text in property.Value.EnumerateObject())
            {
                _metadata[text.Name] = text.Value.GetString() ?? throw new FormatException("null in place of text");
            }

            return;
        }

        string name = KnownFile.Shorten(property.Name), type = property.Value.GetProperty("dtype").GetString() ?? "";
        long[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64())];
        long[] offsets = [.. property.Value.GetProperty("data_offsets").EnumerateArray().Select(offset => offset.GetInt64())];
        int bytesEach = type switch
        {
            "F64" or "I64" or "U64" or "C64" => 8,
            "F32" or "I32" or "U32" => 4,
            "F16" or "BF16" or "I16" or "U16" => 2,
            "I8" or "U8" or "BOOL" or "F8_E5M2" or "F8_E4M3" or "F8_E8M0" => 1,
            _ => throw Damaged($"tensor {name} is of an unknown type, '{KnownFile.Shorten(type)}'"),
        };
        UInt128 count = shape.Aggregate(
            (UInt128)1, (product, size) => size < 0 || product > uint.MaxValue ? UInt128.MaxValue : product * (UInt128)size);
        if (offsets is not [long start, long end] || start < 0 || start > end || end > MostDataBytes || count > MostDataBytes
            || count * (UInt128)bytesEach != (UInt128)(end - start))
        {
            throw Damaged($"tensor {name} does not fit the file; it is damaged or cut off, or far larger than a digit network");
        }

        _entries.Add(property.Name, new Entry(type, shape, (int)count, (int)start, (int)(end - start)));
    }

    /// <summary>Checks that the tensors follow each other without gaps, in any order, and returns their total length in bytes.</summary>
    private int CheckPlaces()
    {
        int end = 0;
        foreach ((string name, Entry entry) in _entries.OrderBy(entry => entry.Value.Start).ThenBy(entry => entry.Value.Length))
        {
            Require(entry.Start >= end, $"tensor {KnownFile.Shorten(name)} overlaps another");
            Require(entry.Start == end, $"tensor {KnownFile.Shorten(name)} leaves bytes unused before it");
            end += entry.Length;
        }

        return end;
    }

    /// <summary>The header as JSON, padded with spaces to a multiple of 8 bytes.</summary>
    private byte[] Header()
    {
        JsonObject header = new() { [MetadataKey] = new JsonObject(_metadata.Select(e => KeyValuePair.Create(e.Key, (JsonNode?)e.Value))) };
        foreach ((string name, Entry entry) in _entries)
        {
            header.Add(name, new JsonObject
            {
                ["dtype"] = entry.Type,
                ["shape"] = new JsonArray([.. entry.Shape.Select(size => (JsonNode)size)]),
                ["data_offsets"] = new JsonArray(entry.Start, entry.Start + entry.Length),
            });
        }

        string json = header.ToJsonString(); // only ASCII: everything else is escaped
        return Encoding.ASCII.GetBytes(json.PadRight((json.Length + 7) / 8 * 8));
    }

    /// <summary>SHA-256 of metadata and tensors, each ordered by name, because other tools may order the header otherwise.</summary>
    private string Checksum()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string key, string value) in _metadata.Where(e => e.Key != ChecksumKey).OrderBy(e => e.Key, StringComparer.Ordinal))
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

    private byte[] ReadExactly(InputFile file, int count, string otherwise) =>
        file.ReadUpTo(count) is var bytes && bytes.Length == count ? bytes : throw Damaged(otherwise);

    private void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw Damaged(otherwise);
        }
    }

    private InputException Damaged(string how, Exception? inner = null) =>
        new($"{Path}: not a safetensors file: {how}; save it again, or give another file", inner!);

    private sealed record Entry(string Type, long[] Shape, int Count, int Start, int Length);
}
