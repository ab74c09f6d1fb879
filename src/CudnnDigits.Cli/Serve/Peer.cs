using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// A connection as Kestrel reads and writes it, which knows since when the server waits for its peer, and what the request holds.
/// A peer that closes its sending side is still answered.
/// </summary>
internal sealed class Peer : DefaultConnectionContext, IDuplexPipe, IConnectionLifetimeNotificationFeature
{
    private static readonly TimeSpan Linger = TimeSpan.FromSeconds(2);

    private readonly Socket _socket;
    private readonly Peers _peers;
    private readonly CancellationTokenSource _closeRequested = new();
    private long _waitingSince, _deadline = long.MaxValue, _held;
    private bool _hasArrived, _sending, _leaving, _lingers, _ended, _disposed;
    private byte[]? _instead;

    public Peer(Socket socket, Peers peers)
        : base(id: "")
    {
        (_socket, _peers) = (socket, peers);
        (LocalEndPoint, RemoteEndPoint) = (socket.LocalEndPoint, socket.RemoteEndPoint);
        Address = ((IPEndPoint)RemoteEndPoint!).Address;
        _waitingSince = Environment.TickCount64;
        Bytes bytes = new(this);
        // The reader waits by a read of no bytes. What has arrived stays with the system until Kestrel takes it, so HasBytes sees it.
        Input = PipeReader.Create(bytes, new StreamPipeReaderOptions(bufferSize: 8192, leaveOpen: true, useZeroByteReads: true));
        Output = PipeWriter.Create(bytes, new StreamPipeWriterOptions(leaveOpen: true));
        Transport = this;
        Features.Set(this);
        ConnectionClosedRequested = _closeRequested.Token;
    }

    public PipeReader Input { get; }

    public PipeWriter Output { get; }

    public IPAddress Address { get; }

    public CancellationToken ConnectionClosedRequested { get; set; }

    /// <summary>Bytes that are booked with all peers' memory.</summary>
    public long Booked { get; private set; }

    /// <summary>Whether the body of a request is being read: what ends the connection then is an error that can be answered.</summary>
    public bool ReadsBody { get; set; }

    /// <summary>Whether the present request has been read to its end.</summary>
    public bool HasReadAll { get; set; }

    /// <summary>Whether the server stops.</summary>
    public bool Stopping => _peers.Stopping;

    public Limits Limits => _peers.Limits;

    /// <summary>Why the peer is not listened to any longer: what its request is answered with, where it has begun one.</summary>
    public BadHttpRequestException? Reason { get; private set; }

    /// <summary>
    /// Milliseconds for which the server has waited for the peer to send or to take something; −1 where it does not wait.
    /// </summary>
    public long WaitedFor => Volatile.Read(ref _waitingSince) is > 0 and var since ? Environment.TickCount64 - since : -1;

    /// <summary>Whether what was to happen by now has not.</summary>
    public bool IsLate => Environment.TickCount64 > Volatile.Read(ref _deadline);

    /// <summary>Whether more has arrived than the present request, which must have been read whole.</summary>
    public bool HasMore
    {
        get
        {
            if (HasBytes)
            {
                return true;
            }

            if (!Input.TryRead(out ReadResult rest))
            {
                return false;
            }

            Input.AdvanceTo(rest.Buffer.Start, rest.Buffer.Start);
            return !rest.Buffer.IsEmpty;
        }
    }

    /// <summary>
    /// Whether the peer keeps the server waiting. It does not where the server has not read yet what the peer has sent, or has only
    /// just begun to answer.
    /// </summary>
    public bool IsSilent => WaitedFor is var waited && waited >= 0 && (_sending ? waited >= Limits.Silence.TotalMilliseconds : !HasBytes);

    private bool HasBytes
    {
        get
        {
            try
            {
                return _socket.Available > 0;
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return false;
            }
        }
    }

    /// <summary>Lets its body, or the taking of its answer, last no longer than it may from now on.</summary>
    public void StartClock() => Volatile.Write(ref _deadline, Environment.TickCount64 + (long)_peers.Limits.Body.TotalMilliseconds);

    public void StopClock() => Volatile.Write(ref _deadline, long.MaxValue);

    /// <summary>Reads on for a moment once the last answer is sent: a peer that is still sending would lose it otherwise.</summary>
    public void LingerAtTheEnd() => _lingers = true;

    /// <summary>Takes memory for the request, in bytes. It may wait.</summary>
    /// <exception cref="BadRequestException">There is none.</exception>
    public async ValueTask Take(long bytes)
    {
        _held += bytes;
        long more = _held - _peers.Limits.FreeBytes - Booked;
        if (more <= 0)
        {
            return;
        }

        for (long start = Environment.TickCount64; !_peers.TryBook(more);)
        {
            if (Environment.TickCount64 - start > _peers.Limits.Memory.TotalMilliseconds)
            {
                throw new BadRequestException(StatusCodes.Status503ServiceUnavailable, $"other requests hold all of the {_peers.Limits.SharedBytes >> 20} MiB that large ones share; try again in a moment");
            }

            await Task.Delay(20);
        }

        Booked += more;
    }

    /// <summary>Gives back what was taken, though the request goes on.</summary>
    public void GiveBack(long bytes)
    {
        _held -= bytes;
        if (Booked - Math.Max(0, _held - Limits.FreeBytes) is > 0 and var less)
        {
            _peers.TryBook(-less);
            Booked -= less;
        }
    }

