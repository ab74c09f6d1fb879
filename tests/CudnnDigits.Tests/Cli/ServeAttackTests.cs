using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Tests.Cli;

/// <summary>
/// Requests that are damaged at random, always from the same seed; <see cref="Mutations.Factor"/> multiplies how many.
/// </summary>
public sealed class ServeAttackTests(RunningServer server) : IClassFixture<RunningServer>
{
    private const int Seed = 20_001;
    private const string One = "{\"strokes\":[[[140,30],[138,250]]]}";

    private static readonly string[] Tokens =
    [
        "\r\n", "\n", "\r\n\r\n", "\0", " ", ":", ";", "\"", "%", "%00", "%zz", "/../", "*", "http://localhost/", "HTTP/1.0", "HTTP/9.9",
        "HEAD ", "CONNECT ",
        "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n", "Content-Length: 0\r\n", "Content-Length: 9999999999\r\n",
        "Content-Length: -1\r\n", "Expect: 100-continue\r\n",
        "Connection: close\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n", "Host: localhost\r\n", "Host: \r\n", "Origin: null\r\n",
        "Content-Type: multipart/form-data; boundary=\r\n", "Content-Encoding: br\r\n",
        "0\r\n\r\n", "80000000\r\n", "ffffffffffffffff\r\n", "7fffffff;a=b\r\n", "-1\r\n", "--x\r\n", "--x--\r\n",
        "Content-Disposition: form-data; filename=\"", "[[[[[[", "]]]]", "{\"", "null", "1e400", "-1", "256", "\\ud800", "\u00ff\u00fe",
    ];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Whatever_arrives_is_answered_with_no_more_than_4xx_and_the_server_reads_on()
    {
        int count = (int)(1000 * Mutations.Factor);
        byte[][] whole = Whole();
        long before = server.MemoryMiB;
        int answered = 0;
        await Parallel.ForEachAsync(Enumerable.Range(0, count),
            new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = Cancellation }, async (i, cancellation) =>
        {
            Random random = new(unchecked((Seed * 1_000_003) + i));
            byte[] request = Damage(whole[random.Next(whole.Length)], random);
            try
            {
                List<RawClient.Answer> answers = await RawClient.Ask(server.Address, request, cancellation)
                    .WaitAsync(TimeSpan.FromSeconds(60), cancellation);
                Assert.True(answers.Count > 0 || request.All(value => value is (byte)'\r' or (byte)'\n'), "no answer");
                Assert.All(answers, answer => Assert.InRange(answer.Status, 200, 499));
                Interlocked.Add(ref answered, answers.Count);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                throw new InvalidOperationException($"seed {Seed}, request {i}: {Convert.ToBase64String(request)}", e);
            }
        });

        Assert.InRange(answered, count / 2, int.MaxValue);
        Assert.InRange(server.MemoryMiB, 0, before + 200);
        RawClient.Answer honest = Assert.Single(await RawClient.Ask(server.Address, RawClient.Post(One), Cancellation));
        Assert.Contains("\"digit\":1", honest.Body, StringComparison.Ordinal);
    }

    [LongFact]
    public async Task Whatever_is_cut_off_and_then_silent_is_answered_or_ended_when_its_time_is_over()
    {
        int count = (int)(100 * Mutations.Factor);
        TimeSpan second = TimeSpan.FromSeconds(1);
        await using LimitedServer limited = new(server.Weights, new Limits { Headers = second, Body = second, Idle = second });
        byte[][] whole = Whole();
        await Task.WhenAll(Enumerable.Range(0, count).Select(async i =>
        {
            Random random = new(unchecked((Seed * 1_000_003) + i));
            byte[] request = whole[random.Next(whole.Length)];
            request = request[..random.Next(request.Length)];
            try
            {
                using RawClient client = new(limited.Address);
                await client.Send(request, Cancellation);
                List<RawClient.Answer> answers = await client.Answers(Cancellation).WaitAsync(TimeSpan.FromSeconds(30), Cancellation);
                Assert.All(answers, answer => Assert.InRange(answer.Status, 200, 499));
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                throw new InvalidOperationException($"seed {Seed}, request {i}: {Convert.ToBase64String(request)}", e);
            }
        }));
    }

    /// <summary>Requests of every kind, as they should be.</summary>
    private static byte[][] Whole()
    {
        DigitDataset digits = GeneratedDigits.Create(2, seed: 9);
        byte[] png = PngFiles.Write(digits.Image(1), 28), large = PngFiles.Write(new byte[40 * 40], 40, PngFiles.Rgba);
        byte[] part = [.. "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b.png\"\r\nContent-Type: image/png\r\n\r\n"u8,
            .. png, .. "\r\n"u8];
        string pixels = $"{{\"pixels\":[{string.Join(',', digits.Image(0).ToArray())}]}}";
        return
        [
            Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"),
            Encoding.ASCII.GetBytes(
                "HEAD /health?a=%20 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\nGET /openapi.json HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
            RawClient.Post(One, "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n"),
            [.. RawClient.Post(One), .. RawClient.Post(pixels, "Expect: 100-continue\r\n")],
            Encoding.ASCII.GetBytes(
                $"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                + $"8;a=b\r\n{One[..8]}\r\n{One.Length - 8:x}\r\n{One[8..]}\r\n0\r\nTrailer: a\r\n\r\n"),
            RawClient.Post("image/png", png),
            RawClient.Post("image/jpeg", JpegFiles.WithOrientation(JpegFiles.Read("baseline.jpg"), 6, littleEndian: true)),
            RawClient.Post("image/jpeg", JpegFiles.Read("progressive.jpg")),
            RawClient.Post("image/png", large),
            RawClient.Post("multipart/form-data; boundary=\"x\"", [.. part, .. part, .. "--x--\r\n"u8]),
        ];
    }

    private static byte[] Damage(byte[] whole, Random random)
    {
        List<byte> bytes = [.. whole];
        for (int times = random.Next(1, 5); times > 0 && bytes.Count > 0; times--)
        {
            int at = random.Next(bytes.Count), length = Math.Min(random.Next(1, 40), bytes.Count - at);
            switch (random.Next(8))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes.RemoveRange(at, length);
                    break;
                case 2:
                    bytes.InsertRange(at, bytes.GetRange(at, length));
                    break;
                case 3:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 4:
                    bytes.InsertRange(at, Enumerable.Repeat((byte)random.Next(256), random.Next(1, 20_000)));
                    break;
                case 5:
                    bytes[at] = (byte)random.Next(256);
                    break;
                default: // mostly where lines begin, which is where they mean something
                    int line = bytes.IndexOf((byte)'\n', at) + 1;
                    bytes.InsertRange(random.Next(2) == 0 ? at : line, Encoding.Latin1.GetBytes(Tokens[random.Next(Tokens.Length)]));
                    break;
            }
        }

        return [.. bytes];
    }

}
