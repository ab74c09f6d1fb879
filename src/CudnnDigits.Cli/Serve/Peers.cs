using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace CudnnDigits.Cli.Serve;

/// <summary>
/// All connections. If there is no place for a new connection, the one that has kept the server waiting longest is closed; if none keeps it
/// waiting, the new one is refused. The same holds for memory. When the server stops, connections in the system's queue are still accepted.
/// </summary>
/// <param name="listener">A listening socket, which this object disposes.</param>
internal sealed class Peers(Socket listener, Limits limits) : IConnectionListenerFactory, IConnectionListener
{
    private readonly Lock _lock = new();
    private readonly HashSet<Peer> _all = [];
    private readonly Dictionary<IPAddress, int> _ofAddress = [];
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _handles = new(limits.Handles);
    private Timer? _clock;
    private long _sharedBytes;
    private int _leaving;
    private long _stopAt = long.MaxValue;

    public Limits Limits { get; } = limits;

    /// <summary>Whether the server is stopping: each answer is the last one of its connection.</summary>
    public bool Stopping => _stopping.IsCancellationRequested;

    /// <summary>Whether the server is stopping and no longer waits for silent peers.</summary>
    public bool Closing { get; private set; }

    /// <summary>Whether the server is stopping and no longer waits for any peer.</summary>
    public bool StopIsOver => Environment.TickCount64 > Volatile.Read(ref _stopAt);

    public EndPoint EndPoint => listener.LocalEndPoint!;

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        _clock = new Timer(_ => LookAtTheClock(), null, 250, 250);
        return new(this);
    }

    /// <summary>The next connection. Null when the server stops and the queue is empty.</summary>
    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        while (true)
        {
            await _handles.WaitAsync(CancellationToken.None); // connections that lost their place keep their handle until they are closed
            try
            {
                if (await Next() is not { } socket)
                {
                    listener.Dispose();
                    return null;
                }

                if (Admit(socket) is { } peer)
                {
                    return peer;
                }
            }
            catch (SocketException) // the client has gone already, or the system has no free handle at the moment
            {
                ReturnHandle();
                await Task.Delay(20, CancellationToken.None);
            }
        }
    }

    /// <summary>Stops accepting, and gives silent peers a moment to send something.</summary>
    public async ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        Volatile.Write(ref _stopAt, Environment.TickCount64 + (long)Limits.Stop.TotalMilliseconds);
        await _stopping.CancelAsync();
        _ = Task.Delay(Limits.Stop / 20, CancellationToken.None).ContinueWith(_ => Close(), TaskScheduler.Default);
    }

    public async ValueTask DisposeAsync()
    {
        if (_clock is not null)
        {
            await _clock.DisposeAsync();
        }

        listener.Dispose();
    }

    /// <summary>Takes shared memory. If there is not enough, a silent peer that holds some is stopped, and the caller must retry.</summary>
    /// <param name="bytes">Above 0 to take memory, below 0 to give it back.</param>
    public bool TryBook(long bytes)
    {
        Peer? silent;
        lock (_lock)
        {
            if (bytes <= 0 || _sharedBytes + bytes <= Limits.SharedBytes)
            {
                _sharedBytes += bytes;
                return true;
            }

            silent = LongestWaiting(peer => peer.Booked > 0 && peer.WaitedFor >= Limits.Silence.TotalMilliseconds);
        }

        silent?.GiveWay(
            StatusCodes.Status503ServiceUnavailable, "other requests needed the memory while this one was silent; try again in a moment");
        return false;
    }

    /// <summary>Whether a peer may be read for a moment after its last answer. If so, the caller calls <see cref="EndLinger"/>.</summary>
    public bool TryLinger()
    {
        if (Interlocked.Increment(ref _leaving) <= Limits.Leaving)
        {
            return true;
        }

        EndLinger();
        return false;
    }

    /// <summary>Gives back the handle of a closed connection.</summary>
    public void ReturnHandle() => _handles.Release();

    public void EndLinger() => Interlocked.Decrement(ref _leaving);

    public void Remove(Peer peer)
    {
        lock (_lock)
        {
            if (_all.Remove(peer) && --_ofAddress[peer.Address] == 0)
            {
                _ofAddress.Remove(peer.Address);
            }
        }
    }

    private async Task<Socket?> Next()
    {
        try
        {
            return await listener.AcceptAsync(_stopping.Token);
        }
        catch (OperationCanceledException)
        {
            return listener.Poll(0, SelectMode.SelectRead) ? listener.Accept() : null;
        }
    }

    private Peer? Admit(Socket socket)
    {
        Peer peer;
        Peer? silent = null;
        try
        {
            socket.NoDelay = true;
            peer = new Peer(socket, this);
        }
        catch (SocketException) // the client has gone already
        {
            socket.Dispose();
            ReturnHandle();
            return null;
        }

        lock (_lock)
        {
            int same = _ofAddress.GetValueOrDefault(peer.Address);
            bool fullForOne = same >= Limits.ConnectionsOfAnAddress, full = fullForOne || _all.Count >= Limits.Connections;
            if (full)
            {
                silent = LongestWaiting(other => !fullForOne || other.Address.Equals(peer.Address));
            }

            if (!full || silent is not null)
            {
                _all.Add(peer);
                _ofAddress[peer.Address] = same + 1;
            }
            else
            {
                _ = peer.TurnAway($"{_all.Count} connections are open, {same} of them from this address; try again in a moment");
                return null;
            }
        }

        if (silent is not null)
        {
            Remove(silent); // its place is free at once, however long it takes to close
            silent.GiveWay(
                StatusCodes.Status503ServiceUnavailable,
                "other connections needed the place while this one was silent; try again in a moment");
        }

        return peer;
    }

    /// <summary>The peer that has been silent for longest. Null if none is.</summary>
    private Peer? LongestWaiting(Func<Peer, bool> may) => _all.Where(peer => may(peer) && peer.WaitedFor >= 0)
        .OrderByDescending(peer => peer.WaitedFor).FirstOrDefault(peer => peer.IsSilent);

    private Peer[] All()
    {
        lock (_lock)
        {
            return [.. _all];
        }
    }

    private void LookAtTheClock()
    {
        bool stop = StopIsOver;
        foreach (Peer peer in All())
        {
            if (peer.IsLate)
            {
                peer.GiveWay(
                    StatusCodes.Status408RequestTimeout, $"the body did not arrive completely within {Limits.Body.TotalSeconds:0.#} s");
            }
            else if (stop && peer.WaitedFor >= 0)
            {
                peer.GiveWay(StatusCodes.Status503ServiceUnavailable, "the server stops, and the request was not complete");
            }
        }
    }

    private void Close()
    {
        Closing = true;
        foreach (Peer peer in All())
        {
            peer.RequestClose();
        }
    }
}
