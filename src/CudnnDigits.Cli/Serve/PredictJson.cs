using System.Collections.ObjectModel;
using System.Numerics;
using System.Text.Json.Serialization;

namespace CudnnDigits.Cli.Serve;

/// <summary>The JSON of <c>POST /predict</c>: a digit's pixels, (28·28), 0 = paper … 255 = ink; several digits; or strokes.</summary>
internal sealed record PredictJson(byte[]? Pixels, PredictJson.Digits? Images, PredictJson.Drawing? Strokes)
{
    public const int MostStrokes = 256, MostPoints = 20_000;

    public static PredictBody Read(ReadOnlySpan<byte> body)
    {
        try
        {
            body = body.StartsWith(Encoding.UTF8.Preamble) ? body[Encoding.UTF8.Preamble.Length..] : body;
            PredictJson? json = JsonSerializer.Deserialize(body, ServeJson.Default.PredictJson);
            return json switch
            {
                { Pixels: { } pixels, Images: null, Strokes: null } => new PredictBody(pixels, [false]),
                { Images: { } images, Pixels: null, Strokes: null } => new PredictBody(images.Join(), new bool[images.Count]),
                { Strokes: { } strokes, Pixels: null, Images: null } => new PredictBody(strokes.Draw(), [true]),
                _ => throw new InputException("expected exactly one of pixels, images and strokes; see /openapi.json"),
            };
        }
        catch (WrongValueException e)
        {
            throw new InputException($"{e.Path?[2..]}{e.Message}", e);
        }
        catch (JsonException e)
        {
            string path = KnownFile.Shorten(e.Path ?? "$", 40);
            throw new InputException(
                $"the JSON is not understood at {path}, line {e.LineNumber + 1}, byte {e.BytePositionInLine}; see /openapi.json", e);
        }
    }

    /// <summary>A value that is not allowed. The serializer adds its path, which precedes the message.</summary>
    private sealed class WrongValueException(string message) : JsonException(message);

    /// <summary>A list that refuses more items than can be of use, so that a body cannot fill the memory.</summary>
    internal abstract class Bounded<T>(int most) : Collection<T>
    {
        protected override void InsertItem(int index, T item)
        {
            if (item is null || index == most)
            {
                throw new WrongValueException(item is null ? " is null" : $" is one too many; expected at most {most}");
            }

            base.InsertItem(index, item);
        }
    }

    internal sealed class Digits() : Bounded<byte[]>(PredictBody.MostDigits)
    {
        public byte[] Join()
        {
            PredictBody.CheckCount(Count);
            byte[] all = new byte[Count * DigitDataset.PixelCount];
            for (int i = 0; i < Count; i++)
            {
                this[i].CopyTo(all, i * DigitDataset.PixelCount);
            }

            return all;
        }
    }

    /// <summary>The points [x, y] of a stroke in any unit, y down.</summary>
    internal sealed class Stroke() : Bounded<Vector2>(MostPoints);

    internal sealed class Drawing() : Bounded<Stroke>(MostStrokes)
    {
        public byte[] Draw()
        {
            int points = this.Sum(stroke => stroke.Count);
            if (points is 0 or > MostPoints)
            {
                throw new InputException($"strokes has {Count} strokes of {points} points in all; "
                    + $"expected 1 to {MostStrokes} strokes of 1 to {MostPoints} points");
            }

            byte[] image = new byte[DigitDataset.PixelCount];
            DigitPicture.Draw(this.Select(stroke => stroke.ToArray()), image);
            return image;
        }
    }

    internal sealed class PixelsConverter : JsonConverter<byte[]>
    {
        public override byte[] Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options)
        {
            byte[] pixels = new byte[DigitDataset.PixelCount];
            int count = 0;
            if (reader.TokenType != JsonTokenType.StartArray)
            {
                throw new JsonException();
            }

            for (; reader.Read() && reader.TokenType != JsonTokenType.EndArray; count++)
            {
                if (reader.TokenType != JsonTokenType.Number || !reader.TryGetByte(out byte value))
                {
                    string what = Encoding.UTF8.GetString(reader.ValueSpan[..Math.Min(20, reader.ValueSpan.Length)]);
                    throw new WrongValueException($"[{count}] is {what}, expected a whole number from 0 (paper) to 255 (ink)");
                }

                if (count < pixels.Length)
                {
                    pixels[count] = value;
                }
            }

            return count == pixels.Length ? pixels : throw new WrongValueException($" has {count} values, expected 784: 28 rows of 28");
        }

        public override void Write(Utf8JsonWriter writer, byte[] value, JsonSerializerOptions options) =>
            throw new NotSupportedException();
    }

    internal sealed class PointConverter : JsonConverter<Vector2>
    {
        public override Vector2 Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options)
        {
            Vector2 point = default;
            return reader.TokenType == JsonTokenType.StartArray && TryRead(ref reader, out point.X) && TryRead(ref reader, out point.Y)
                && reader.Read() && reader.TokenType == JsonTokenType.EndArray
                    ? point
                    : throw new WrongValueException(" is no point [x, y] with coordinates up to a million");
        }

        public override void Write(Utf8JsonWriter writer, Vector2 value, JsonSerializerOptions options) =>
            throw new NotSupportedException();

        private static bool TryRead(ref Utf8JsonReader reader, out float number)
        {
            number = reader.Read() && reader.TokenType == JsonTokenType.Number && reader.TryGetSingle(out float read) ? read : float.NaN;
            return Math.Abs(number) <= 1e6f;
        }
    }
}
