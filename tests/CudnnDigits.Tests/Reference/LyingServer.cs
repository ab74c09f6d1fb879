using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace CudnnDigits.Tests.Reference;

/// <summary>A mirror that does to each request what a test wants of it: answers, cuts off, lies.</summary>
internal sealed partial class LyingServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Queue<Func<Request, Stream, Task>> _acts;

    public LyingServer(params Func<Request, Stream, Task>[] acts)
    {
        _acts = new(acts);
        _listener.Start();
        _ = Serve();
    }

    public Uri Address => new($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}/mnist/");

    /// <summary>What was asked for, in order.</summary>
    public ConcurrentQueue<Request> Requests { get; } = [];

    public void Dispose() => _listener.Dispose();

    /// <summary>An honest answer, with ranges.</summary>
    public static Func<Request, Stream, Task> Honest(byte[] content) => (request, stream) => request.From is { } from
        ? Answer(stream, "206 Partial Content", content[from..], content.Length - from,
            $"Content-Range: bytes {from}-{content.Length - 1}/{content.Length}\r\n")
        : Answer(stream, "200 OK", content, content.Length);

    /// <summary>Ends the connection after some bytes of an honest answer.</summary>
    public static Func<Request, Stream, Task> CutAfter(byte[] content, int bytes) => (request, stream) => request.From is { } from
        ? Answer(stream, "206 Partial Content", content[from..(from + bytes)], content.Length - from,
            $"Content-Range: bytes {from}-{content.Length - 1}/{content.Length}\r\n")
        : Answer(stream, "200 OK", content[..bytes], content.Length);

    /// <summary>Sends the whole file whatever was asked for.</summary>
    public static Func<Request, Stream, Task> WithoutRanges(byte[] content) => (_, stream) =>
        Answer(stream, "200 OK", content, content.Length);

    /// <summary>Sends another part than the one asked for.</summary>
    public static Func<Request, Stream, Task> OtherPart(byte[] content) => (_, stream) =>
        Answer(stream, "206 Partial Content", content, content.Length, $"Content-Range: bytes 0-{content.Length - 1}/{content.Length}\r\n");

    /// <summary>Promises a size; with none, the end of the connection is the end of the file.</summary>
    public static Func<Request, Stream, Task> Promise(byte[] content, long? promised) => (_, stream) =>
        Answer(stream, "200 OK", content, promised);

    public static Func<Request, Stream, Task> Status(string status) => (_, stream) =>
        Answer(stream, status, "<html>sorry</html>"u8.ToArray(), 18);

    /// <summary>Sends some bytes, then nothing more.</summary>
    public static Func<Request, Stream, Task> Stall(byte[] content, int bytes) => async (_, stream) =>
    {
        await Answer(stream, "200 OK", content[..bytes], content.Length);
        await Task.Delay(TimeSpan.FromSeconds(20));
    };

    private static async Task Answer(Stream stream, string status, byte[] body, long? length, string headers = "")
    {
        string head = $"HTTP/1.1 {status}\r\nConnection: "
            + $"close\r\n{(length is { } bytes ? $"Content-Length: {bytes}\r\n" : "")}{headers}\r\n";
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head));
        await stream.WriteAsync(body);
        await stream.FlushAsync();
    }

    private async Task Serve()
    {
        while (true)
        {
            TcpClient client;
            try
            {
                client = await _listener.AcceptTcpClientAsync();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }

            _ = Answer(client);
        }
    }

    private async Task Answer(TcpClient client)
    {
        using (client)
        {
            NetworkStream stream = client.GetStream();
            byte[] buffer = new byte[8192];
            string text = "";
            while (!text.Contains("\r\n\r\n", StringComparison.Ordinal))
            {
                int read = await stream.ReadAsync(buffer);
                if (read == 0)
                {
                    return;
                }

                text += Encoding.ASCII.GetString(buffer, 0, read);
            }

            Match range = Range().Match(text);
            Request request = new(text.Split(' ')[1], range.Success ? int.Parse(range.Groups[1].Value, CultureInfo.InvariantCulture)
                : null);
            Func<Request, Stream, Task> act;
            lock (_acts)
            {
                Requests.Enqueue(request);
                act = _acts.Count > 1 ? _acts.Dequeue() : _acts.Peek(); // the last for ever
            }

            try
            {
                await act(request, stream);
            }
            catch (IOException)
            {
                // The client has had enough.
            }
        }
    }

    [GeneratedRegex("^Range: bytes=([0-9]+)-\r$", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex Range();

    /// <param name="Path">What is asked for.</param>
    /// <param name="From">First byte wanted, or null for all.</param>
    public sealed record Request(string Path, int? From);
}
