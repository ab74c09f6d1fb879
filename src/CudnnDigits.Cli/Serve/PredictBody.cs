using System.Numerics;
using System.Text.Json;
using System.Text.Json.Serialization;
using CudnnDigits.Data;
using Microsoft.AspNetCore.Http;

namespace CudnnDigits.Cli.Serve;

/// <summary>Body of <c>POST /predict</c> as JSON: one of the three.</summary>
/// <param name="Pixels">One digit, (28·28), row by row, 0 = paper … 255 = ink.</param>
/// <param name="Images">Several such digits.</param>
/// <param name="Strokes">One digit as pen strokes, each a list of points [x, y] in any unit, y down.</param>
internal sealed record PredictJson(int[]? Pixels, int[][]? Images, float[][][]? Strokes);

/// <summary>What the network says of one digit.</summary>
/// <param name="Digit">0 … 9.</param>
/// <param name="Probability">Its probability.</param>
/// <param name="Probabilities">Those of all ten.</param>
/// <param name="Image">(28·28) what the network saw, where the server made it out of strokes or of a larger picture.</param>
internal sealed record DigitAnswer(int Digit, float Probability, float[] Probabilities, int[]? Image);

/// <summary>Answer of <c>POST /predict</c>, in the order of the digits.</summary>
internal sealed record PredictAnswer(DigitAnswer[] Predictions);

/// <summary>Answer of <c>GET /health</c>.</summary>
internal sealed record HealthAnswer(string Status, string Model, string Weights, string Device, long Digits, long Passes);

/// <summary>An error as RFC 9457 has it.</summary>
internal sealed record Problem(string Title, int Status, string Detail);

/// <summary>A request that is wrong: its status and what the client should know.</summary>
internal sealed class BadRequestException(int status, string message) : Exception(message)
{
    public int Status { get; } = status;
}

/// <summary>The digits of a request.</summary>
/// <param name="Pixels">(N, 28, 28) uint8.</param>
/// <param name="Made">Whether the server made each picture itself.</param>
internal sealed record PredictBody(byte[] Pixels, bool[] Made)
{
    public const int MostDigits = 1024, MostStrokes = 256, MostPoints = 20_000;

    /// <summary>Reads JSON, a PNG, or several PNGs as a form.</summary>
    /// <exception cref="BadRequestException">It is something else, or wrong.</exception>
    public static async Task<PredictBody> Read(HttpRequest request)
    {
        string type = request.ContentType?.Split(';')[0].Trim().ToLowerInvariant() ?? "";
        try
        {
            return type switch
            {
                "application/json" => FromJson(await ReadAll(request)),
                "image/png" => FromPngs([await ReadAll(request)]),
                "multipart/form-data" => FromPngs(await ReadFiles(request)),
                _ => throw new BadRequestException(StatusCodes.Status415UnsupportedMediaType, $"Content-Type {(type.Length == 0 ? "is missing" : $"is {type}")}; expected image/png, application/json or multipart/form-data with PNG files"),
            };
        }
        catch (InputException e)
        {
            throw new BadRequestException(StatusCodes.Status400BadRequest, e.Message);
        }
    }

    private static PredictBody FromJson(byte[] body)
    {
        PredictJson? json;
        try
        {
            json = JsonSerializer.Deserialize(body, ServeJson.Default.PredictJson);
        }
        catch (JsonException e)
        {
            throw new InputException($"the JSON is not understood at {e.Path ?? "$"}, line {e.LineNumber + 1}, byte {e.BytePositionInLine}; see /openapi.json", e);
        }

        return json switch
        {
            { Pixels: { } pixels, Images: null, Strokes: null } => FromPixels([pixels], _ => "pixels"),
            { Pixels: null, Images: { } images, Strokes: null } => FromPixels(images, i => $"images[{i}]"),
            { Pixels: null, Images: null, Strokes: { } strokes } => FromStrokes(strokes),
            _ => throw new InputException("expected exactly one of pixels, images and strokes; see /openapi.json"),
        };
    }

