using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>The order in which an epoch visits the training rows.</summary>
internal static class EpochOrder
{
    /// <summary>The rows of one epoch, from 0, in training order. Each epoch has its own; without shuffling it is the given one.</summary>
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
