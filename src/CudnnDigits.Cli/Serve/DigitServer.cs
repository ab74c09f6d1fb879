using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using CudnnDigits.Cli.Report;
using CudnnDigits.Data;
using CudnnDigits.Training;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace CudnnDigits.Cli.Serve;

/// <summary>The web server of <c>serve</c>: a page to draw on, predictions, their description, health. Listens on 127.0.0.1 only.</summary>
internal static class DigitServer
{
    /// <summary>Largest body, connections at once, and seconds that requests have to end when the server stops.</summary>
    public const int MostBodyBytes = 4 << 20, MostConnections = 1024, StopSeconds = 5;

    private const string PagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    /// <summary>Builds the server, ready to be started.</summary>
    /// <param name="port">Port, or 0 for any that is free.</param>
    /// <param name="batcher">Predicts.</param>
    /// <param name="health">What it says of itself.</param>
    public static WebApplication Build(int port, Batcher batcher, Func<HealthAnswer> health)
    {
        // Empty: no settings from files or variables that happen to lie about, no log but what is written here.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.AddServerHeader = false;
            options.Limits.MaxRequestBodySize = MostBodyBytes;
            options.Limits.MaxConcurrentConnections = MostConnections;
            options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
            options.Listen(IPAddress.Loopback, port);
        });
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(StopSeconds));

        WebApplication app = builder.Build();
        app.Use(AnswerErrors);
        string page = Html.Resource("draw.html").Replace("/*colors*/", Html.Resource("colors.css"), StringComparison.Ordinal);
        app.MapGet("/", (RequestDelegate)(context => WriteText(context, "text/html", page)));
        app.MapGet("/openapi.json", (RequestDelegate)(context => WriteText(context, "application/json", Html.Resource("openapi.json"))));
        app.MapGet("/health", (RequestDelegate)(context => Write(context, 200, health(), ServeJson.Default.HealthAnswer)));
        app.MapPost("/predict", (RequestDelegate)(context => Predict(context, batcher)));
        return app;
    }

    private static async Task Predict(HttpContext context, Batcher batcher)
    {
        PredictBody body = await PredictBody.Read(context.Request);
        Task<float[]> prediction = batcher.Predict(body.Pixels)
            ?? throw new BadRequestException(StatusCodes.Status503ServiceUnavailable, $"more than {Batcher.MostWaiting} digits are waiting; try again in a moment");
        float[] probabilities = await prediction.WaitAsync(context.RequestAborted);
        DigitAnswer[] answers = new DigitAnswer[body.Made.Length];
        for (int i = 0; i < answers.Length; i++)
        {
            float[] own = probabilities[(i * DigitDataset.Classes)..((i + 1) * DigitDataset.Classes)];
            int digit = Prediction.Best(own);
            int[]? image = body.Made[i] ? [.. body.Pixels.Skip(i * DigitDataset.PixelCount).Take(DigitDataset.PixelCount).Select(pixel => (int)pixel)] : null;
            answers[i] = new DigitAnswer(digit, own[digit], own, image);
        }

        await Write(context, 200, new PredictAnswer(answers), ServeJson.Default.PredictAnswer);
    }

    /// <summary>Every error becomes a problem of RFC 9457, whether it was thrown or is just a status without a body.</summary>
    private static async Task AnswerErrors(HttpContext context, RequestDelegate next)
    {
        try
        {
            // A name that a stranger's page had made to point here would let that page read the answers.
            if (context.Request.Host.Host is not ("localhost" or "127.0.0.1" or "[::1]"))
            {
                throw new BadRequestException(StatusCodes.Status400BadRequest, $"the host {context.Request.Host} is not answered for; use 127.0.0.1 or localhost");
            }

            await next(context);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentLength: null })
            {
                string detail = context.Response.StatusCode switch
                {
                    StatusCodes.Status404NotFound => $"there is nothing at {context.Request.Path}; see / and /openapi.json",
                    StatusCodes.Status405MethodNotAllowed => $"{context.Request.Method} is not for {context.Request.Path}; expected {context.Response.Headers.Allow}",
                    _ => "",
                };
                await WriteProblem(context, context.Response.StatusCode, detail);
            }
        }
        catch (BadRequestException e)
        {
            await WriteProblem(context, e.Status, e.Message);
        }
        catch (BadHttpRequestException e)
        {
            await WriteProblem(context, e.StatusCode, e.StatusCode == StatusCodes.Status413PayloadTooLarge ? $"the body is larger than {MostBodyBytes >> 20} MiB" : e.Message);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody is there any more to be told.
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            await Console.Error.WriteLineAsync($"cudnn-digits: error: {context.Request.Method} {context.Request.Path}: {e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}");
            await WriteProblem(context, StatusCodes.Status500InternalServerError, "an error in the server itself; its terminal says more");
        }
    }

    private static Task WriteProblem(HttpContext context, int status, string detail)
    {
        if (context.Response.HasStarted)
        {
            context.Abort();
            return Task.CompletedTask;
        }

        if (status == StatusCodes.Status503ServiceUnavailable)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        return Write(context, status, new Problem(ReasonPhrases.GetReasonPhrase(status), status, detail), ServeJson.Default.Problem, "application/problem+json");
    }

    private static Task Write<T>(HttpContext context, int status, T value, JsonTypeInfo<T> type, string contentType = "application/json")
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(value, type);
        (context.Response.StatusCode, context.Response.ContentType, context.Response.ContentLength) = (status, contentType, json.Length);
        return context.Response.Body.WriteAsync(json).AsTask();
    }

    private static Task WriteText(HttpContext context, string type, string text)
    {
        context.Response.ContentType = type + "; charset=utf-8";
        context.Response.Headers.ContentSecurityPolicy = PagePolicy;
        context.Response.Headers.XContentTypeOptions = "nosniff";
        context.Response.Headers.CacheControl = "no-cache";
        return context.Response.WriteAsync(text);
    }
}
