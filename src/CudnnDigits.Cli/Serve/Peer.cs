using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using static Microsoft.AspNetCore.Http.StatusCodes;

namespace CudnnDigits.Cli.Serve;

/// <summary>A connection of a client, the peer: how long the server has waited for it, and how much memory its request holds.</summary>
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
        StartWaiting();
        Bytes bytes = new(this);
        // The reader waits with a read of 0 bytes. Data stay in the system's buffer until Kestrel takes them, so HasBytes can see them.
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

    /// <summary>Bytes of the shared memory that the request holds.</summary>
    public long Booked { get; private set; }

    /// <summary>Whether the body of a request is being read. If the connection ends then, the answer is an error.</summary>
    public bool ReadsBody { get; set; }

    /// <summary>Whether the current request has been read to its end.</summary>
    public bool HasReadAll { get; set; }

    public Limits Limits => _peers.Limits;

    /// <summary>Why the server reads no more from the peer. If a request has begun, this is its answer.</summary>
    public BadHttpRequestException? Reason { get; private set; }

    /// <summary>Milliseconds that the server has waited for the peer to send or to receive; −1 if it does not wait.</summary>
    public long WaitedFor => Volatile.Read(ref _waitingSince) is > 0 and var since ? Environment.TickCount64 - since : -1;

    /// <summary>Whether the deadline of the current request has passed.</summary>
    public bool IsLate => Environment.TickCount64 > Volatile.Read(ref _deadline);

    /// <summary>Whether the current answer is the last one, because the server stops and no further request has arrived.</summary>
    public bool IsLastAnswer => _peers.Stopping && !(HasReadAll && HasMore());

    /// <summary>Whether the peer keeps the server waiting: data that have arrived count, and so does an answer only just begun.</summary>
    public bool IsSilent =>
        WaitedFor is var waited && waited >= 0 && (_sending ? waited >= Limits.Silence.TotalMilliseconds : !HasBytes);

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

    /// <summary>Starts the deadline: for the peer to send the body, or to receive the answer.</summary>
    public void StartClock() => Volatile.Write(ref _deadline, Environment.TickCount64 + (long)Limits.Body.TotalMilliseconds);

    public void StopClock() => Volatile.Write(ref _deadline, long.MaxValue);

    /// <summary>Reads on for a moment after the last answer. A peer that is still sending would lose the answer otherwise.</summary>
    public void LingerAtTheEnd() => _lingers = true;

    /// <summary>Takes memory for the request, in bytes. It may wait for other requests to give some back.</summary>
    public async ValueTask Take(long bytes)
    {
        _held += bytes;
        long more = Math.Max(0, _held - Limits.FreeBytes - Booked);
        for (long start = Environment.TickCount64; more > 0 && !_peers.TryBook(more); await Task.Delay(20))
        {
            if (Environment.TickCount64 - start > Limits.Memory.TotalMilliseconds)
            {
                throw new BadRequestException(
                    Status503ServiceUnavailable,
                    $"other requests hold all of the {Limits.SharedBytes >> 20} MiB that large ones share; try again in a moment");
            }
        }

        Booked += more;
    }

    /// <summary>Gives memory back before the request ends.</summary>
    public void GiveBack(long bytes)
    {
        _held -= bytes;
        if (Booked - Math.Max(0, _held - Limits.FreeBytes) is > 0 and var less)
        {
            _peers.TryBook(-less);
            Booked -= less;
        }
    }

    /// <summary>Waits for a turn at work that the server does only a few times at once, until a time of the tick count.</summary>
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

        throw new BadRequestException(Status503ServiceUnavailable, "the server has too many pictures to unpack; try again in a moment");
    }

    /// <summary>Ends the deadline and gives back all memory, after the request has been answered.</summary>
    public void EndRequest()
    {
        StopClock();
        GiveBack(_held);
    }

    /// <summary>Stops reading. A request that has begun is answered with the reason; an answer that is not received is cut off.</summary>
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

    /// <summary>Closes the connection after the current request, unless the peer has sent more, which the reader checks.</summary>
    public void RequestClose() => Input.CancelPendingRead();

    /// <summary>Sets the answer that is sent in place of Kestrel's answer to a malformed request.</summary>
    public void Answer(byte[] instead)
    {
        _instead = instead;
        _lingers = Reason is null; // a peer that was stopped for its silence is not sending anything
    }

    /// <summary>Answers a peer for which there is no place, and closes the connection.</summary>
    public async Task TurnAway(string message)
    {
        try
        {
            await _socket.SendAsync(DigitServer.RawProblem(Status503ServiceUnavailable, message, withBody: true));
        }
        catch (SocketException)
        {
            // The peer has gone already.
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
        if (_lingers && await _peers.Leaving.WaitAsync(0))
        {
            await ReadOn();
            _peers.Leaving.Release();
        }

        _peers.Remove(this);
        _socket.Dispose();
        if (!Interlocked.Exchange(ref _disposed, true))
        {
            _peers.Handles.Release();
        }

        await base.DisposeAsync();
    }

    private void Break()
    {
        _ended = true;
        _socket.Close(0);
    }

    /// <summary>Whether data of a further request have arrived. The current request must have been read to its end.</summary>
    private bool HasMore()
    {
        if (HasBytes || !Input.TryRead(out ReadResult rest))
        {
            return HasBytes;
        }

        Input.AdvanceTo(rest.Buffer.Start, rest.Buffer.Start);
        return !rest.Buffer.IsEmpty;
    }

    private void StartWaiting() => Volatile.Write(ref _waitingSince, Environment.TickCount64);

    private void EndWaiting() => Volatile.Write(ref _waitingSince, 0);

    private async Task ReadOn()
    {
        byte[] rest = new byte[4096];
        using CancellationTokenSource end = new(Linger);
        try
        {
            StartWaiting();
            _socket.Shutdown(SocketShutdown.Send);
            while (await _socket.ReceiveAsync(rest, end.Token) > 0)
            {
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // The connection is broken, or the time is over.
        }
    }

    /// <summary>The peer's data. They end when the connection ends, so that Kestrel knows whether a request was cut off.</summary>
    private sealed class Bytes(Peer peer) : NetworkStream(peer._socket, ownsSocket: false)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            // While a body is being read, the end becomes the answer: after an end of the stream, Kestrel writes nothing.
            int read = peer._ended || peer.Reason is not null ? 0 : await ReadOrEnd(buffer, cancellationToken);
            return read > 0 || buffer.IsEmpty || !peer.ReadsBody
                ? read
                : throw peer.Reason ?? new BadHttpRequestException("the connection ended before the body was complete");
        }

        private async ValueTask<int> ReadOrEnd(Memory<byte> buffer, CancellationToken cancellationToken)
        {
            try
            {
                if (!peer._hasArrived) // data that have arrived are read at once, without waiting for the peer
                {
                    peer.StartWaiting();
                }

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
                peer.EndWaiting();
            }
        }

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (peer._instead is { } instead)
            {
                (buffer, peer._instead) = (instead, []); // nothing is sent after it
            }

            if (buffer.IsEmpty || peer._ended)
            {
                return;
            }

            try
            {
                peer._sending = true;
                peer.StartWaiting();
                await base.WriteAsync(buffer, cancellationToken);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                peer._ended = true;
                await peer._closeRequested.CancelAsync(); // the peer will not receive answers to further requests
            }
            finally
            {
                peer.EndWaiting();
                peer._sending = false;
            }
        }
    }
}
