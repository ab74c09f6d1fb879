using System.Collections.Concurrent;

namespace CudnnDigits.Training;

/// <summary>
/// How long the phases before the first step took: libraries, context, algorithms, capture. Phases may overlap.
/// </summary>
internal static class StartUp
{
    private static readonly ConcurrentDictionary<string, double> Phases = [];

    /// <summary>Seconds of each phase so far; a phase that ran more than once is summed.</summary>
    public static IReadOnlyDictionary<string, double> Seconds => new Dictionary<string, double>(Phases);

    public static void Add(string phase, double seconds) => Phases.AddOrUpdate(phase, seconds, (_, before) => before + seconds);

    /// <summary>Measures a phase until the result is disposed.</summary>
    public static Phase Measure(string phase) => new(phase, Stopwatch.GetTimestamp());

    /// <summary>A running phase, from <paramref name="begin"/> in ticks of <see cref="Stopwatch"/>.</summary>
    public readonly struct Phase(string name, long begin) : IDisposable
    {
        public void Dispose() => Add(name, Stopwatch.GetElapsedTime(begin).TotalSeconds);
    }
}
