using System.Net;
using System.Net.Sockets;

namespace CudnnDigits.Tests.Cli;

/// <summary>
/// A client that says what it likes, byte for byte, and holds every answer to what all answers of the server have in common.
/// </summary>
internal sealed partial class RawClient : IDisposable
{
    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };

    /// <param name="server">Where to.</param>
    /// <param name="from">The client's own address, where it matters.</param>
    /// <param name="receiveBuffer">Bytes that the system keeps for it; 0 leaves that to the system.</param>
    public RawClient(Uri server, string? from = null, int receiveBuffer = 0)
    {
        if (from is not null)
        {
            _socket.Bind(new IPEndPoint(IPAddress.Parse(from), 0));
        }

        if (receiveBuffer > 0)
        {
            _socket.ReceiveBufferSize = receiveBuffer;
        }

        _socket.Connect(server.Host, server.Port);
    }

    public sealed record Answer(int Status, Dictionary<string, string> Headers, string Body)
    {
        /// <summary>The sentence of a problem.</summary>
        public string Detail => JsonDocument.Parse(Body).RootElement.GetProperty("detail").GetString()!;
    }

    /// <summary>A POST to /predict, with the headers it needs and others.</summary>
    public static byte[] Post(string type, byte[] body, string headers = "") =>
        [.. Encoding.ASCII.GetBytes(
            $"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {type}\r\nContent-Length: {body.Length}\r\n{headers}\r\n"),
            .. body];

    public static byte[] Post(string json, string headers = "") => Post("application/json", Encoding.UTF8.GetBytes(json), headers);

    /// <summary>What a server says to the bytes of a client that then closes its sending side, as <c>nc -N</c> does.</summary>
    public static async Task<List<Answer>> Ask(Uri server, byte[] bytes, CancellationToken cancellation)
    {
        using RawClient client = new(server);
        await client.Send(bytes, cancellation);
        client.EndSending();
        return Parse(await client.ReadToEnd(cancellation));
    }

    public static Task<List<Answer>> Ask(Uri server, string text, CancellationToken cancellation) =>
        Ask(server, Encoding.Latin1.GetBytes(text), cancellation);

    /// <summary>Answers, one after the other; throws where they are none, or lack what all have.</summary>
    public static List<Answer> Parse(byte[] bytes)
    {
        List<Answer> answers = [];
        for (string text = Encoding.Latin1.GetString(bytes); text.Length > 0;)
        {
            Match head = Head().Match(text);
            Assert.True(head.Success, $"no answer: {text[..Math.Min(300, text.Length)]}");
            int status = int.Parse(head.Groups["status"].Value);
            Dictionary<string, string> headers = new(StringComparer.OrdinalIgnoreCase);
            foreach (Capture line in head.Groups["header"].Captures)
            {
                string[] parts = line.Value.Split(": ", 2);
                Assert.True(headers.TryAdd(parts[0], parts[1]), $"{parts[0]} twice");
            }

            text = text[head.Length..];
            if (status == 100)
            {
                continue;
            }

            int length = int.Parse(headers["Content-Length"]);
            if (text.Length == 0 || text.StartsWith("HTTP/1.1 ", StringComparison.Ordinal))
            {
                length = 0; // to HEAD
            }

            Assert.True(text.Length >= length, "the answer is cut off");
            Answer answer = new(status, headers, Encoding.UTF8.GetString(Encoding.Latin1.GetBytes(text[..length])));
            text = text[length..];
            Assert.Equal("nosniff", headers["X-Content-Type-Options"]);
            if (status >= 400)
            {
                Assert.Equal("application/problem+json", headers["Content-Type"]);
                Assert.True(length == 0
                    || (JsonDocument.Parse(answer.Body).RootElement.GetProperty("status").GetInt32() == status && answer.Detail.Length > 0),
                    answer.Body);
                Assert.Equal(status == 405, headers.ContainsKey("Allow"));
                Assert.Equal(status == 503, headers.ContainsKey("Retry-After"));
            }

            answers.Add(answer);
        }

        return answers;
    }

    public async Task Send(byte[] bytes, CancellationToken cancellation)
    {
        try
        {
            for (int sent = 0; sent < bytes.Length;)
            {
                sent += await _socket.SendAsync(bytes.AsMemory(sent), cancellation);
            }
        }
        catch (SocketException)
        {
            // The server may have said enough: what it said is read below.
        }
    }

    public Task Send(string text, CancellationToken cancellation) => Send(Encoding.Latin1.GetBytes(text), cancellation);

    public void EndSending()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // Closed already.
        }
    }

    /// <summary>Everything until the server closes the connection.</summary>
    public async Task<byte[]> ReadToEnd(CancellationToken cancellation)
    {
        using MemoryStream all = new();
        byte[] buffer = new byte[1 << 16];
        try
        {
            while (await _socket.ReceiveAsync(buffer, cancellation) is > 0 and int read)
            {
                all.Write(buffer, 0, read);
            }
        }
        catch (SocketException)
        {
            // Broken off: the end as well.
        }

        return all.ToArray();
    }

    /// <summary>Whatever arrives next.</summary>
    public async Task ReadOnce(CancellationToken cancellation) =>
        Assert.True(await _socket.ReceiveAsync(new byte[1 << 16], cancellation) > 0);

    /// <summary>Waits, without reading, until the server has broken the connection off, which the next byte that is sent shows.</summary>
    public async Task WaitUntilBrokenOff(CancellationToken cancellation)
    {
        for (Stopwatch clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromMinutes(1); await Task.Delay(50, cancellation))
        {
            try
            {
                await _socket.SendAsync(new byte[1], cancellation);
            }
            catch (SocketException)
            {
                return;
            }
        }

        Assert.Fail("the connection is still there");
    }

    /// <summary>The answers until the server closes the connection.</summary>
    public async Task<List<Answer>> Answers(CancellationToken cancellation) => Parse(await ReadToEnd(cancellation));

    public void Dispose() => _socket.Dispose();

    [GeneratedRegex(@"\AHTTP/1\.1 (?<status>\d\d\d) [A-Za-z -]+\r\n((?<header>[A-Za-z-]+: [^\r\n]*)\r\n)*\r\n")]
    private static partial Regex Head();
}
