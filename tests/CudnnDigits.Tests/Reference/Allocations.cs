namespace CudnnDigits.Tests.Reference;

/// <summary>What a thread allocates.</summary>
internal static class Allocations
{
    /// <summary>
    /// Bytes that the calling thread allocates in every call of an action: the least of several, because the runtime itself
    /// allocates now and then on whichever thread it needs to.
    /// </summary>
    /// <param name="action">What to call.</param>
    public static long OfEveryCall(Action action)
    {
        action();
        long least = long.MaxValue;
        for (int call = 0; call < 10 && least > 0; call++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            action();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
