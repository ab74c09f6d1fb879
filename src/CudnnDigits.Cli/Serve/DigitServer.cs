using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json.Serialization.Metadata;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cuda;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using static Microsoft.AspNetCore.Http.StatusCodes;
using HttpProtocols = Microsoft.AspNetCore.Server.Kestrel.Core.HttpProtocols;

namespace CudnnDigits.Cli.Serve;

/// <summary>The web server of <c>serve</c>: a page to draw on, predictions, their OpenAPI description, and health.</summary>
internal static class DigitServer
{
    public const int MostBodyBytes = 4 << 20;

    /// <summary>The content security policy of all answers except the page: a browser that shows one runs and loads nothing.</summary>
    private const string NoPage = "default-src 'none'; frame-ancestors 'none'";

    private const string ProblemType = "application/problem+json", Rejected = "Microsoft.AspNetCore.Server.Kestrel.BadRequest";

    /// <summary>Builds the server, ready to be started. It closes the listening socket when it stops.</summary>
    public static WebApplication Build(Socket listener, Batcher batcher, Func<HealthAnswer> health, Limits limits)
    {
        // Empty: no settings from files or environment variables, and no log except what is written here.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.AddServerHeader = false;
            options.Limits.MaxRequestBodySize = MostBodyBytes + (1 << 20); // it also counts the framing of chunks
            options.Limits.RequestHeadersTimeout = limits.Headers;
            options.Limits.KeepAliveTimeout = limits.Idle;
            (options.Limits.MinRequestBodyDataRate, options.Limits.MinResponseDataRate) = (null, null); // Peer has deadlines instead
            options.Listen(listener.LocalEndPoint!, listen =>
            {
                listen.Protocols = HttpProtocols.Http1;
                listen.Use(next => connection =>
                {
                    // Kestrel's own feature would close the connection at a stop before it has read what has arrived.
                    connection.Features.Set<IConnectionLifetimeNotificationFeature>((Peer)connection);
                    return next(connection);
                });
            });
        });
        builder.Services.AddSingleton<IConnectionListenerFactory>(new Peers(listener, limits));
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = limits.Stop + TimeSpan.FromSeconds(3));

        WebApplication app = builder.Build();
        app.Services.GetRequiredService<DiagnosticListener>().Subscribe(new RejectedRequests(), name => name == Rejected);
        app.Use(Answer);
        string page = Html.Resource("draw.html").Replace("/*colors*/", Html.Resource("colors.css"), StringComparison.Ordinal);
        string policy = PagePolicy(page);
        MapGet("/", context => WriteText(context, "text/html", page, policy));
        string networks = string.Join("\", \"", DigitNetworks.Names);
        string description = Html.Resource("openapi.json").Replace("{networks}", networks, StringComparison.Ordinal);
        MapGet("/openapi.json", context => WriteText(context, "application/json", description));
        MapGet("/health", context => Write(context, 200, health(), ServeJson.Default.HealthAnswer));
        app.MapPost("/predict", (RequestDelegate)(context => Predict(context, batcher)));
        return app;

        void MapGet(string path, RequestDelegate answer) => app.MapMethods(path, [HttpMethods.Get, HttpMethods.Head], answer);
    }

    /// <summary>A complete HTTP response with an error, for connections on which Kestrel does not write one.</summary>
    public static byte[] RawProblem(int status, string detail, bool withBody)
    {
        string reason = ReasonPhrases.GetReasonPhrase(status);
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(new Problem(reason, status, detail), ServeJson.Default.Problem);
        string retry = status == Status503ServiceUnavailable ? "Retry-After: 1\r\n" : "";
        string head = $"HTTP/1.1 {status} {reason}\r\nContent-Length: {json.Length}\r\nContent-Type: {ProblemType}\r\n"
            + $"Connection: close\r\nDate: {DateTime.UtcNow:R}\r\nX-Content-Type-Options: nosniff\r\n"
            + $"Content-Security-Policy: {NoPage}\r\n{retry}\r\n";
        return [.. Encoding.ASCII.GetBytes(head), .. withBody ? json : []];
    }

    public static BadHttpRequestException TooLarge() => new($"the body is larger than {MostBodyBytes >> 20} MiB", Status413PayloadTooLarge);

    private static async Task Predict(HttpContext context, Batcher batcher)
    {
        Peer peer = context.Features.GetRequiredFeature<Peer>();
        PredictBody body = await PredictBody.Read(context.Request, peer);
        await peer.Take(body.Normalized.Sum(normalized => normalized ? 12L << 10 : 1L << 10)); // pixels and answer, as objects and text
        Task<float[]> prediction = batcher.Predict(body.Pixels) ?? throw new BadRequestException(
            Status503ServiceUnavailable, $"more than {Batcher.MostWaiting} digits are waiting; try again in a moment");
        float[] probabilities = await prediction.WaitAsync(context.RequestAborted);
        DigitAnswer[] answers = new DigitAnswer[body.Normalized.Length];
        for (int i = 0; i < answers.Length; i++)
        {
            float[] own = probabilities[(i * DigitDataset.Classes)..((i + 1) * DigitDataset.Classes)];
            int digit = Prediction.Best(own);
            ArraySegment<byte> pixels = new(body.Pixels, i * DigitDataset.PixelCount, DigitDataset.PixelCount);
            int[]? image = body.Normalized[i] ? [.. pixels] : null;
            answers[i] = new DigitAnswer(digit, own[digit], own, body.Normalized[i], image);
        }

        await Write(context, 200, new PredictAnswer(answers), ServeJson.Default.PredictAnswer);
    }

    /// <summary>Turns every error into problem details (RFC 9457), both exceptions and statuses without a body.</summary>
    private static async Task Answer(HttpContext context, RequestDelegate next)
    {
        Peer peer = context.Features.GetRequiredFeature<Peer>();
        peer.StartClock();
        peer.HasReadAll = context.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: false };
        context.Response.Headers.XContentTypeOptions = "nosniff";
        context.Response.Headers.ContentSecurityPolicy = NoPage;
        try
        {
            CheckSender(context.Request);
            CheckFraming(context.Request);
            await next(context);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentLength: null })
            {
                PathString path = context.Request.Path;
                string detail = context.Response.StatusCode switch
                {
                    Status404NotFound => $"there is nothing at {path}; see / and /openapi.json",
                    Status405MethodNotAllowed =>
                        $"{context.Request.Method} is not for {(path.HasValue ? path : "*")}; expected {context.Response.Headers.Allow}",
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
            (int status, string detail) = Explain(e, peer);
            context.Response.Headers.Connection = "close";
            await WriteProblem(context, status, detail);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client has gone.
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            if (e is not CudaException) // that one ends the server, which says so
            {
                string request = $"{context.Request.Method} {context.Request.Path}", message = e.Message.ReplaceLineEndings(" ");
                await Console.Error.WriteLineAsync($"cudnn-digits: error: {request}: {e.GetType().Name}: {message}");
            }

            await WriteProblem(context, Status500InternalServerError, "an error in the server itself; its terminal says more");
        }
        finally
        {
            peer.EndRequest();
        }
    }

    /// <summary>Refuses requests of other sites' pages: under another host name (DNS rebinding), and cross-site posts.</summary>
    private static void CheckSender(HttpRequest request)
    {
        string host = request.Host.Host.ToLowerInvariant();
        if ((host.EndsWith('.') ? host[..^1] : host) is not ("localhost" or "127.0.0.1" or "[::1]"))
        {
            string what = host.Length == 0 ? "no host is named" : $"the host {request.Host.Value} is not accepted";
            throw new BadRequestException(Status400BadRequest, $"{what}; use 127.0.0.1 or localhost");
        }

        if (HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method))
        {
            return;
        }

        // Browsers send these headers, and pages cannot change them. Other programs send neither.
        string? site = request.Headers["Sec-Fetch-Site"], origin = request.Headers.Origin;
        string? other = site is not (null or "same-origin" or "none") ? $"Sec-Fetch-Site: {site}"
            : origin is null || (origin.Split("://") is ["http" or "https", string own]
                && own.Equals(request.Host.Value, StringComparison.OrdinalIgnoreCase)) ? null
            : $"Origin: {origin}";
        if (other is not null)
        {
            throw new BadRequestException(
                Status403Forbidden, $"a page of another site sent this ({other}); only the server's own page may");
        }
    }

    /// <summary>Refuses requests whose end is ambiguous: a proxy could see other requests in them (request smuggling).</summary>
    private static void CheckFraming(HttpRequest request)
    {
        string codings = request.Headers.TransferEncoding.ToString();
        bool isLengthGiven = request.ContentLength is not null || request.Headers.ContainsKey("X-Content-Length"); // Kestrel renames it
        string? wrong = codings.Length == 0 ? null
            : !codings.Equals("chunked", StringComparison.OrdinalIgnoreCase) ? $"Transfer-Encoding is {codings}; expected chunked"
            : request.Protocol == "HTTP/1.0" ? "Transfer-Encoding is given in HTTP/1.0; expected HTTP/1.1"
            : isLengthGiven ? "both Transfer-Encoding and Content-Length are given; expected one of them"
            : null;
        if (wrong is not null)
        {
            throw new BadHttpRequestException(wrong);
        }
    }

    /// <summary>Kestrel's message about a bad request, or a clearer one. A wrong version (505) becomes a client's error (400).</summary>
    private static (int Status, string Detail) Explain(BadHttpRequestException e, Peer peer) => e.StatusCode switch
    {
        _ when peer.Reason is { } reason => (reason.StatusCode, reason.Message),
        Status405MethodNotAllowed => (Status400BadRequest, "the method does not go with such a target"), // * and host:port
        Status413PayloadTooLarge => (e.StatusCode, TooLarge().Message),
        Status505HttpVersionNotsupported => (Status400BadRequest, "the version of HTTP is not understood; expected 1.1"),
        int status => (status, e.Message.TrimEnd('.')
            .Replace("Invalid Host header", "the Host header is not valid, or names another host than the target", StringComparison.Ordinal)
            .Replace(": ''", "", StringComparison.Ordinal)), // an empty quotation
    };

    private static Task WriteProblem(HttpContext context, int status, string detail)
    {
        if (context.Response.HasStarted)
        {
            context.Abort();
            return Task.CompletedTask;
        }

        if (status == Status503ServiceUnavailable)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        context.Features.GetRequiredFeature<Peer>().LingerAtTheEnd(); // the client may still be sending its body
        Problem problem = new(ReasonPhrases.GetReasonPhrase(status), status, detail);
        return Write(context, status, problem, ServeJson.Default.Problem, ProblemType);
    }

    private static Task Write<T>(
        HttpContext context, int status, T value, JsonTypeInfo<T> type, string contentType = "application/json") =>
        WriteBytes(context, status, contentType, JsonSerializer.SerializeToUtf8Bytes(value, type));

    private static Task WriteText(HttpContext context, string type, string text, string policy = NoPage)
    {
        context.Response.Headers.ContentSecurityPolicy = policy;
        context.Response.Headers.CacheControl = "no-cache";
        return WriteBytes(context, 200, type + "; charset=utf-8", Encoding.UTF8.GetBytes(text));
    }

    private static async Task WriteBytes(HttpContext context, int status, string contentType, byte[] bytes)
    {
        Peer peer = context.Features.GetRequiredFeature<Peer>();
        if (peer.IsLastAnswer)
        {
            context.Response.Headers.Connection = "close";
        }

        (context.Response.StatusCode, context.Response.ContentType, context.Response.ContentLength) = (status, contentType, bytes.Length);
        peer.StartClock();
        for (int at = 0; at < bytes.Length; at += 64 << 10) // in parts, because Kestrel copies what it sends
        {
            await context.Response.Body.WriteAsync(bytes.AsMemory(at, Math.Min(64 << 10, bytes.Length - at)));
        }
    }

    /// <summary>The page may use its own script and style, known by their hashes, and this server. It cannot be in a frame.</summary>
    private static string PagePolicy(string page) =>
        $"default-src 'none'; script-src {Hash(page, "script")}; style-src {Hash(page, "style")}; connect-src 'self'; img-src data:; "
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private static string Hash(string page, string element)
    {
        string content = page.Split($"<{element}>")[1].Split($"</{element}>")[0];
        return $"'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(content)))}'";
    }

    /// <summary>Kestrel answers malformed requests with a status only, but publishes what is wrong. That becomes the answer.</summary>
    private sealed class RejectedRequests : IObserver<KeyValuePair<string, object?>>
    {
        public void OnNext(KeyValuePair<string, object?> value)
        {
            if (value.Value is IFeatureCollection features && features.Get<Peer>() is { } peer
                && features.Get<IBadRequestExceptionFeature>()?.Error is BadHttpRequestException e
                && features.Get<IHttpResponseFeature>() is { HasStarted: false })
            {
                (int status, string detail) = Explain(e, peer);
                bool withBody = features.Get<IHttpRequestFeature>()?.Method != HttpMethods.Head;
                peer.Answer(RawProblem(status, detail, withBody));
            }
        }

        public void OnCompleted()
        {
        }

        public void OnError(Exception error)
        {
        }
    }
}
