using System.Text.Json.Serialization;
using CudnnDigits.Data;
using Microsoft.AspNetCore.Http;

namespace CudnnDigits.Cli.Serve;

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
    public const int MostDigits = 1024;

    /// <summary>Pictures that are unpacked at once: each takes many times its file's size for a moment.</summary>
    private static readonly SemaphoreSlim Unpacking = new(Environment.ProcessorCount);

    /// <summary>Reads JSON, a PNG, or several PNGs as a form.</summary>
    /// <param name="request">Whose body is read.</param>
    /// <param name="peer">Which takes the memory.</param>
    /// <exception cref="BadRequestException">It is something else, or wrong, or there is no memory for it.</exception>
    public static async Task<PredictBody> Read(HttpRequest request, Peer peer)
    {
        string type = request.ContentType?.Split(';')[0].Trim().ToLowerInvariant() ?? "";
        if (type is not ("application/json" or "image/png" or "multipart/form-data"))
        {
            throw new BadRequestException(StatusCodes.Status415UnsupportedMediaType, $"Content-Type {(type.Length == 0 ? "is missing" : $"is {type}")}; expected image/png, application/json or multipart/form-data with PNG files");
        }

        if (request.Headers.ContentEncoding.ToString() is { Length: > 0 } coding && !coding.Equals("identity", StringComparison.OrdinalIgnoreCase))
        {
            throw new BadRequestException(StatusCodes.Status415UnsupportedMediaType, $"Content-Encoding is {coding}; expected none");
        }

        ReadOnlyMemory<byte> body = await ReadAll(request, peer);
        try
        {
            return type switch
            {
                "application/json" => PredictJson.Read(body.Span),
                "image/png" => await FromPngs(body, [Range.All]),
                _ => await FromPngs(body, PngForm.Files(body.Span, request.ContentType!)),
            };
        }
        catch (InputException e)
        {
            throw new BadRequestException(StatusCodes.Status400BadRequest, e.Message);
        }
    }

    /// <exception cref="InputException">There are none, or too many.</exception>
    public static void CheckCount(int count)
    {
        if (count is 0 or > MostDigits)
        {
            throw new InputException($"{count} digits; expected 1 to {MostDigits} in a request");
        }
    }

    private static async Task<PredictBody> FromPngs(ReadOnlyMemory<byte> body, IReadOnlyList<Range> files)
    {
        CheckCount(files.Count);
        byte[] pixels = new byte[files.Count * DigitDataset.PixelCount];
        bool[] made = new bool[files.Count];
        for (int i = 0; i < files.Count; i++)
        {
            await Unpacking.WaitAsync(); // for each anew: a request of a thousand does not keep others waiting
            try
            {
                made[i] = PngPicture.Read(body[files[i]].ToArray(), pixels.AsSpan(i * DigitDataset.PixelCount, DigitDataset.PixelCount));
            }
            catch (InputException e) when (files.Count > 1)
            {
                throw new InputException($"file {i + 1} of {files.Count}: {e.Message}", e);
            }
            finally
            {
                Unpacking.Release();
            }
        }

        return new PredictBody(pixels, made);
    }

    private static async Task<ReadOnlyMemory<byte>> ReadAll(HttpRequest request, Peer peer)
    {
        int expected = (int)Math.Min(request.ContentLength ?? 4096, DigitServer.MostBodyBytes + 1); // one too many is Kestrel's to refuse
        await peer.Take(expected);
        byte[] body = GC.AllocateUninitializedArray<byte>(expected);
        int length = 0;
        peer.ReadsBody = true;
        try
        {
            while (await request.Body.ReadAsync(body.AsMemory(length)) is > 0 and int read)
            {
                length += read;
                if (length == body.Length && length <= DigitServer.MostBodyBytes && request.ContentLength is null)
                {
                    await peer.Take(length);
                    Array.Resize(ref body, 2 * length);
                }
            }
        }
        catch (Exception e) when (e is not (BadHttpRequestException or BadRequestException or OperationCanceledException)) // Kestrel has several for chunks
        {
            throw new BadHttpRequestException($"the body is damaged: {e.Message.TrimEnd('.')}", e);
        }
        finally
        {
            peer.ReadsBody = false;
        }

        peer.StopClock();
        peer.HasReadAll = true;
        return length > 0 ? body.AsMemory(0, length) : throw new BadRequestException(StatusCodes.Status400BadRequest, "the body is empty");
    }
}

/// <summary>JSON that the server writes, in snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(PredictAnswer))]
[JsonSerializable(typeof(HealthAnswer))]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ServeJson : JsonSerializerContext;
