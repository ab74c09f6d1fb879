using System.Security.Cryptography;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// A second reader of safetensors files, written from the format's description: what one reader accepts the other must accept, with the
/// same content. Of the program's own code it uses nothing.
/// </summary>
internal sealed class PlainSafeTensors
{
    public SortedDictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    public SortedDictionary<string, (string Type, long[] Shape, byte[] Bytes)> Tensors { get; } = new(StringComparer.Ordinal);

    /// <summary>Reads a file; null where it breaks a rule or its checksum is wrong.</summary>
    public static PlainSafeTensors? Read(byte[] file)
    {
        try
        {
            PlainSafeTensors content = new();
            ulong length = BitConverter.ToUInt64(file, 0);
            Require(length <= (ulong)file.Length - 8 && file[8] == '{');
            string json = new UTF8Encoding(false, true).GetString(file, 8, (int)length);
            using JsonDocument header = JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            AssertText(header.RootElement);
            byte[] data = file[(8 + (int)length)..];
            bool[] used = new bool[data.Length];
            foreach (JsonProperty entry in header.RootElement.EnumerateObject())
            {
                if (entry.Name == "__metadata__")
                {
                    foreach (JsonProperty text in entry.Value.EnumerateObject())
                    {
                        content.Metadata.Add(text.Name, text.Value.GetString() ?? throw new FormatException());
                    }

                    continue;
                }

                string type = entry.Value.GetProperty("dtype").GetString()!;
                long[] shape = Whole(entry.Value.GetProperty("shape")), offsets = Whole(entry.Value.GetProperty("data_offsets"));
                Require(offsets.Length == 2 && offsets[1] <= data.Length && offsets[0] <= offsets[1]
                    && Array.TrueForAll(shape, size => size >= 0));
                Require(shape.Aggregate(Width(type), (product, size) => checked(product * size)) == offsets[1] - offsets[0]);
                for (long at = offsets[0]; at < offsets[1]; at++)
                {
                    Require(!used[at]);
                    used[at] = true;
                }

                content.Tensors.Add(entry.Name, (type, shape, data[(int)offsets[0]..(int)offsets[1]]));
            }

            Require(Array.TrueForAll(used, byteUsed => byteUsed));
            Require(!content.Metadata.TryGetValue("cudnn_digits.sha256", out string? checksum) || checksum == content.Checksum());
            return content;
        }
        catch (Exception e) when (e is JsonException or FormatException or ArgumentException or InvalidOperationException
            or KeyNotFoundException or OverflowException or IndexOutOfRangeException)
        {
            return null;
        }
    }

    private string Checksum()
    {
        using MemoryStream all = new();
        foreach ((string key, string value) in Metadata.Where(entry => entry.Key != "cudnn_digits.sha256"))
        {
            all.Write(Encoding.UTF8.GetBytes(key + "=" + value + "\n"));
        }

        foreach ((string name, (string type, long[] shape, byte[] bytes)) in Tensors)
        {
            all.Write(Encoding.UTF8.GetBytes($"{name} {type} [{string.Join(", ", shape)}]\n"));
            all.Write(bytes);
        }

        return Convert.ToHexString(SHA256.HashData(all.ToArray())).ToLowerInvariant();
    }

    private static long Width(string type) => type switch
    {
        "BOOL" or "U8" or "I8" or "F8_E5M2" or "F8_E4M3" or "F8_E8M0" => 1,
        "I16" or "U16" or "F16" or "BF16" => 2,
        "I32" or "U32" or "F32" => 4,
        "I64" or "U64" or "F64" or "C64" => 8,
        _ => throw new FormatException(type),
    };

    private static long[] Whole(JsonElement array) =>
        [.. array.EnumerateArray()
            .Select(value => long.Parse(value.GetRawText(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture))];

    /// <summary>Reads every name and text, which fails where one holds half of a surrogate pair.</summary>
    private static void AssertText(JsonElement value)
    {
        IEnumerable<JsonElement> parts = value.ValueKind switch
        {
            JsonValueKind.Object => value.EnumerateObject().Select(member => member.Name.Length >= 0 ? member.Value : default),
            JsonValueKind.Array => value.EnumerateArray(),
            _ => [],
        };
        _ = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        foreach (JsonElement part in parts)
        {
            AssertText(part);
        }
    }

    private static void Require(bool holds)
    {
        if (!holds)
        {
            throw new FormatException();
        }
    }
}
