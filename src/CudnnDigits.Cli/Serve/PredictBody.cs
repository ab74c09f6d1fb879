using System.Buffers;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Extensions;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;
using static Microsoft.AspNetCore.Http.StatusCodes;

namespace CudnnDigits.Cli.Serve;

/// <summary>The prediction for one digit.</summary>
internal sealed record DigitAnswer(int Digit, float Probability, float[] Probabilities, bool Normalized, int[]? Image);

/// <summary>Answer of <c>POST /predict</c>, in the order of the digits.</summary>
internal sealed record PredictAnswer(DigitAnswer[] Predictions);

/// <summary>Answer of <c>GET /health</c>.</summary>
internal sealed record HealthAnswer(string Status, string Model, string Weights, string Device, long Digits, long Passes);

/// <summary>Problem details of RFC 9457.</summary>
internal sealed record Problem(string Title, int Status, string Detail);

/// <summary>A request that is refused, with the status and the message for the client.</summary>
internal sealed class BadRequestException(int status, string message) : Exception(message)
{
    public int Status { get; } = status;
}

/// <summary>The digits of a request.</summary>
internal sealed record PredictBody(byte[] Pixels, bool[] Normalized)
{
    public const int MostDigits = 1024;

    /// <summary>A picture of up to this size takes half a millisecond and little memory to decode.</summary>
    private const int SmallPixels = 1 << 16;

    /// <summary>Limits how many large pictures are decoded at once.</summary>
    private static readonly SemaphoreSlim Unpacking = new(Environment.ProcessorCount);

    /// <summary>Reads the body of a request: JSON, a picture, or a form with pictures.</summary>
    public static async Task<PredictBody> Read(HttpRequest request, Peer peer)
    {
        string type = request.ContentType?.Split(';')[0].Trim().ToLowerInvariant() ?? "";
        if (type is not ("application/json" or "multipart/form-data") && !type.StartsWith("image/", StringComparison.Ordinal))
        {
            throw new BadRequestException(
                Status415UnsupportedMediaType,
                $"Content-Type {(type.Length == 0 ? "is missing" : $"is {type}")}; "
                + "expected image/png, image/jpeg, application/json or multipart/form-data with PNG or JPEG files");
        }

        string coding = request.Headers.ContentEncoding.ToString();
        if (coding.Length > 0 && !coding.Equals("identity", StringComparison.OrdinalIgnoreCase))
        {
            throw new BadRequestException(Status415UnsupportedMediaType, $"Content-Encoding is {coding}; expected none");
        }

        ArraySegment<byte> body = await ReadAll(request, peer);
        try
        {
            return type switch
            {
                _ when body.Count == 0 => throw new InputException("the body is empty"),
                "application/json" => PredictJson.Read(body),
                "multipart/form-data" => await FromPictures(await Files(body, request.GetMultipartBoundary()), peer),
                _ => await FromPictures([body], peer),
            };
        }
        catch (InputException e)
        {
            throw new BadRequestException(Status400BadRequest, e.Message);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(body.Array!);
        }
    }

    public static void CheckCount(int count)
    {
        if (count is 0 or > MostDigits)
        {
            throw new InputException($"{count} digits; expected 1 to {MostDigits} in a request");
        }
    }

    /// <summary>The files of a form (RFC 7578), up to one more than <see cref="MostDigits"/>; other fields are skipped.</summary>
    private static async Task<List<ArraySegment<byte>>> Files(ArraySegment<byte> body, string boundary)
    {
        const int MostBoundary = 128;
        if (boundary.Length is 0 or > MostBoundary)
        {
            throw new InputException($"the form is damaged: Content-Type names no boundary of 1 to {MostBoundary} characters");
        }

        List<ArraySegment<byte>> files = [];
        MultipartReader reader = new(boundary, new MemoryStream(body.Array!, body.Offset, body.Count));
        for (int part = 1; files.Count <= MostDigits; part++)
        {
            try
            {
                if (await reader.ReadNextSectionAsync() is not { } section)
                {
                    break;
                }

                bool isFile = section.GetContentDispositionHeader() is { } disposition ? disposition.IsFileDisposition()
                    : throw new InputException($"the form is damaged: part {part} has no Content-Disposition");
                await section.Body.CopyToAsync(Stream.Null);
                if (isFile)
                {
                    files.Add(body.Slice((int)section.BaseStreamOffset!, (int)section.Body.Length));
                }
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                throw new InputException($"the form is damaged: part {part} is cut off, or its headers are not valid", e);
            }
        }

        return files;
    }

