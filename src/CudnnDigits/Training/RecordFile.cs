using System.Security.Cryptography;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>
/// Reads the text files of runs and studies, and writes those in JSON with a SHA-256 of their content. Where a file has one, reading
/// compares it.
/// </summary>
internal static class RecordFile
{
    private const string ChecksumKey = "sha256";
    private const int MostCharacters = 1 << 26;

    /// <summary>Writes a record, whole or not at all.</summary>
    /// <typeparam name="T">The record's type.</typeparam>
    /// <param name="path">The file.</param>
    /// <param name="record">The record.</param>
    /// <param name="type">How it is written.</param>
    /// <param name="beside">What else the SHA-256 covers: the content of a file beside it.</param>
    /// <param name="member">A member that is none of the record's, and its value; null for none.</param>
    public static void Write<T>(string path, T record, JsonTypeInfo<T> type, string beside = "", (string Name, string? Value)? member = null)
        where T : class
    {
        JsonObject content = JsonSerializer.SerializeToNode(record, type)!.AsObject();
        if (member is { Value: { } value } more)
        {
            content.Add(more.Name, value);
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

    /// <summary>Reads a record; null where there is no file.</summary>
    /// <typeparam name="T">The record's type.</typeparam>
    /// <param name="path">The file.</param>
    /// <param name="type">How it was written.</param>
    /// <param name="mend">What to do where it is damaged, for the message.</param>
    /// <param name="beside">What else the SHA-256 covers.</param>
    /// <param name="besideFile">Name of the file that this is in, for the message.</param>
    /// <param name="take">Takes members out that are none of the record's; null where there are none.</param>
    /// <exception cref="InputException">It cannot be read, or is not what was written.</exception>
    public static T? Read<T>(string path, JsonTypeInfo<T> type, string mend = "bring back a copy of it", string beside = "", string? besideFile = null, Action<JsonObject>? take = null)
        where T : class
    {
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            JsonNode? json = JsonNode.Parse(ReadText(path), documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (json is JsonObject content && content.Remove(ChecksumKey, out JsonNode? checksum) && checksum?.ToString() != Checksum(content, beside))
            {
                string others = besideFile is null ? "its content is" : $"its content and that of {besideFile} are";
                throw new InputException(
                    $"{path}: is damaged, {others} not that of its {ChecksumKey}; {mend} (whoever changes it on purpose takes its {ChecksumKey} out)");
            }

            if (json is JsonObject all)
            {
                take?.Invoke(all);
            }

            return json.Deserialize(type) ?? throw new JsonException("null", path: null, lineNumber: 0, bytePositionInLine: null);
        }
        catch (JsonException e)
        {
            throw new InputException($"{path}: is damaged, {(e.Path is { Length: > 2 } at ? $"at {at[2..]}" : $"near line {e.LineNumber + 1}")}; {mend}", e);
        }
    }

    /// <summary>Reads a text file that this program has written.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InputException">It cannot be read, or is larger than any that is written.</exception>
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
                    throw new InputException($"{path}: is damaged: far larger than any that train writes");
                }
            }

            return text.ToString();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Refuses a FIFO, a device or a socket in place of a file, which would be waited for.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InputException">It is one.</exception>
    public static void CheckPlain(string path)
    {
        if (!IsPlain(path))
        {
            throw new InputException($"{path}: is no plain file; bring back the run's own");
        }
    }

    /// <summary>Whether a file is one that can be read again and again; what cannot be looked at is refused when it is opened.</summary>
    /// <param name="path">The file.</param>
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

    /// <summary>In hexadecimal, over the members as they stand, whatever the space between them.</summary>
    private static string Checksum(JsonObject content, string beside) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(content.ToJsonString() + beside)));
}
