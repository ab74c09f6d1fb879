using System.Collections.Concurrent;

namespace CudnnDigits.Training;

/// <summary>
/// Where a process's seconds went before its first step: libraries, context, algorithms, capture. For those who measure how
/// long it takes to be ready; what overlaps is counted for each.
/// </summary>
internal static class StartUp
{
    private static readonly ConcurrentDictionary<string, double> Phases = [];

    /// <summary>Seconds of each phase so far, added up where it came more than once.</summary>
    public static IReadOnlyDictionary<string, double> Seconds => new Dictionary<string, double>(Phases);

    /// <summary>Adds to a phase.</summary>
    /// <param name="phase">Its name, lower case.</param>
    /// <param name="seconds">How long it took.</param>
    public static void Add(string phase, double seconds) => Phases.AddOrUpdate(phase, seconds, (_, before) => before + seconds);

    /// <summary>Measures a phase until it is disposed of.</summary>
    /// <param name="phase">Its name, lower case.</param>
    public static Phase Measure(string phase) => new(phase, Stopwatch.GetTimestamp());

    /// <summary>A phase that is under way.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="begin">When it began, in ticks of <see cref="Stopwatch"/>.</param>
    public readonly struct Phase(string name, long begin) : IDisposable
    {
        /// <summary>Ends it.</summary>
        public void Dispose() => Add(name, Stopwatch.GetElapsedTime(begin).TotalSeconds);
    }
}
