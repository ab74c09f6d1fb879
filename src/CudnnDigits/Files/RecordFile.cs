using System.Security.Cryptography;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;

namespace CudnnDigits.Files;

/// <summary>
/// Reads and writes the JSON files of runs and studies. They contain a SHA-256 of their content, which is checked when a file has one.
/// </summary>
internal static class RecordFile
{
    private const string ChecksumKey = "sha256";
    private const int MostCharacters = 1 << 26;

    /// <summary>
    /// Writes a record, whole or not at all. The SHA-256 also covers <paramref name="beside"/>, the content of another file.
    /// <paramref name="member"/> is added to the JSON object unless its value is null.
    /// </summary>
    public static void Write<T>(
        string path, T record, JsonTypeInfo<T> type, string beside = "", (string Name, string? Value) member = default)
        where T : class
    {
        JsonObject content = JsonSerializer.SerializeToNode(record, type)!.AsObject();
        if (member is ({ } name, { } value))
        {
            content.Add(name, value);
        }

        content.Add(ChecksumKey, Checksum(content, beside));
        AtomicFile.Write(path, file =>
        {
            using (Utf8JsonWriter writer = new(file, new JsonWriterOptions { Indented = true }))
            {
                content.WriteTo(writer);
            }

            file.WriteByte((byte)'\n');
        });
    }

    /// <summary>
    /// Reads a record; null if there is no file. The SHA-256 also covers <paramref name="beside"/>, the content of
    /// <paramref name="besideFile"/>. <paramref name="mend"/> says what to do about a damaged file. <paramref name="take"/> removes members
    /// that do not belong to the record.
    /// </summary>
    /// <exception cref="InputException">It cannot be read, or is damaged.</exception>
    public static T? Read<T>(
        string path, JsonTypeInfo<T> type, string mend = "restore a copy of it", string beside = "", string? besideFile = null,
        Action<JsonObject>? take = null)
        where T : class
    {
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            JsonDocumentOptions options = new() { AllowDuplicateProperties = false };
            JsonNode? json = JsonNode.Parse(ReadText(path), documentOptions: options);
            if (json is JsonObject content)
            {
                if (content.Remove(ChecksumKey, out JsonNode? checksum) && checksum?.ToString() != Checksum(content, beside))
                {
                    string what = besideFile is null ? "its content does" : $"its content and that of {besideFile} do";
                    throw new InputException($"{path}: is damaged: {what} not match its {ChecksumKey}; {mend} "
                        + $"(if you changed it on purpose, remove its {ChecksumKey})");
                }

                take?.Invoke(content);
            }

            return json.Deserialize(type) ?? throw new JsonException("null", path: null, lineNumber: 0, bytePositionInLine: null);
        }
        catch (JsonException e)
        {
            string where = e.Path is { Length: > 2 } at ? $"at {at[2..]}" : $"near line {e.LineNumber + 1}";
            throw new InputException($"{path}: is damaged {where}; {mend}", e);
        }
    }

    /// <summary>Reads a text file that this program has written.</summary>
    /// <exception cref="InputException">It cannot be read, or is too large to be such a file.</exception>
    public static string ReadText(string path)
    {
        CheckPlain(path);
        try
        {
            using StreamReader reader = new(path);
            StringBuilder text = new();
            char[] part = new char[1 << 16];
            for (int count; (count = reader.ReadBlock(part)) > 0;)
            {
                text.Append(part, 0, count);
                if (text.Length > MostCharacters)
                {
                    throw new InputException($"{path}: is damaged: it is far larger than train writes it");
                }
            }

            return text.ToString();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Refuses a FIFO, a device or a socket in place of a file: reading it could block for ever.</summary>
    public static void CheckPlain(string path)
    {
        if (!IsPlain(path))
        {
            throw new InputException($"{path}: is not a regular file; restore the run's own");
        }
    }

    /// <summary>Whether a file is no FIFO, device or socket. Also true if its status cannot be read; then opening it fails.</summary>
    public static bool IsPlain(string path)
    {
        try
        {
            return OperatingSystem.IsWindows() || Posix.Status(path, follow: true).Kind is not (FileKind.Special or FileKind.Socket);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return true;
        }
    }

    /// <summary>SHA-256, in hexadecimal, of the members in their order, without the white space between them.</summary>
    private static string Checksum(JsonObject content, string beside) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(content.ToJsonString() + beside)));
}
