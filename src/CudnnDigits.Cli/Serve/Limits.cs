using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Cli.Serve;

/// <summary>What the server gives its peers at most. Tests take less, so that they end sooner.</summary>
internal sealed record Limits
{
    /// <summary>Handles beside those of connections: the program has 150 open, and some more for a moment.</summary>
    private const int OtherHandles = 224;

    /// <summary>Connections whose place is taken already, but which have not ended yet.</summary>
    private const int Ending = 32;

    private const int LeastConnections = 64;

    /// <summary>
    /// Connections at once, and those of one address: a reverse proxy, whose address is everybody's, has room and leaves some.
    /// </summary>
    public int Connections { get; init; } = 1024;

    /// <inheritdoc cref="Connections"/>
    public int ConnectionsOfAnAddress { get; init; } = 768;

    /// <summary>
    /// Peers that have had their last answer and are listened to for a moment; beyond that they are cut off, for each takes a
    /// handle.
    /// </summary>
    public int Leaving { get; init; } = 128;

    /// <summary>Handles of all connections, those included that have lost their place.</summary>
    public int Handles => Connections + Ending + Leaving;

    /// <summary>Bytes that all requests hold together, beyond the first <see cref="FreeBytes"/> of each.</summary>
    public long SharedBytes { get; init; } = 64 << 20;

    /// <summary>Bytes that each request may hold whatever the others do: enough for one digit in every form but a large picture.</summary>
    public int FreeBytes { get; init; } = 64 << 10;

    /// <summary>From the first byte of a request to the end of its headers.</summary>
    public TimeSpan Headers { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>From the end of the headers to the end of the body, and again for the peer to take the answer.</summary>
    public TimeSpan Body { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// Pixels of all pictures in a request: a PNG of 363 bytes can have a million, which take some milliseconds to unpack. They are
    /// unpacked within <see cref="Body"/> as well, those who wait for others included.
    /// </summary>
    public int Pixels { get; init; } = 32 << 20;

    /// <summary>Between two requests of a connection.</summary>
    public TimeSpan Idle { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long a request waits for memory before it is turned away.</summary>
    public TimeSpan Memory { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long a peer that holds memory may be silent once others need it.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>When the server stops: for requests that have begun to arrive. Idle connections have a twentieth of it.</summary>
    public TimeSpan Stop { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>As many connections as the system lets this process have: without a handle left, the runtime ends it.</summary>
    /// <exception cref="InputException">It lets it have hardly any.</exception>
    public Limits WithinHandles()
    {
        if (OperatingSystem.IsWindows())
        {
            return this;
        }

        int others = OtherHandles + Ending + Leaving, least = others + LeastConnections;
        long handles = Posix.AllowOpenFiles(others + Connections);
        int connections = (int)(handles - others);
        return handles >= least
            ? this with { Connections = connections, ConnectionsOfAnAddress = (int)((long)connections * ConnectionsOfAnAddress / Connections) }
            : throw new InputException($"the system lets this process have {handles} files open at once; serve needs {least}: raise the limit (ulimit -n {least})");
    }
}
