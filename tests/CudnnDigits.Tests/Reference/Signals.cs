namespace CudnnDigits.Tests.Reference;

/// <summary>Signals that a test sends to a program that it starts.</summary>
internal static class Signals
{
    private static readonly Dictionary<string, bool> Arrives = [];

    /// <summary>
    /// Skips the test where programs that it starts would ignore a signal: nohup and the background jobs of scripts have it ignored, and
    /// the programs below them inherit that. Windows has no signals.
    /// </summary>
    public static void Require(params IEnumerable<string> names)
    {
        foreach (string name in names.Distinct())
        {
            lock (Arrives)
            {
                if (!Arrives.TryGetValue(name, out bool arrives))
                {
                    Arrives[name] = arrives = FileNodes.Run("sh", "-c", $"trap 'exit 0' {name}; kill -{name} $$; exit 1");
                }

                Assert.SkipUnless(arrives,
                    $"SIG{name} is ignored here, as by nohup or in a script's background job; run the tests in the foreground");
            }
        }
    }

    public static void Send(Process process, string name) =>
        Assert.True(FileNodes.Run("kill", $"-{name}", $"{process.Id}"), $"kill -{name} failed");

    /// <summary>Waits until something has happened, or the process has ended; fails after a minute.</summary>
    public static void WaitUntil(Func<bool> happened, Process process)
    {
        for (Stopwatch clock = Stopwatch.StartNew(); !happened() && !process.HasExited; Thread.Sleep(5))
        {
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), "what the test waits for has not happened within a minute");
        }
    }

    /// <summary>Waits until a program has made itself ready to be interrupted; before that, a signal ends it at once.</summary>
    public static void WaitUntilHandled(Process process)
    {
        const int Hup = 1; // the runtime itself handles SIGTERM, and SIGHUP only for a program that asks for it
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        WaitUntil(() => File.ReadLines($"/proc/{process.Id}/status").Any(line => line.StartsWith("SigCgt:", StringComparison.Ordinal)
            && (long.Parse(line.AsSpan(7).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & (1L << (Hup - 1))) != 0),
                process);
    }
}
