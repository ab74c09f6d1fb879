namespace CudnnDigits.Tests.Cli;

/// <summary>
/// The server's manners, byte for byte: what is wrong is answered with a sentence, whoever may ask is answered, others are not.
/// </summary>
public sealed class ServeProtocolTests(RunningServer server) : IClassFixture<RunningServer>
{
    private const string One = "{\"strokes\":[[[140,30],[138,250]]]}", Form = "multipart/form-data; boundary=x",
        Part = "--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static TheoryData<string, string, int, string> WrongRequests => new()
    {
        { "a version of HTTP that is none", "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400, "version of HTTP" },
        { "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "version of HTTP" },
        { "a request of 1990", "GET /\r\n\r\n", 400, "Invalid request line" },
        { "a TLS handshake", "\u0016\u0003\u0001\0\u00a5\u0001\0\0\u00a1\u0003\u0003" + new string('\0', 40) + "\r\n", 400, "TLS" },
        { "a method that is none", "G@T( / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "Invalid request line" },
        { "no host", "GET / HTTP/1.1\r\n\r\n", 400, "Host" },
        { "no host, which HTTP/1.0 allows", "GET / HTTP/1.0\r\n\r\n", 400, "no host is named" },
        { "two hosts", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "Multiple Host" },
        { "a port that is none", "GET / HTTP/1.1\r\nHost: localhost:x\r\n\r\n", 400, "Host" },
        { "a name longer than names are", $"GET / HTTP/1.1\r\nHost: {new string('x', 100)}\r\n\r\n", 400, "is not accepted" },
        { "another host in the target", "GET http://rebound.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "Host" },
        { "another host in target and header", "GET http://rebound.example/ HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 400,
            "rebound.example is not accepted" },
        { "an asterisk for what needs a path", "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "does not go with such a target" },
        { "an asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "OPTIONS is not for *" },
        { "a tunnel", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 405, "CONNECT is not for" },
        { "a percent sign without digits", "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "nothing at" },
        { "an encoded zero", "GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "target" },
        { "a path that is no UTF-8", "GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "nothing at" },
        { "a header without a colon", "GET / HTTP/1.1\r\nHost: localhost\r\nColon\r\n\r\n", 400, "Invalid request header" },
        { "a header over two lines", "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n", 400, "Invalid request header" },
        { "headers that are cut off", "GET / HTTP/1.1\r\nHo", 400, "invalid headers" },
        { "a thousand headers",
            $"GET / HTTP/1.1\r\nHost: localhost\r\n{string.Concat(Enumerable.Range(0, 1000).Select(i => $"X{i}: 1\r\n"))}\r\n", 431,
            "too many headers" },
        { "a long header", $"GET / HTTP/1.1\r\nHost: localhost\r\nX: {new string('x', 100_000)}\r\n\r\n", 431, "too long" },
        { "a long path", $"GET /{new string('x', 100_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "too long" },
        { "a length below zero", Post("Content-Length: -5", "hello"), 400, "content length" },
        { "a length beyond all numbers", Post("Content-Length: 99999999999999999999", ""), 400, "content length" },
        { "a length beyond what is read", Post("Content-Length: 5000000000", ""), 413, "larger than 4 MiB" },
        { "two lengths", Post("Content-Length: 3\r\nContent-Length: 5", "hello"), 400, "Multiple Content-Length" },
        { "a length beyond the body", Post($"Content-Length: {One.Length + 1}", One), 400, "ended before the body was complete" },
        { "a length and chunks", Post("Content-Length: 13\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"), 400,
            "both Transfer-Encoding and Content-Length" },
        { "chunks before there were any",
            Chunked("0\r\n\r\n").Replace("HTTP/1.1", "HTTP/1.0\r\nConnection: keep-alive", StringComparison.Ordinal), 400, "HTTP/1.0" },
        { "a coding that is not known", Post("Transfer-Encoding: gzip", "hello"), 400, "gzip" },
        { "a coding below chunks", Post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 400, "gzip" },
        { "a packed body", Post($"Content-Encoding: gzip\r\nContent-Length: {One.Length}", One), 415, "Content-Encoding is gzip" },
        { "a chunk of 2³¹ bytes", Chunked("80000000\r\nabc"), 400, "chunk size" },
        { "a chunk of 2³¹ bytes with an extension", Chunked("80000000;name=value\r\nabc"), 400, "chunk size" },
        { "a chunk of 2⁶⁴ bytes", Chunked("ffffffffffffffff\r\nabc"), 400, "chunk size" },
        { "a chunk of forty digits", Chunked(new string('f', 40) + "\r\nabc"), 400, "chunk size" },
        { "a chunk of 2³¹ - 1 bytes", Chunked("7fffffff\r\nabc"), 400, "ended before the body was complete" },
        { "a chunk without a size", Chunked("\r\n\r\n"), 400, "chunk size" },
        { "a chunk that goes on", Chunked("3\r\nabcdef\r\n0\r\n\r\n"), 400, "chunk" },
        { "chunks that are cut off", Chunked("3\r\nabc\r\n"), 400, "ended before the body was complete" },
        { "a trailer that is no UTF-8", Chunked("0\r\nTrailer:\u00a0\u00ff\r\n\r\n"), 400, "the body is damaged: what follows its chunks" },
        { "a target of another host", "GET http://elsewhere.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400,
            "names another host than the target" },
        { "chunks beyond what is read",
            Chunked(string.Concat(Enumerable.Repeat($"100000\r\n{new string(' ', 1 << 20)}\r\n", 5)) + "0\r\n\r\n"), 413,
            "larger than 4 MiB" },
        { "no boundary", Typed("multipart/form-data", "--x--"), 400, "no boundary" },
        { "an empty boundary", Typed("multipart/form-data; boundary=\"\"", "--\r\n\r\n\r\n----"), 400, "no boundary" },
        { "a long boundary", Typed("multipart/form-data; boundary=" + new string('x', 300), "--x--"), 400, "no boundary" },
        { "a boundary that does not come", Typed(Form, "hello"), 400, "part 1 is cut off" },
        { "a last boundary that does not come", Typed(Form, Part + "hello"), 400, "part 1 is cut off" },
        { "a last boundary that is cut off", Typed(Form, Part + "hello\r\n--x"), 400, "part 2 has no Content-Disposition" },
        { "a line that begins with the boundary", Typed(Form, Part + "hello\r\n--xy\r\n--x--"), 400, "part 2 is cut off" },
        { "headers of a part that are cut off", Typed(Form, "--x\r\nContent-Dispo"), 400,
            "part 1 is cut off, or its headers are not valid" },
        { "a part without headers", Typed(Form, "--x\r\n\r\nhello\r\n--x--"), 400, "part 1 has no Content-Disposition" },
        { "headers of a part without end", Typed(Form, $"--x\r\nA: {new string('b', 100_000)}\r\n\r\n\r\n--x--"), 400,
            "part 1 is cut off, or its headers are not valid" },
        { "thousands of parts", Typed(Form, string.Concat(Enumerable.Repeat(Part + "\r\n", 5000)) + "--x--"), 400, "expected 1 to 1024" },
        { "a form of fields", Typed(Form, "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nhello\r\n--x--"), 400, "0 digits" },
        { "half a character in a name", Json("{\"\\ud800\":1}"), 400, "not understood" },
        { "a name that is no UTF-8", Json("{\"\u00ff\u00fe\":1}"), 400, "not understood" },
        { "half a character for pixels", Json("{\"pixels\":\"\\ud800\"}"), 400, "not understood at $.pixels" },
        { "more after the JSON", Json(One + "x"), 400, "not understood" },
        { "the same twice", Json("{\"strokes\":[[[1,1]]],\"strokes\":[[[1,1]]]}"), 400, "not understood at $" },
        { "a hundred thousand images of nothing", Json($"{{\"images\":[{string.Join(',', Enumerable.Repeat("[]", 100_000))}]}}"), 400,
            "images[0] has 0 values" },
        { "more strokes than are drawn", Json($"{{\"strokes\":[{string.Join(',', Enumerable.Repeat("[[1,1]]", 300))}]}}"), 400,
            "strokes[256] is one too many; expected at most 256" },
        { "a body that is too large, of a client that asks first", Post("Expect: 100-continue\r\nContent-Length: 5000000", ""), 413,
            "larger than 4 MiB" },
        { "GET where POST is meant", "GET /predict HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "GET is not for /predict; expected POST" },
        { "no body", Json(""), 400, "the body is empty" },
        { "JSON that is cut off", Json("{"), 400, "the JSON is not understood at $, line 1, byte 1" },
        { "an array of nothing", Json("[]"), 400, "the JSON is not understood" },
        { "null", Json("null"), 400, "exactly one of pixels, images and strokes" },
        { "an object of nothing", Json("{}"), 400, "exactly one of pixels, images and strokes" },
        { "strokes and images", Json(One[..^1] + ",\"images\":[]}"), 400, "exactly one of" },
        { "a name that is mistyped", Json("{\"pixel\":[1]}"), 400, "at $.pixel" },
        { "two pixels", Json("{\"pixels\":[1,2]}"), 400, "pixels has 2 values, expected 784" },
        { "half a pixel", Json("{\"pixels\":[1,0.5]}"), 400, "pixels[1] is 0.5, expected a whole number from 0 (paper) to 255 (ink)" },
        { "a pixel beyond 255", Json($"{{\"pixels\":[{string.Concat(Enumerable.Repeat("0,", 783))}256]}}"), 400,
            "pixels[783] is 256, expected a whole number from 0 (paper) to 255 (ink)" },
        { "no images", Json("{\"images\":[]}"), 400, "0 digits; expected 1 to 1024" },
        { "an image that is null", Json("{\"images\":[null]}"), 400, "images[0] is null" },
        { "no strokes", Json("{\"strokes\":[]}"), 400, "of 0 points in all; expected" },
        { "a stroke of nothing", Json("{\"strokes\":[[]]}"), 400, "of 0 points in all; expected" },
        { "a stroke that is null", Json("{\"strokes\":[[[1,2]],null]}"), 400, "strokes[1] is null" },
        { "a point of one number", Json("{\"strokes\":[[[1]]]}"), 400, "strokes[0][0] is no point" },
        { "a point beyond everything", Json("{\"strokes\":[[[1,1e30]]]}"), 400, "strokes[0][0] is no point" },
        { "arrays in arrays", Json(new string('[', 100_000)), 400, "the JSON is not understood" },
        { "text for a PNG", Typed("image/png", "text"), 400, "not a PNG" },
        { "text for a JPEG", Typed("image/jpeg", "text"), 400, "not a PNG or JPEG" },
        { "WebP for a JPEG", Typed("image/jpeg", "RIFF....WEBPVP8 "), 400, "a WebP picture, not a PNG or JPEG; save it as one of these" },
        { "HEIC for a PNG", Typed("image/png", "\0\0\0\u0018ftypheic\0\0\0\0"), 400, "a HEIC picture, not a PNG or JPEG" },
        { "WebP", Typed("image/webp", "RIFF....WEBPVP8 "), 400, "a WebP picture, not a PNG or JPEG" },
        { "a film", Typed("video/mp4", "text"), 415, "Content-Type is video/mp4; expected image/png, image/jpeg" },
        { "plain text", Typed("text/plain; charset=utf-8", "text"), 415, "Content-Type is text/plain" },
    };

    [Theory]
    [MemberData(nameof(WrongRequests))]
    public async Task A_wrong_request_is_answered_with_4xx_and_a_sentence(string what, string request, int status, string says)
    {
        RawClient.Answer answer = Assert.Single(await RawClient.Ask(server.Address, request, Cancellation));
        Assert.True(answer.Status == status, $"{what}: {answer.Status} {answer.Body}");
        Assert.Contains(says, answer.Detail, StringComparison.Ordinal);
        Assert.Equal("default-src 'none'; frame-ancestors 'none'", answer.Headers["Content-Security-Policy"]);
    }

    [Fact]
    public async Task A_client_that_still_sends_what_is_not_read_gets_the_answer_all_the_same()
    {
        byte[] large = RawClient.Post("application/json", new byte[10 << 20]);
        using RawClient client = new(server.Address);
        await client.Send(large, Cancellation); // without asking first, and without closing
        RawClient.Answer answer = Assert.Single(await client.Answers(Cancellation));
        Assert.Equal((413, "close"), (answer.Status, answer.Headers["Connection"]));
    }

    [Theory]
    [InlineData("localhost")]
    [InlineData("LOCALHOST")]
    [InlineData("Localhost.:8080")]
    [InlineData("127.0.0.1")]
    [InlineData("127.0.0.1.:1")]
    [InlineData("[::1]")]
    [InlineData("[::1]:80")]
    public async Task Every_spelling_of_this_machines_name_is_answered_for(string host) =>
        Assert.Equal(200, Assert.Single(await RawClient.Ask(server.Address, $"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n", Cancellation))
            .Status);

    [Fact]
    public async Task A_client_that_closes_its_sending_side_is_answered_to_all_that_it_asked()
    {
        byte[] three = [.. RawClient.Post(One), .. Encoding.ASCII.GetBytes("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            .. RawClient.Post(One)];
        List<RawClient.Answer> answers = await RawClient.Ask(server.Address, three, Cancellation);
        Assert.Equal([200, 200, 200], answers.Select(answer => answer.Status));
        Assert.All([answers[0], answers[2]], answer => Assert.Contains("\"digit\":1", answer.Body, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("/", 200)]
    [InlineData("/health", 200)]
    [InlineData("/openapi.json", 200)]
    [InlineData("/nothing", 404)]
    [InlineData("/predict", 405)]
    public async Task HEAD_says_what_GET_says_without_the_body(string path, int status)
    {
        RawClient.Answer get =
            Assert.Single(await RawClient.Ask(server.Address, $"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n", Cancellation));
        RawClient.Answer head =
            Assert.Single(await RawClient.Ask(server.Address, $"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n", Cancellation));
        Assert.Equal((status, ""), (head.Status, head.Body));
        Assert.Equal(status, get.Status);
        Assert.NotEmpty(get.Body);
        Assert.Equal(get.Headers.Keys.Order(StringComparer.Ordinal), head.Headers.Keys.Order(StringComparer.Ordinal));
        if (status == 200)
        {
            Assert.Equal(get.Headers["Content-Length"], head.Headers["Content-Length"]);
        }
    }

    [Theory]
    [InlineData("POST", "/", "GET, HEAD")]
    [InlineData("PUT", "/health", "GET, HEAD")]
    [InlineData("OPTIONS", "/openapi.json", "GET, HEAD")]
    [InlineData("DELETE", "/predict", "POST")]
    public async Task Other_methods_are_told_which_are_allowed(string method, string path, string allowed)
    {
        RawClient.Answer answer =
            Assert.Single(await RawClient.Ask(server.Address, $"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n", Cancellation));
        Assert.Equal((405, allowed), (answer.Status, answer.Headers["Allow"]));
    }

    [Fact]
    public async Task The_page_may_run_its_own_script_and_style_and_nothing_else()
    {
        RawClient.Answer page =
            Assert.Single(await RawClient.Ask(server.Address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Cancellation));
        string policy = page.Headers["Content-Security-Policy"]; // that the browser finds script and style to be these, BrowserTests shows
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.All(["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "base-uri 'none'", "form-action 'none'",
            "frame-ancestors 'none'"], rule => Assert.Contains(rule, policy, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(200, "localhost", "")]
    [InlineData(200, "localhost:8080", "Origin: http://localhost:8080\r\nSec-Fetch-Site: same-origin\r\n")]
    [InlineData(200, "127.0.0.1:8080", "Origin: http://127.0.0.1:8080\r\n")]
    [InlineData(200, "LOCALHOST:8080", "Origin: http://localhost:8080\r\n")]
    [InlineData(200, "localhost", "Sec-Fetch-Site: none\r\n")]
    [InlineData(403, "localhost", "Sec-Fetch-Site: cross-site\r\n")]
    [InlineData(403, "localhost", "Sec-Fetch-Site: same-site\r\n")]
    [InlineData(403, "localhost", "Origin: null\r\n")]
    [InlineData(403, "localhost", "Origin: \r\n")]
    [InlineData(403, "localhost", "Origin: http://elsewhere.example\r\n")]
    [InlineData(403, "localhost", "Origin: http://localhost.elsewhere.example\r\n")]
    [InlineData(403, "localhost:8080", "Origin: http://localhost:8081\r\n")]
    [InlineData(403, "localhost:8080", "Origin: http://localhost:8080\r\nOrigin: http://elsewhere.example\r\n")]
    [InlineData(403, "localhost:8080", "Origin: http://elsewhere.example\r\nSec-Fetch-Site: same-origin\r\n")]
    public async Task What_a_page_of_another_site_posts_is_refused(int status, string host, string headers)
    {
        string request = Encoding.ASCII.GetString(RawClient.Post(One, headers))
            .Replace("Host: localhost", $"Host: {host}", StringComparison.Ordinal);
        RawClient.Answer answer = Assert.Single(await RawClient.Ask(server.Address, request, Cancellation));
        Assert.True(answer.Status == status, answer.Body);
        if (status == 403)
        {
            Assert.Contains("page of another site", answer.Detail, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Parts_lie_between_boundaries_in_every_way_that_forms_are_written()
    {
        byte[] png = PngFiles.Write(GeneratedDigits.Create(8, seed: 9).Image(7), 28);
        string file = Encoding.Latin1.GetString(png);
        string[] forms =
        [
            $"{Part}{file}\r\n--x--",
            $"preamble\r\n{Part}{file}\r\n--x--\r\nepilogue",
            "--x  \r\nContent-Type: image/png\r\ncontent-disposition: form-data; name=\"a\"; "
                + $"filename=\"gr\u00c3\u00b6\u00c3\u009fe.png\"\r\n\r\n{file}\r\n--x--",
            $"--x\r\nContent-Disposition: form-data; name=note\r\n\r\nhello\r\n{Part}{file}\r\n--x--",
        ];
        foreach (string form in forms)
        {
            RawClient.Answer answer =
                Assert.Single(await RawClient.Ask(server.Address, Typed("multipart/form-data; boundary=\"x\"", form), Cancellation));
            Assert.Contains("\"digit\":7", answer.Body, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Pictures_of_few_bytes_and_many_pixels_are_refused_together()
    {
        string large = Encoding.Latin1.GetString(PngFiles.Write(new byte[1 << 20], 1024, bitDepth: 1));
        string form = string.Concat(Enumerable.Repeat($"{Part}{large}\r\n", 33)) + "--x--";
        RawClient.Answer answer = Assert.Single(await RawClient.Ask(server.Address, Typed(Form, form), Cancellation));
        Assert.Equal((400, "pictures of 34,603,008 pixels together; expected at most 33,554,432 in a request"),
            (answer.Status, answer.Detail));
    }

    [LongFact]
    public async Task A_small_picture_waits_for_no_large_ones()
    {
        string large = Encoding.Latin1.GetString(
            PngFiles.Write([.. new byte[1 << 19], .. Enumerable.Repeat((byte)255, 1 << 16), .. new byte[(1 << 20) - (1 << 19) - (1 << 16)]],
            1024, bitDepth: 1));
        string form = string.Concat(Enumerable.Repeat($"{Part}{large}\r\n", 32)) + "--x--";
        Task<List<RawClient.Answer>>[] flood =
            [.. Enumerable.Range(0, 3).Select(_ => RawClient.Ask(server.Address, Typed(Form, form), Cancellation))];
        byte[] small = RawClient.Post("image/png", PngFiles.Write(GeneratedDigits.Create(8, seed: 9).Image(7), 28));
        RawClient.Answer answer = Assert.Single(await RawClient.Ask(server.Address, small, Cancellation));
        Assert.Contains("\"digit\":7", answer.Body, StringComparison.Ordinal);
        Assert.Contains(flood, large => !large.IsCompleted);
        Assert.All(await Task.WhenAll(flood), answers => Assert.Contains(Assert.Single(answers).Status, new[] { 200, 503 }));
    }

    [Fact]
    public async Task What_frames_the_chunks_does_not_count_as_body()
    {
        string chunk = new(' ', 65_536), size = chunk.Length.ToString("x", System.Globalization.CultureInfo.InvariantCulture);
        string whole = string.Concat(Enumerable.Repeat($"{size}\r\n{chunk}\r\n", 63)) + $"{One.Length:x}\r\n{One}\r\n";
        RawClient.Answer answer = Assert.Single(await RawClient.Ask(server.Address, Chunked(whole + "0\r\n\r\n"), Cancellation));
        Assert.True(answer.Status == 200, answer.Body);
    }

    private static string Post(string headers, string body) =>
        $"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n\r\n{body}";

    private static string Chunked(string body) => Post("Transfer-Encoding: chunked", body);

    private static string Json(string body) => Post($"Content-Length: {body.Length}", body);

    private static string Typed(string type, string body) =>
        $"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {type}\r\nContent-Length: {body.Length}\r\n\r\n{body}";
}
