using System.Numerics;
using CudnnDigits.Data;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// Reads the JSON of <c>POST /predict</c>: an object with exactly one of <c>pixels</c> (one digit, (28·28), row by row, 0 = paper
/// … 255 = ink), <c>images</c> (several such digits) and <c>strokes</c> (one digit as pen strokes, each a list of points [x, y]
/// in any unit, y down). Values become pixels as they are read: JSON objects would need ten times the memory of the body.
/// </summary>
internal ref struct PredictJson
{
    public const int MostStrokes = 256, MostPoints = 20_000;

    private readonly ReadOnlySpan<byte> _body;
    private readonly List<int> _indices;
    private Utf8JsonReader _json;
    private string _name = "";
    private string? _wrong;

    private PredictJson(ReadOnlySpan<byte> body)
    {
        _body = body;
        _indices = [];
        _json = new Utf8JsonReader(body);
    }

    /// <summary>The reader's position, as a JSON path.</summary>
    private readonly string Path => $"{_name}{string.Concat(_indices.Select(index => $"[{index}]"))}";

    /// <exception cref="InputException">It is not such JSON, or contains no valid digits.</exception>
    public static PredictBody Read(ReadOnlySpan<byte> body)
    {
        PredictJson reader = new(body.StartsWith(Encoding.UTF8.Preamble) ? body[Encoding.UTF8.Preamble.Length..] : body);
        try
        {
            return reader.Read();
        }
        catch (JsonException e)
        {
            string path = reader._name.Length > 0 ? "$." + reader.Path : "$";
            throw new InputException(
                $"the JSON is not understood at {path}, line {e.LineNumber + 1}, byte {e.BytePositionInLine}; see /openapi.json", e);
        }
    }

    private PredictBody Read()
    {
        PredictBody? body = null;
        int given = 0;
        _json.Read();
        if (_json.TokenType != JsonTokenType.Null)
        {
            Expect(JsonTokenType.StartObject);
            while (Next() != JsonTokenType.EndObject)
            {
                _name = Encoding.UTF8.GetString(_json.ValueSpan[..Math.Min(40, _json.ValueSpan.Length)]);
                if (_name is not ("pixels" or "images" or "strokes"))
                {
                    throw NotUnderstood();
                }

                if (Next() != JsonTokenType.Null)
                {
                    given++;
                    body = _name switch { "pixels" => ReadPixels(), "images" => ReadImages(), _ => ReadStrokes() };
                }
            }
        }

        _name = "";
        _json.Read(); // throws if anything follows
        return given == 1
            ? body ?? throw new InputException(_wrong!)
            : throw new InputException("expected exactly one of pixels, images and strokes; see /openapi.json");
    }

    private PredictBody? ReadPixels()
    {
        byte[] pixels = new byte[DigitDataset.PixelCount];
        ReadDigit(pixels);
        return _wrong is null ? new PredictBody(pixels, [false]) : null;
    }

    private PredictBody? ReadImages()
    {
        byte[] pixels = new byte[DigitDataset.PixelCount];
        int count = 0;
        Expect(JsonTokenType.StartArray);
        for (_indices.Add(0); Next() != JsonTokenType.EndArray; _indices[^1] = ++count)
        {
            int start = Math.Min(count, PredictBody.MostDigits - 1) * DigitDataset.PixelCount;
            if (start == pixels.Length)
            {
                Array.Resize(ref pixels, 2 * pixels.Length);
            }

            ReadDigit(pixels.AsSpan(start, DigitDataset.PixelCount));
        }

        _indices.Clear();
        PredictBody.CheckCount(count);
        Array.Resize(ref pixels, count * DigitDataset.PixelCount);
        return _wrong is null ? new PredictBody(pixels, new bool[count]) : null;
    }

    private void ReadDigit(Span<byte> pixels)
    {
        string? wrong = null;
        int count = 0;
        if (_json.TokenType != JsonTokenType.Null)
        {
            Expect(JsonTokenType.StartArray);
            for (_indices.Add(0); Next() != JsonTokenType.EndArray; _indices[^1] = ++count)
            {
                if (_json.TokenType != JsonTokenType.Number || !_json.TryGetInt32(out int value))
                {
                    throw NotUnderstood();
                }

                if (value is < 0 or > 255)
                {
                    wrong ??= $"{Path} is {value}, expected 0 (paper) to 255 (ink)";
                }
                else if (count < pixels.Length)
                {
                    pixels[count] = (byte)value;
                }
            }

            _indices.RemoveAt(_indices.Count - 1);
        }

        _wrong ??= count == pixels.Length ? wrong : $"{Path} has {count} values, expected 784: 28 rows of 28";
    }

    private PredictBody? ReadStrokes()
    {
        List<Vector2[]> strokes = [];
        int count = 0, points = 0;
        Expect(JsonTokenType.StartArray);
        for (_indices.Add(0); Next() != JsonTokenType.EndArray; _indices[^1] = ++count)
        {
            if (_json.TokenType == JsonTokenType.Null)
            {
                _wrong ??= $"{Path} is null, expected points [x, y]";
                continue;
            }

            List<Vector2> stroke = [];
            Expect(JsonTokenType.StartArray);
            for (_indices.Add(0); Next() != JsonTokenType.EndArray; _indices[^1]++, points++)
            {
                if (ReadPoint() is not { } point)
                {
                    _wrong ??= $"{Path} is no point [x, y] with coordinates up to a million";
                }
                else if (points < MostPoints)
                {
                    stroke.Add(point);
                }
            }

            _indices.RemoveAt(1);
            if (strokes.Count < MostStrokes)
            {
                strokes.Add([.. stroke]);
            }
        }

        _indices.Clear();
        if (count > MostStrokes || points is 0 or > MostPoints)
        {
            _wrong = $"strokes has {count} strokes of {points} points in all; "
                + $"expected 1 to {MostStrokes} strokes of 1 to {MostPoints} points";
        }

        if (_wrong is not null)
        {
            return null;
        }

        byte[] image = new byte[DigitDataset.PixelCount];
        DigitPicture.Draw(strokes, image);
        return new PredictBody(image, [true]);
    }

    private Vector2? ReadPoint()
    {
        if (_json.TokenType == JsonTokenType.Null)
        {
            return null;
        }

        Vector2 point = default;
        int count = 0;
        Expect(JsonTokenType.StartArray);
        for (; Next() != JsonTokenType.EndArray; count++)
        {
            if (_json.TokenType != JsonTokenType.Number || !_json.TryGetSingle(out float value))
            {
                throw NotUnderstood();
            }

            if (count < 2)
            {
                point[count] = value;
            }
        }

        return count == 2 && Math.Abs(point.X) <= 1e6f && Math.Abs(point.Y) <= 1e6f ? point : null;
    }

    private JsonTokenType Next()
    {
        _json.Read();
        return _json.TokenType;
    }

    private readonly void Expect(JsonTokenType type)
    {
        if (_json.TokenType != type)
        {
            throw NotUnderstood();
        }
    }

    private readonly JsonException NotUnderstood()
    {
        ReadOnlySpan<byte> before = _body[..(int)_json.TokenStartIndex];
        return new JsonException(null, null, before.Count((byte)'\n'), before.Length - before.LastIndexOf((byte)'\n') - 1);
    }
}
