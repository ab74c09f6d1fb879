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
        using JsonDocument document = JsonDocument.ParseValue(ref reader);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            throw Damaged(null);
        }

        TrainingOptions result = TrainingField.Unset;
        HashSet<TrainingField> missing = [.. TrainingField.All];
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            TrainingField? field = missing.FirstOrDefault(field => field.JsonName == property.Name);
            if (field is null || !missing.Remove(field))
            {
                throw Damaged(property.Name);
            }

            JsonElement value = property.Value;
            string? text = value.ValueKind switch
            {
                JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False => value.GetRawText(),
                JsonValueKind.String when field.IsText => value.GetString(),
                _ => null,
            };
            bool isNone = value.ValueKind == JsonValueKind.Null && field.IsNullable;
            result = isNone ? result : (text is null ? null : field.Parse(result, text)) ?? throw Damaged(property.Name);
        }

        return missing.FirstOrDefault(field => field.IsRequired) is { } absent ? throw Damaged(absent.JsonName) : result;

        static JsonException Damaged(string? name) =>
            new($"options: {name}", name is null ? null : $"$.options.{name}", lineNumber: null, bytePositionInLine: null);
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
