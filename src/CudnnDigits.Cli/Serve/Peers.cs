using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using static Microsoft.AspNetCore.Http.StatusCodes;

namespace CudnnDigits.Cli.Serve;

/// <summary>All connections. If there is no place or no memory for a new one, the one that has been silent longest gives way.</summary>
internal sealed class Peers(Socket listener, Limits limits) : IConnectionListenerFactory, IConnectionListener
{
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _stopping = new();
    private ImmutableHashSet<Peer> _all = [];
    private Timer? _clock;
    private long _sharedBytes, _stopAt = long.MaxValue;

    public Limits Limits { get; } = limits;

    /// <summary>A handle for each connection. One that has lost its place keeps its handle until it is closed.</summary>
    public SemaphoreSlim Handles { get; } = new(limits.Handles);

    /// <summary>Places for peers that are still read for a moment after their last answer.</summary>
    public SemaphoreSlim Leaving { get; } = new(limits.Leaving);

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
            Socket? socket = null;
            await Handles.WaitAsync(CancellationToken.None);
            try
            {
                socket = await Next();
                if (socket is null)
                {
                    listener.Dispose();
                    return null;
                }

                socket.NoDelay = true;
                Peer peer = new(socket, this);
                if (Admit(peer))
                {
                    return peer;
                }
            }
            catch (SocketException) // the client has gone already, or the system has no free handle at the moment
            {
                socket?.Dispose();
                Handles.Release();
                await Task.Delay(socket is null ? 20 : 0, CancellationToken.None);
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
        await (_clock?.DisposeAsync() ?? ValueTask.CompletedTask);
        listener.Dispose();
    }

    /// <summary>Takes shared memory. If there is not enough, a silent peer that holds some is stopped, and the caller must retry.</summary>
    public bool TryBook(long bytes)
    {
        lock (_lock)
        {
            if (bytes <= 0 || _sharedBytes + bytes <= Limits.SharedBytes)
            {
                _sharedBytes += bytes;
                return true;
            }
        }

        Peer? silent = LongestWaiting(peer => peer.Booked > 0 && peer.WaitedFor >= Limits.Silence.TotalMilliseconds);
        silent?.GiveWay(Status503ServiceUnavailable, "other requests needed the memory while this one was silent; try again in a moment");
        return false;
    }

    public void Remove(Peer peer) => ImmutableInterlocked.Update(ref _all, all => all.Remove(peer));

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

    /// <summary>Gives a place to a new connection, or refuses it.</summary>
    private bool Admit(Peer peer)
    {
        int same = _all.Count(other => other.Address.Equals(peer.Address));
        bool fullForOne = same >= Limits.ConnectionsOfAnAddress;
        if (fullForOne || _all.Count >= Limits.Connections)
        {
            Peer? silent = LongestWaiting(other => !fullForOne || other.Address.Equals(peer.Address));
            if (silent is null)
            {
                _ = peer.TurnAway($"{_all.Count} connections are open, {same} of them from this address; try again in a moment");
                return false;
            }

            Remove(silent); // its place is free at once, however long it takes to close
            const string Why = "other connections needed the place while this one was silent; try again in a moment";
            silent.GiveWay(Status503ServiceUnavailable, Why);
        }

        ImmutableInterlocked.Update(ref _all, all => all.Add(peer));
        return true;
    }

    /// <summary>The peer that has been silent for longest. Null if none is.</summary>
    private Peer? LongestWaiting(Func<Peer, bool> may) => _all.Where(peer => may(peer) && peer.WaitedFor >= 0)
        .OrderByDescending(peer => peer.WaitedFor).FirstOrDefault(peer => peer.IsSilent);

    private void LookAtTheClock()
    {
        bool stop = StopIsOver;
        foreach (Peer peer in _all)
        {
            if (peer.IsLate)
            {
                peer.GiveWay(Status408RequestTimeout, $"the body did not arrive completely within {Limits.Body.TotalSeconds:0.#} s");
            }
            else if (stop && peer.WaitedFor >= 0)
            {
                peer.GiveWay(Status503ServiceUnavailable, "the server stops, and the request was not complete");
            }
        }
    }

    private void Close()
    {
        Closing = true;
        foreach (Peer peer in _all)
        {
            peer.RequestClose();
        }
    }
}
