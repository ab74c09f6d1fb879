using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>Measures what all workers together can compute and move at best.</summary>
internal static unsafe class CpuCeilings<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const int Repetitions = 15, Chains = 10;
    private const long FmaTurns = 500_000;

    public static Ceilings Measure(WorkerPool pool, long bytes)
    {
        using NativeArena arena = new();
        int workers = pool.Workers.Count;
        long half = bytes / sizeof(float) / 2 / workers / 64 * 64 + 64; // floats that each worker copies
        float* from = arena.Floats(half * workers), to = arena.Floats(half * workers), sink = arena.Floats(workers * 64);
        double fma = Best(pool, item => Fma(sink + item * 64));
        long size = half * sizeof(float);
        double copy = Best(pool, item => Buffer.MemoryCopy(from + item * half, to + item * half, size, size));
        return new Ceilings(2.0 * FmaTurns * Chains * S.Lanes * workers / fma, 2.0 * half * sizeof(float) * workers / copy);
    }

    /// <summary>Least seconds in which every worker has done the body once.</summary>
    private static double Best(WorkerPool pool, Action<int> body)
    {
        double best = double.MaxValue;
        for (int i = 0; i < Repetitions; i++)
        {
            long start = Stopwatch.GetTimestamp();
            pool.Run(pool.Workers.Count, (item, _) => body(item));
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    /// <summary>Ten chains of multiply-adds hide the latency of two units. They are named one by one to stay in registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Fma(float* sink)
    {
        V x = S.Splat(0.5f), y = S.Splat(1f);
        V c0 = default, c1 = default, c2 = default, c3 = default, c4 = default;
        V c5 = default, c6 = default, c7 = default, c8 = default, c9 = default;
        for (long i = 0; i < FmaTurns; i++)
        {
            c0 = S.Fma(c0, x, y);
            c1 = S.Fma(c1, x, y);
            c2 = S.Fma(c2, x, y);
            c3 = S.Fma(c3, x, y);
            c4 = S.Fma(c4, x, y);
            c5 = S.Fma(c5, x, y);
            c6 = S.Fma(c6, x, y);
            c7 = S.Fma(c7, x, y);
            c8 = S.Fma(c8, x, y);
            c9 = S.Fma(c9, x, y);
        }

        S.Store(sink, S.Add(S.Add(S.Add(S.Add(c0, c1), S.Add(c2, c3)), S.Add(S.Add(c4, c5), S.Add(c6, c7))), S.Add(c8, c9)));
    }
}
