using System.Text.Json.Serialization;

namespace CudnnDigits.Training;

/// <summary>
/// <see cref="TrainingOptions"/> as one flat object of <see cref="TrainingField"/>s, as every version has written them. A field that an
/// older file lacks has the value that changes nothing; a field that this version does not know is refused.
/// </summary>
internal sealed class TrainingOptionsJson : JsonConverter<TrainingOptions>
{
    public override TrainingOptions Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        Check(reader.TokenType == JsonTokenType.StartObject, null);
        TrainingOptions result = TrainingField.Unset;
        HashSet<TrainingField> missing = [.. TrainingField.All];
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            TrainingField? field = missing.FirstOrDefault(field => field.JsonName == name);
            Check(field is not null && missing.Remove(field) && reader.Read(), name);
            if (reader.TokenType == JsonTokenType.Null && field!.IsNullable)
            {
                continue;
            }

            using JsonDocument value = JsonDocument.ParseValue(ref reader);
            JsonElement element = value.RootElement;
            Check(element.ValueKind is JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False or JsonValueKind.String, name);
            Check(element.ValueKind != JsonValueKind.String || field!.IsText, name);
            string text = element.ValueKind == JsonValueKind.String ? element.GetString()! : element.GetRawText();
            TrainingOptions? set = field!.Parse(result, text);
            Check(set is not null, name);
            result = set!;
        }

        Check(reader.TokenType == JsonTokenType.EndObject, null);
        Check(!missing.Any(field => field.IsRequired), missing.FirstOrDefault(field => field.IsRequired)?.JsonName);
        return result;

        static void Check(bool holds, string? name)
        {
            if (!holds)
            {
                string? path = name is null ? null : $"$.options.{name}";
                throw new JsonException($"options: {name}", path, lineNumber: null, bytePositionInLine: null);
            }
        }
    }

    public override void Write(Utf8JsonWriter writer, TrainingOptions value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        foreach (TrainingField field in TrainingField.All)
        {
            writer.WritePropertyName(field.JsonName);
            if (field.Text(value) is not { } text)
            {
                writer.WriteNullValue();
            }
            else if (field.IsText)
            {
                writer.WriteStringValue(text);
            }
            else
            {
                writer.WriteRawValue(text);
            }
        }

        writer.WriteEndObject();
    }
}
