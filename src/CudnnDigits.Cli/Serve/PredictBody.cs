using System.Buffers;
using System.Text.Json.Serialization;
using CudnnDigits.Data;
using Microsoft.AspNetCore.Http;

namespace CudnnDigits.Cli.Serve;

/// <summary>The prediction for one digit.</summary>
/// <param name="Normalized">Whether the server fitted and centred the digit as MNIST's digits are; otherwise it was used as it is.</param>
/// <param name="Image">(28·28) the network's input, if the digit was normalized.</param>
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
/// <param name="Pixels">(N, 28, 28) uint8.</param>
/// <param name="Normalized">Whether the server fitted and centred each digit.</param>
internal sealed record PredictBody(byte[] Pixels, bool[] Normalized)
{
    public const int MostDigits = 1024;

    /// <summary>A picture of up to this size takes half a millisecond and little memory to decode.</summary>
    private const int SmallPixels = 1 << 16;

    /// <summary>Limits how many large pictures are decoded at once.</summary>
    private static readonly SemaphoreSlim Unpacking = new(Environment.ProcessorCount);

    /// <summary>Reads the body of a request: JSON, a picture, or a form with pictures.</summary>
    /// <exception cref="BadRequestException">The body is something else, or not valid, or there is not enough memory.</exception>
    public static async Task<PredictBody> Read(HttpRequest request, Peer peer)
    {
        string type = request.ContentType?.Split(';')[0].Trim().ToLowerInvariant() ?? "";
        if (type is not ("application/json" or "multipart/form-data") && !type.StartsWith("image/", StringComparison.Ordinal))
        {
            throw new BadRequestException(
                StatusCodes.Status415UnsupportedMediaType,
                $"Content-Type {(type.Length == 0 ? "is missing" : $"is {type}")}; "
                + "expected image/png, image/jpeg, application/json or multipart/form-data with PNG or JPEG files");
        }

        string coding = request.Headers.ContentEncoding.ToString();
        if (coding.Length > 0 && !coding.Equals("identity", StringComparison.OrdinalIgnoreCase))
        {
            throw new BadRequestException(StatusCodes.Status415UnsupportedMediaType, $"Content-Encoding is {coding}; expected none");
        }

        (byte[] buffer, int length) = await ReadAll(request, peer);
        ReadOnlyMemory<byte> body = buffer.AsMemory(0, length);
        try
        {
            return type switch
            {
                _ when body.IsEmpty => throw new InputException("the body is empty"),
                "application/json" => PredictJson.Read(body.Span),
                "multipart/form-data" => await FromPictures(body, PngForm.Files(body.Span, request.ContentType!), peer),
                _ => await FromPictures(body, [Range.All], peer),
            };
        }
        catch (InputException e)
        {
            throw new BadRequestException(StatusCodes.Status400BadRequest, e.Message);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
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

    private static async Task<PredictBody> FromPictures(ReadOnlyMemory<byte> body, List<Range> files, Peer peer)
    {
        CheckCount(files.Count);
        long size = files.Sum(file => PictureFile.Pixels(body.Span[file]));
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
            bool small = PictureFile.Pixels(body.Span[files[i]]) <= SmallPixels;
            SemaphoreSlim? turns = small ? null : Unpacking;
            long memory = small ? 0 : PictureFile.Memory(body.Span[files[i]]);
            await peer.WaitForTurn(turns, until);
            try
            {
                await peer.Take(memory);
                normalized[i] = PictureFile.Read(body.Span[files[i]], pixels.AsSpan(i * DigitDataset.PixelCount, DigitDataset.PixelCount));
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

    /// <returns>A buffer of the pool, and the length of the body in it.</returns>
    private static async Task<(byte[] Buffer, int Length)> ReadAll(HttpRequest request, Peer peer)
    {
        if (request.ContentLength > DigitServer.MostBodyBytes)
        {
            throw DigitServer.TooLarge();
        }

        int expected = (int)(request.ContentLength ?? 4096);
        await peer.Take(expected);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(expected);
        int length = 0;
        bool whole = false;
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

            whole = true;
        }
        catch (Exception e) when (e is not (BadHttpRequestException or BadRequestException or OperationCanceledException))
        {
            // Kestrel throws several kinds for damaged chunks.
            string what = e is InvalidOperationException ? "what follows its chunks is not what HTTP says" : e.Message.TrimEnd('.');
            throw new BadHttpRequestException($"the body is damaged: {what}", e);
        }
        finally
        {
            peer.ReadsBody = false;
            if (!whole)
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }

        peer.StopClock();
        peer.HasReadAll = true;
        return (buffer, length);
    }
}

/// <summary>JSON that the server writes, in snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(PredictAnswer))]
[JsonSerializable(typeof(HealthAnswer))]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ServeJson : JsonSerializerContext;
