using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using CudnnDigits.Data;

namespace CudnnDigits.Model;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Its shape; empty for a scalar.</param>
/// <param name="Values">Its values: float[] (F32) or long[] (I64).</param>
public sealed record NamedTensor(string Name, IReadOnlyList<int> Shape, Array Values);

/// <summary>
/// The safetensors format: 8 bytes little-endian header length, a JSON header (name → dtype, shape, data_offsets; and
/// __metadata__, text to text), then the tensors' bytes. Source: https://huggingface.co/docs/safetensors.
/// </summary>
public sealed class SafeTensors
{
    private const long MostBytes = 1L << 30;
    private const string MetadataKey = "__metadata__";

    private readonly string _name;
    private readonly byte[] _bytes;
    private readonly int _dataStart;
    private readonly Dictionary<string, Entry> _entries = [];
    private readonly Dictionary<string, string> _metadata = [];

    private SafeTensors(string name, byte[] bytes)
    {
        _name = name;
        _bytes = bytes;
        if (bytes.Length < 8)
        {
            throw Damaged("shorter than its 8-byte header length");
        }

        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        if (headerLength > (ulong)(bytes.Length - 8))
        {
            throw Damaged($"claims a header of {headerLength} bytes in a file of {bytes.Length}");
        }

        _dataStart = 8 + (int)headerLength;
        try
        {
            using JsonDocument header = JsonDocument.Parse(bytes.AsMemory(8, (int)headerLength));
            foreach (JsonProperty property in header.RootElement.EnumerateObject())
            {
                ReadEntry(property);
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw new InputException(Damaged("its header is not what the format says").Message, e);
        }
    }

    /// <summary>Free text beside the tensors.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Names of the tensors.</summary>
    public IEnumerable<string> Names => _entries.Keys;

    /// <summary>Reads a file.</summary>
    /// <param name="path">The file, up to 1 GiB.</param>
    /// <exception cref="InputException">Not there, not readable, or not in the format.</exception>
    public static SafeTensors Read(string path)
    {
        try
        {
            FileInfo file = new(path);
            if (!file.Exists)
            {
                throw new InputException($"{path}: no such file; give a .safetensors file");
            }

            return file.Length <= MostBytes
                ? new SafeTensors(path, File.ReadAllBytes(path))
                : throw new InputException($"{path}: {file.Length} bytes are too many for the weights of a digit network; give a .safetensors file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
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
        using MemoryStream header = new();
        using (Utf8JsonWriter json = new(header))
        {
            json.WriteStartObject();
            json.WriteStartObject(MetadataKey);
            foreach ((string key, string value) in metadata)
            {
                json.WriteString(key, value);
            }

            json.WriteEndObject();
            long offset = 0;
            foreach (NamedTensor tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.Values is float[] _ ? "F32" : "I64");
                json.WriteStartArray("shape");
                foreach (int size in tensor.Shape)
                {
                    json.WriteNumberValue(size);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                offset += Buffer.ByteLength(tensor.Values);
                json.WriteNumberValue(offset);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (header.Length % 8 != 0)
        {
            header.WriteByte((byte)' ');
        }

        AtomicFile.Write(path, file =>
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            file.Write(length);
            header.WriteTo(file);
            foreach (NamedTensor tensor in tensors)
            {
                file.Write(tensor.Values is long[] integers ? MemoryMarshal.AsBytes(integers.AsSpan()) : MemoryMarshal.AsBytes(((float[])tensor.Values).AsSpan()));
            }
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
        ReadOnlySpan<byte> bytes = _bytes.AsSpan(_dataStart + entry.Start, entry.Length);
        double[] values = new double[entry.Count];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = entry.Type switch
            {
                "F64" => BinaryPrimitives.ReadDoubleLittleEndian(bytes[(8 * i)..]),
                "F32" => BinaryPrimitives.ReadSingleLittleEndian(bytes[(4 * i)..]),
                "F16" => (double)BinaryPrimitives.ReadHalfLittleEndian(bytes[(2 * i)..]),
                "BF16" => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(bytes[(2 * i)..]) << 16),
                _ => throw new InputException($"{_name}: tensor {name} is of type {entry.Type}, expected floating-point numbers"),
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
            ? MemoryMarshal.Cast<byte, long>(_bytes.AsSpan(_dataStart + entry.Start, entry.Length)).ToArray()
            : throw new InputException($"{_name}: tensor {name} is of type {entry.Type}, expected I64");
    }

    private Entry Find(string name) =>
        _entries.TryGetValue(name, out Entry? entry) ? entry : throw new InputException($"{_name}: holds no tensor {name}");

    private void ReadEntry(JsonProperty property)
    {
        if (property.Name == MetadataKey)
        {
            foreach (JsonProperty text in property.Value.EnumerateObject())
            {
                _metadata[text.Name] = text.Value.GetString() ?? "";
            }

            return;
        }

        string type = property.Value.GetProperty("dtype").GetString() ?? "";
        long[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64())];
        long[] offsets = [.. property.Value.GetProperty("data_offsets").EnumerateArray().Select(offset => offset.GetInt64())];
        int bytesEach = type switch
        {
            "F64" or "I64" or "U64" => 8,
            "F32" or "I32" or "U32" => 4,
            "F16" or "BF16" or "I16" or "U16" => 2,
            _ => 1,
        };
        long data = _bytes.Length - _dataStart;
        UInt128 count = shape.Aggregate((UInt128)1, (product, size) => size < 0 || product > uint.MaxValue ? UInt128.MaxValue : product * (UInt128)size);
        if (offsets.Length != 2 || offsets[0] < 0 || offsets[1] > data || offsets[0] > offsets[1] || count > (UInt128)data
            || count * (UInt128)bytesEach != (UInt128)(offsets[1] - offsets[0]))
        {
            throw Damaged($"tensor {Shorten(property.Name)} does not fit the file; it is damaged or cut off");
        }

        _entries[property.Name] = new Entry(type, shape, (int)count, (int)offsets[0], (int)(offsets[1] - offsets[0]));
    }

    private InputException Damaged(string how) => new($"{_name}: not a safetensors file: {how}");

    private static string Shorten(string text)
    {
        StringBuilder clean = new();
        foreach (char character in text.Take(40))
        {
            clean.Append(char.IsControl(character) ? '?' : character);
        }

        return clean.ToString();
    }

    private sealed record Entry(string Type, long[] Shape, int Count, int Start, int Length);
}