    private static PredictBody FromPixels(int[][] images, Func<int, string> name)
    {
        CheckCount(images.Length);
        byte[] pixels = new byte[images.Length * DigitDataset.PixelCount];
        for (int i = 0; i < images.Length; i++)
        {
            if (images[i] is not { Length: DigitDataset.PixelCount } image)
            {
                throw new InputException($"{name(i)} has {images[i]?.Length ?? 0} values, expected 784: 28 rows of 28");
            }

            for (int k = 0; k < image.Length; k++)
            {
                pixels[i * DigitDataset.PixelCount + k] = image[k] is >= 0 and <= 255
                    ? (byte)image[k]
                    : throw new InputException($"{name(i)}[{k}] is {image[k]}, expected 0 (paper) to 255 (ink)");
            }
        }

        return new PredictBody(pixels, new bool[images.Length]);
    }

    private static PredictBody FromStrokes(float[][][] strokes)
    {
        if (strokes.Length > MostStrokes || strokes.Sum(stroke => stroke?.Length ?? 0) is 0 or > MostPoints)
        {
            throw new InputException($"strokes has {strokes.Length} strokes of {strokes.Sum(stroke => stroke?.Length ?? 0)} points in all; expected 1 to {MostStrokes} strokes of 1 to {MostPoints} points");
        }

        List<Vector2[]> lines = [];
        for (int i = 0; i < strokes.Length; i++)
        {
            float[][] points = strokes[i] ?? throw new InputException($"strokes[{i}] is null, expected points [x, y]");
            lines.Add([.. points.Select((point, k) => point is [float x, float y] && Math.Abs(x) <= 1e6f && Math.Abs(y) <= 1e6f
                ? new Vector2(x, y)
                : throw new InputException($"strokes[{i}][{k}] is no point [x, y] with coordinates up to a million"))]);
        }

        byte[] image = new byte[DigitDataset.PixelCount];
        DigitPicture.Draw(lines, image);
        return new PredictBody(image, [true]);
    }

    private static PredictBody FromPngs(IReadOnlyList<byte[]> files)
    {
        CheckCount(files.Count);
        byte[] pixels = new byte[files.Count * DigitDataset.PixelCount];
        bool[] made = new bool[files.Count];
        for (int i = 0; i < files.Count; i++)
        {
            try
            {
                made[i] = PngPicture.Read(files[i], pixels.AsSpan(i * DigitDataset.PixelCount, DigitDataset.PixelCount));
            }
            catch (InputException e) when (files.Count > 1)
            {
                throw new InputException($"file {i + 1} of {files.Count}: {e.Message}", e);
            }
        }

        return new PredictBody(pixels, made);
    }

    private static void CheckCount(int count)
    {
        if (count is 0 or > MostDigits)
        {
            throw new InputException($"{count} digits; expected 1 to {MostDigits} in a request");
        }
    }

    private static async Task<byte[]> ReadAll(HttpRequest request)
    {
        using MemoryStream body = new((int)Math.Min(request.ContentLength ?? 4096, DigitServer.MostBodyBytes));
        await request.Body.CopyToAsync(body, request.HttpContext.RequestAborted);
        return body.Length == 0 ? throw new InputException("the body is empty") : body.ToArray();
    }

    private static async Task<IReadOnlyList<byte[]>> ReadFiles(HttpRequest request)
    {
        List<byte[]> files = [];
        try
        {
            IFormCollection form = await request.ReadFormAsync(request.HttpContext.RequestAborted);
            foreach (IFormFile file in form.Files)
            {
                using MemoryStream content = new();
                await file.CopyToAsync(content, request.HttpContext.RequestAborted);
                files.Add(content.ToArray());
            }
        }
        catch (Exception e) when (e is InvalidDataException || (e is IOException and not BadHttpRequestException))
        {
            throw new InputException("the form is damaged", e);
        }

        return files;
    }
}

/// <summary>JSON of the server, in snake_case, without reflection; a misspelt name is an error, not ignored.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(PredictJson))]
[JsonSerializable(typeof(PredictAnswer))]
[JsonSerializable(typeof(HealthAnswer))]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ServeJson : JsonSerializerContext;
