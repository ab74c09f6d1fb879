using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>The order in which an epoch visits the training rows.</summary>
internal static class EpochOrder
{
    /// <summary>The rows of one epoch in training order.</summary>
    /// <param name="rows">Training rows.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">The epoch, from 0; each has its own order.</param>
    /// <param name="shuffle">False keeps the order of <paramref name="rows"/>.</param>
    public static int[] Create(ReadOnlySpan<int> rows, ulong seed, int epoch, bool shuffle)
    {
        int[] order = rows.ToArray();
        if (shuffle)
        {
            Shuffle(order, seed, (uint)epoch, RandomPurpose.EpochOrder);
        }

        return order;
    }

    /// <summary>Shuffles by Fisher–Yates, with word i of the random stream for position i.</summary>
    internal static void Shuffle(Span<int> items, ulong seed, uint epoch, uint purpose)
    {
        uint[] words = new uint[items.Length];
        new Philox(seed).Fill(words, sample: 0, epoch, purpose);
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = Philox.ToIndex(words[i], i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }
}