    private static async Task<PredictBody> FromPictures(List<ArraySegment<byte>> files, Peer peer)
    {
        CheckCount(files.Count);
        (int Pixels, long Memory)[] claims = [.. files.Select(file => PictureFile.Claim(file))];
        long size = claims.Sum(claim => (long)claim.Pixels);
        if (size > peer.Limits.Pixels)
        {
            throw new InputException($"pictures of {size:N0} pixels together; expected at most {peer.Limits.Pixels:N0} in a request");
        }

        long until = Environment.TickCount64 + (long)peer.Limits.Body.TotalMilliseconds;
        byte[] pixels = new byte[files.Count * DigitDataset.PixelCount];
        bool[] normalized = new bool[files.Count];
        for (int i = 0; i < files.Count; i++)
        {
            // A turn for each picture: a request of a thousand does not block others, and a small picture does not wait for a large one.
            (SemaphoreSlim? turns, long memory) = claims[i].Pixels <= SmallPixels ? (null, 0) : (Unpacking, claims[i].Memory);
            await peer.WaitForTurn(turns, until);
            try
            {
                await peer.Take(memory);
                normalized[i] = PictureFile.Read(files[i], pixels.AsSpan(i * DigitDataset.PixelCount, DigitDataset.PixelCount));
            }
            catch (InputException e) when (files.Count > 1)
            {
                throw new InputException($"file {i + 1} of {files.Count}: {e.Message}", e);
            }
            finally
            {
                peer.GiveBack(memory);
                turns?.Release();
            }
        }

        return new PredictBody(pixels, normalized);
    }

    /// <summary>Reads the body into an array of the pool, which the caller returns.</summary>
    private static async Task<ArraySegment<byte>> ReadAll(HttpRequest request, Peer peer)
    {
        if (request.ContentLength > DigitServer.MostBodyBytes)
        {
            throw DigitServer.TooLarge();
        }

        int length = 0, expected = (int)(request.ContentLength ?? 4096);
        await peer.Take(expected);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(expected);
        peer.ReadsBody = true;
        try
        {
            while (await request.Body.ReadAsync(buffer.AsMemory(length)) is > 0 and int read)
            {
                length += read;
                if (length > DigitServer.MostBodyBytes)
                {
                    throw DigitServer.TooLarge();
                }

                if (length == buffer.Length)
                {
                    await peer.Take(length);
                    byte[] larger = ArrayPool<byte>.Shared.Rent(2 * length);
                    buffer.CopyTo(larger, 0);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = larger;
                }
            }
        }
        catch (Exception e)
        {
            ArrayPool<byte>.Shared.Return(buffer);
            if (e is BadHttpRequestException or BadRequestException or OperationCanceledException)
            {
                throw;
            }

            // Kestrel throws several kinds for damaged chunks.
            string what = e is InvalidOperationException ? "what follows its chunks is not what HTTP says" : e.Message.TrimEnd('.');
            throw new BadHttpRequestException($"the body is damaged: {what}", e);
        }
        finally
        {
            peer.ReadsBody = false;
        }

        peer.StopClock();
        peer.HasReadAll = true;
        return new(buffer, 0, length);
    }
}

/// <summary>JSON that the server reads and writes, in snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, AllowDuplicateProperties = false,
    Converters = [typeof(PredictJson.PixelsConverter), typeof(PredictJson.PointConverter)])]
[JsonSerializable(typeof(PredictJson))]
[JsonSerializable(typeof(PredictAnswer))]
[JsonSerializable(typeof(HealthAnswer))]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ServeJson : JsonSerializerContext;
