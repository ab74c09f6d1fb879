using System.Security.Cryptography;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;

namespace CudnnDigits.Files;

/// <summary>Reads and writes the JSON files of runs and studies, with a SHA-256 of their content that is checked where it exists.</summary>
internal static class RecordFile
{
    private const string ChecksumKey = "sha256";
    private const int MostBytes = 1 << 26;

    /// <summary>Writes a record and, unless it is null, a further member. The SHA-256 also covers the content beside it.</summary>
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
        AtomicFile.WriteText(path, content.ToJsonString(type.Options) + "\n");
    }

    /// <summary>Reads a record; null if there is no file. Mend says what to do if it is damaged; take removes further members.</summary>
    public static T? Read<T>(
        string path, JsonTypeInfo<T> type, string mend = "restore a copy of it", (string File, Func<string> Content)? beside = null,
        Action<JsonObject>? take = null)
        where T : class
    {
        if (!File.Exists(path))
        {
            return null;
        }

        bool isIntact = false;
        try
        {
            JsonDocumentOptions options = new() { AllowDuplicateProperties = false };
            JsonNode? json = JsonNode.Parse(ReadText(path), documentOptions: options);
            if (json is JsonObject content)
            {
                if (content.Remove(ChecksumKey, out JsonNode? sum) && sum?.ToString() != Checksum(content, beside?.Content() ?? ""))
                {
                    string what = beside is null ? "its content does" : $"its content and that of {beside.Value.File} do";
                    throw new InputException($"{path}: is damaged: {what} not match its {ChecksumKey}; {mend} "
                        + $"(if you changed it on purpose, remove its {ChecksumKey})");
                }

                isIntact = sum is not null;
                take?.Invoke(content);
            }

            return json.Deserialize(type) ?? throw new JsonException("null", path: null, lineNumber: 0, bytePositionInLine: null);
        }
        catch (JsonException e)
        {
            string? member = e.Path is { Length: > 2 } at ? at[2..] : null;
            throw new InputException(
                isIntact
                    ? $"{path}: was written by another version, and this one does not know {member ?? "all of it"}; "
                        + "go on with that version, or begin anew (--init-from takes a run's weights)"
                    : $"{path}: is damaged {(member is null ? $"near line {e.LineNumber + 1}" : $"at {member}")}; {mend}",
                e);
        }
    }

    /// <summary>Reads a text file that this program has written.</summary>
    public static string ReadText(string path)
    {
        CheckPlain(path);
        using InputFile file = InputFile.Open(path, "the run's own");
        using StreamReader reader = new(new MemoryStream(file.ReadAll(MostBytes, "the run's own")));
        return reader.ReadToEnd();
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
    public static bool IsPlain(string path) => Posix.StatusOrMissing(path).Kind is not (FileKind.Special or FileKind.Socket);

    /// <summary>SHA-256, in hexadecimal, of the members in their order, without the white space between them.</summary>
    private static string Checksum(JsonObject content, string beside) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(content.ToJsonString() + beside)));
}