    /// <summary>Waits for a turn at work of which the server does only so much at once.</summary>
    /// <param name="turns">Is to be released; null for work that others need not wait for, but take turns with.</param>
    /// <param name="until">By <see cref="Environment.TickCount64"/>.</param>
    /// <exception cref="BadRequestException">None came in time, or the server stops.</exception>
    public async Task WaitForTurn(SemaphoreSlim? turns, long until)
    {
        await Task.Yield();
        while (Environment.TickCount64 <= until && !_peers.StopIsOver)
        {
            if (turns is null || await turns.WaitAsync(TimeSpan.FromMilliseconds(100)))
            {
                return;
            }
        }

        throw new BadRequestException(StatusCodes.Status503ServiceUnavailable, "the server has too many pictures to unpack; try again in a moment");
    }

    /// <summary>The request is answered: gives back what it held.</summary>
    public void EndRequest()
    {
        StopClock();
        _held = 0;
        if (Booked > 0)
        {
            _peers.TryBook(-Booked);
            Booked = 0;
        }
    }

    /// <summary>
    /// Listens to the peer no longer. A request that it has begun is answered with the reason; an answer it does not take is cut
    /// off.
    /// </summary>
    public void GiveWay(int status, string message)
    {
        Reason ??= new BadHttpRequestException(message, status);
        if (_sending || _leaving)
        {
            Break();
        }
        else
        {
            Input.CancelPendingRead();
        }
    }

    /// <summary>
    /// Lets the connection end after the present request, unless the peer has sent more. The reader finds that out itself, between two
    /// reads: anybody else could look at the moment at which it has just taken the bytes.
    /// </summary>
    public void CloseIfSilent() => Input.CancelPendingRead();

    public void RequestClose() => CloseIfSilent();

    /// <summary>Has this sent in place of what Kestrel says of a request that it does not understand.</summary>
    public void Answer(byte[] instead)
    {
        _instead = instead;
        _lingers = Reason is null; // whoever gave way did so in silence
    }

    /// <summary>Answers a peer for which there is no place, and ends the connection.</summary>
    public async Task TurnAway(string message)
    {
        try
        {
            await _socket.SendAsync(DigitServer.RawProblem(StatusCodes.Status503ServiceUnavailable, message, withBody: true));
        }
        catch (SocketException)
        {
            // Gone already.
        }

        _lingers = true;
        await DisposeAsync();
    }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        _ended = true;
        Input.CancelPendingRead();
        if (_sending)
        {
            Break();
        }
    }

    public override async ValueTask DisposeAsync()
    {
        _leaving = true;
        if (_lingers && _peers.TryLinger())
        {
            await ReadOn();
            _peers.EndLinger();
        }

        _peers.Remove(this);
        _socket.Dispose();
        if (!Interlocked.Exchange(ref _disposed, true))
        {
            _peers.ReturnHandle();
        }

        await base.DisposeAsync();
    }

    private void Break()
    {
        _ended = true;
        _socket.Close(0);
    }

    private async Task ReadOn()
    {
        byte[] rest = new byte[4096];
        using CancellationTokenSource end = new(Linger);
        try
        {
            Volatile.Write(ref _waitingSince, Environment.TickCount64);
            _socket.Shutdown(SocketShutdown.Send);
            while (await _socket.ReceiveAsync(rest, end.Token) > 0)
            {
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // Long enough.
        }
    }

    /// <summary>
    /// The peer's bytes. Whatever ends the connection is the end of the stream, so that Kestrel knows whether a request was cut
    /// off. In a body it is an error that the request is answered with: after an end there, Kestrel writes nothing more.
    /// </summary>
    private sealed class Bytes(Peer peer) : NetworkStream(peer._socket, ownsSocket: false)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int read = peer._ended || peer.Reason is not null ? 0 : await ReadOrEnd(buffer, cancellationToken);
            return read > 0 || buffer.IsEmpty || !peer.ReadsBody ? read : throw peer.Reason ?? new BadHttpRequestException("the connection ended before the body was whole");
        }

        private async ValueTask<int> ReadOrEnd(Memory<byte> buffer, CancellationToken cancellationToken)
        {
            if (!peer._hasArrived) // where bytes are there, this takes them at once: the peer is not waited for, though the system has none left
            {
                Volatile.Write(ref peer._waitingSince, Environment.TickCount64);
            }

            try
            {
                if (peer._peers.Closing && !peer._hasArrived && !peer.HasBytes)
                {
                    await peer._closeRequested.CancelAsync();
                }

                int read = await base.ReadAsync(buffer, cancellationToken);
                peer._hasArrived = buffer.IsEmpty;
                return read;
            }
            catch (OperationCanceledException) when (peer.Reason is not null)
            {
                return 0;
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                peer._ended = true;
                return 0;
            }
            finally
            {
                Volatile.Write(ref peer._waitingSince, 0);
            }
        }

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (peer._instead is { } instead)
            {
                (buffer, peer._instead) = (instead, []); // and nothing after it
            }

            if (buffer.IsEmpty || peer._ended)
            {
                return;
            }

            try
            {
                peer._sending = true;
                Volatile.Write(ref peer._waitingSince, Environment.TickCount64);
                await base.WriteAsync(buffer, cancellationToken);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                peer._ended = true;
                await peer._closeRequested.CancelAsync(); // nobody takes the answers to what else it has asked
            }
            finally
            {
                Volatile.Write(ref peer._waitingSince, 0);
                peer._sending = false;
            }
        }
    }
}
