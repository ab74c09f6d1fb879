using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;

namespace CudnnDigits.Cli.Datasets;

/// <summary>A file to download, with its SHA-256 in lower-case hexadecimal.</summary>
internal sealed record RemoteFile(string Name, long Bytes, string Sha256);

/// <summary>Downloads known files from mirrors, the best first, that may be slow, broken or malicious.</summary>
internal sealed class Downloader(IReadOnlyList<Uri> mirrors, string folder, Action<RemoteFile, long> progress) : IDisposable
{
    private const int AttemptsPerMirror = 4;

    private readonly HttpClient _client =
        new(new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(15) }) { Timeout = Timeout.InfiniteTimeSpan };

    /// <summary>The time after which a silent connection is dropped.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The pause before the second attempt; doubled for each further one.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Downloads a file; false if it is there already. If all mirrors fail, the bytes that arrived are kept.</summary>
    public async Task<bool> Download(RemoteFile file, CancellationToken cancellation)
    {
        string name = Path.Combine(folder, file.Name), path = OutputPlace.Of(name) is { IsFile: true } place
            ? place.Path
            : throw new InputException($"{name}: is a device or a FIFO, which keeps nothing; choose another --out");
        FileInfo known = new(path), partial = new(path + ".part");
        if (known.Exists && known.Length == file.Bytes && await Sha256(known, cancellation) == file.Sha256)
        {
            return false;
        }

        string why = "";
        foreach (Uri mirror in mirrors)
        {
            for (int attempt = 0; attempt < AttemptsPerMirror; attempt++)
            {
                cancellation.ThrowIfCancellationRequested();
                try
                {
                    await Continue(new Uri(mirror, file.Name), file, partial, cancellation);
                    partial.MoveTo(path, overwrite: true);
                    return true;
                }
                catch (Exception e) when (e is WrongFileException or HttpRequestException or HttpIOException or TimeoutException)
                {
                    why = $"{mirror}: {e.Message}";
                    if (e is WrongFileException or HttpRequestException { HttpRequestError: HttpRequestError.NameResolutionError })
                    {
                        break; // another attempt would fail in the same way
                    }

                    await Task.Delay(FirstPause * (1 << attempt), cancellation);
                }
            }
        }

        partial.Refresh();
        if (partial is { Exists: true, Length: 0 })
        {
            partial.Delete();
        }

        throw new RunFailedException($"{file.Name} could not be downloaded; {mirrors.Count} mirror{(mirrors.Count == 1 ? "" : "s")} tried, "
            + $"last {why}; try again later, or put the file into {folder} yourself");
    }

    public void Dispose() => _client.Dispose();

    /// <summary>Downloads the missing rest of a file and verifies the whole.</summary>
    private async Task Continue(Uri address, RemoteFile file, FileInfo partial, CancellationToken cancellation)
    {
        using (FileStream here = partial.Open(FileMode.OpenOrCreate, FileAccess.Write, FileShare.None))
        {
            here.SetLength(here.Length > file.Bytes ? 0 : here.Length);
            here.Position = here.Length;
            if (here.Length < file.Bytes)
            {
                await Receive(address, file, here, cancellation);
            }
        }

        if (await Sha256(partial, cancellation) != file.Sha256)
        {
            partial.Delete();
            throw new WrongFileException("the file's checksum is wrong");
        }
    }

    private async Task Receive(Uri address, RemoteFile file, FileStream here, CancellationToken cancellation)
    {
        using HttpRequestMessage request = new(HttpMethod.Get, address);
        request.Headers.AcceptEncoding.Add(new StringWithQualityHeaderValue("identity")); // no compression
        request.Headers.Range = here.Length > 0 ? new RangeHeaderValue(here.Length, null) : null;
        using HttpResponseMessage response = await Patiently(
            token => _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, token), cancellation);
        bool isPart = response.StatusCode == HttpStatusCode.PartialContent;
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable
            || (isPart && response.Content.Headers.ContentRange?.From != here.Length))
        {
            here.SetLength(0);
            throw new HttpRequestException("the mirror sent another part than the one asked for, or has another file");
        }

        if ((int)response.StatusCode is >= 400 and < 500)
        {
            throw new WrongFileException($"answered {(int)response.StatusCode} {response.ReasonPhrase}");
        }

        response.EnsureSuccessStatusCode();
        here.SetLength(isPart ? here.Length : 0); // the response begins at the first byte
        if (response.Content.Headers.ContentLength is { } promised && promised != file.Bytes - here.Length)
        {
            throw new WrongFileException($"promises {promised:N0} bytes, expected {file.Bytes - here.Length:N0}");
        }

        using Stream body = await response.Content.ReadAsStreamAsync(cancellation);
        byte[] buffer = new byte[1 << 16];
        while (await Patiently(token => body.ReadAsync(buffer, token).AsTask(), cancellation) is > 0 and int read)
        {
            if (here.Length + read > file.Bytes)
            {
                here.SetLength(0);
                throw new WrongFileException($"sends more than the file's {file.Bytes:N0} bytes");
            }

            await here.WriteAsync(buffer.AsMemory(0, read), cancellation);
            progress(file, here.Length);
        }

        if (here.Length < file.Bytes)
        {
            throw new HttpRequestException($"the connection ended after {here.Length:N0} of {file.Bytes:N0} bytes");
        }
    }

    private async Task<T> Patiently<T>(Func<CancellationToken, Task<T>> action, CancellationToken cancellation)
    {
        using CancellationTokenSource patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(Patience);
        try
        {
            return await action(patience.Token);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new TimeoutException($"nothing came for {Patience.TotalSeconds:0.#} seconds");
        }
    }

    private static async Task<string> Sha256(FileInfo file, CancellationToken cancellation)
    {
        using FileStream stream = file.OpenRead();
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, cancellation));
    }

    /// <summary>The mirror has another file under the name; another attempt is useless.</summary>
    private sealed class WrongFileException(string message) : Exception(message);
}
