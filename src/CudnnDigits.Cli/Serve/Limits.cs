namespace CudnnDigits.Cli.Serve;

/// <summary>The server's limits for its clients. Tests use lower ones, so that they end sooner.</summary>
internal sealed record Limits
{
    /// <summary>Handles for other purposes, and for connections that have lost their place but are not closed yet.</summary>
    private const int OtherHandles = 224, Ending = 32;

    private const int LeastConnections = 64;

    /// <summary>Open connections.</summary>
    public int Connections { get; init; } = 1024;

    /// <summary>Open connections of one address. Many clients may share the address of a reverse proxy.</summary>
    public int ConnectionsOfAnAddress { get; init; } = 768;

    /// <summary>Connections that are still read for a moment after their last answer. Further ones are closed at once.</summary>
    public int Leaving { get; init; } = 128;

    /// <summary>Handles of all connections, including those that have lost their place.</summary>
    public int Handles => Connections + Ending + Leaving;

    /// <summary>Bytes that all requests together may hold, not counting the first <see cref="FreeBytes"/> of each.</summary>
    public long SharedBytes { get; init; } = 64 << 20;

    /// <summary>Bytes that every request may hold: enough for one digit in any form except a large picture.</summary>
    public int FreeBytes { get; init; } = 64 << 10;

    /// <summary>From the first byte of a request to the end of its headers.</summary>
    public TimeSpan Headers { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>From the end of the headers to the end of the body, and again until the client has received the answer.</summary>
    public TimeSpan Body { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Pixels of all pictures in a request, which must be decoded in time. A PNG of 363 bytes can have a million.</summary>
    public int Pixels { get; init; } = 32 << 20;

    /// <summary>Between two requests of a connection.</summary>
    public TimeSpan Idle { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long a request waits for memory before it is refused.</summary>
    public TimeSpan Memory { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long a client that holds memory may be silent when other requests need the memory.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>When the server stops: the time for requests that have begun to arrive. Idle connections have a twentieth of it.</summary>
    public TimeSpan Stop { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>These limits with as many connections as the system allows. Without a free handle, the runtime ends the process.</summary>
    public Limits WithinHandles()
    {
        if (OperatingSystem.IsWindows())
        {
            return this;
        }

        int others = OtherHandles + Ending + Leaving, least = others + LeastConnections;
        long handles = Posix.AllowOpenFiles(others + Connections);
        if (handles < least)
        {
            throw new InputException(
                $"the system allows this process {handles} open files; serve needs {least}: raise the limit (ulimit -n {least})");
        }

        int connections = (int)handles - others;
        return this with { Connections = connections, ConnectionsOfAnAddress = connections * ConnectionsOfAnAddress / Connections };
    }
}
