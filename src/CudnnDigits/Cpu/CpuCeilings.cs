using CudnnDigits.Training;

namespace CudnnDigits.Cpu;

/// <summary>Measures what all workers together can compute and move at best.</summary>
internal static unsafe class CpuCeilings<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const int Repetitions = 15, Turns = 200_000;

    /// <summary>Multiply-adds of register tiles whose operands never leave the first-level cache, and copies of so many bytes.</summary>
    public static Ceilings Measure(WorkerPool pool, long bytes)
    {
        using NativeArena arena = new();
        int workers = pool.Workers.Count;
        long half = bytes / sizeof(float) / 2 / workers / 64 * 64 + 64; // floats that each worker copies
        float* from = arena.Floats(half * workers), to = arena.Floats(half * workers);
        double fma = Best(pool, (item, _) => Tile(to + item * half));
        long size = half * sizeof(float);
        double copy = Best(pool, (item, _) => Buffer.MemoryCopy(from + item * half, to + item * half, size, size));
        return new Ceilings(
            2.0 * Turns * S.TileRows * RegisterTile<S, V>.Columns * workers / fma, 2.0 * half * sizeof(float) * workers / copy);
    }

    private static void Tile(float* at) =>
        RegisterTile<S, V>.Multiply(S.TileRows, at, 0, 0, 0, at, 0, 0, 1, Turns, at, 0, add: false);

    /// <summary>Least seconds in which every worker has done the body once.</summary>
    private static double Best(WorkerPool pool, Action<int, Worker> body)
    {
        double best = double.MaxValue;
        for (int i = 0; i < Repetitions; i++)
        {
            long start = Stopwatch.GetTimestamp();
            pool.Run(pool.Workers.Count, body);
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }
}
