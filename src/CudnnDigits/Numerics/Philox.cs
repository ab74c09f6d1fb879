using System.Runtime.Intrinsics;

namespace CudnnDigits.Numerics;

/// <summary>
/// What a stream of random words is used for: the last word of the Philox counter. For initial weights the sample is the index of the
/// parameter in its layout, for tuning the trial. To Dropout is added the index of the dropout layer, counted from 0.
/// </summary>
internal static class RandomPurpose
{
    public const uint InitialWeights = 1, EpochOrder = 2, Split = 3, Augmentation = 4, GeneratedDigits = 5, Tuning = 6, Dropout = 16;
}

/// <summary>
/// Philox4x32-10, a counter-based generator: the words are a pure function of (seed, epoch, sample, purpose, index), so
/// they do not depend on the number of threads, and a GPU draws the same ones.
/// Key = (low, high half of the seed); counter = (index / 4, sample, epoch, purpose); word index % 4 of that block.
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
/// </summary>
internal readonly struct Philox(ulong seed)
{
    private const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57;
    private const uint Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;
    private const int Rounds = 10;

    /// <summary>Words made by one pass of the vectorised <see cref="Fill"/>: eight blocks of four.</summary>
    private const int WordsPerPass = 32;

    private readonly uint _key0 = (uint)seed, _key1 = (uint)(seed >> 32);

    /// <summary>The four words of one block; sample is the row of the dataset, or whatever the purpose says.</summary>
    public (uint X, uint Y, uint Z, uint W) Block(uint block, uint sample, uint epoch, uint purpose)
    {
        uint c0 = block, c1 = sample, c2 = epoch, c3 = purpose, k0 = _key0, k1 = _key1;
        for (int round = 0; round < Rounds; round++)
        {
            ulong p0 = (ulong)Multiplier0 * c0, p1 = (ulong)Multiplier1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += Weyl0;
            k1 += Weyl1;
        }

        return (c0, c1, c2, c3);
    }

    /// <summary>Fills a span with the stream's first words; block i gives words 4i to 4i + 3.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Fill(Span<uint> words, uint sample, uint epoch, uint purpose)
    {
        int done = 0;
        Span<ulong> pairs = stackalloc ulong[WordsPerPass / 2];
        for (; done + WordsPerPass <= words.Length; done += WordsPerPass)
        {
            EightBlocks((uint)done / 4, sample, epoch, purpose, pairs);
            Span<ulong> to = MemoryMarshal.Cast<uint, ulong>(words.Slice(done, WordsPerPass));
            for (int i = 0; i < 8; i++)
            {
                (to[2 * i], to[2 * i + 1]) = (pairs[i], pairs[8 + i]);
            }
        }

        for (; done < words.Length; done += 4)
        {
            (uint x, uint y, uint z, uint w) = Block((uint)done / 4, sample, epoch, purpose);
            ReadOnlySpan<uint> tail = [x, y, z, w];
            tail[..Math.Min(4, words.Length - done)].CopyTo(words[done..]);
        }
    }

    /// <summary>Maps a word to [0, 1): its upper 24 bits, so that every value is exact in float32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ToUniform(uint word) => (word >> 8) * (1f / (1 << 24));

    /// <summary>Maps a word to 0 … <paramref name="bound"/> − 1 by multiplication (Lemire); the bias is below bound / 2³².</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int ToIndex(uint word, int bound) => (int)(((ulong)word * (uint)bound) >> 32);

    /// <summary>Eight consecutive blocks, one per 64-bit lane; words 0 and 1 of block i go to pairs[i], 2 and 3 to pairs[8 + i].</summary>
    private void EightBlocks(uint firstBlock, uint sample, uint epoch, uint purpose, Span<ulong> pairs)
    {
        Vector512<ulong> low = Vector512.Create((ulong)uint.MaxValue);
        Vector512<ulong> m0 = Vector512.Create((ulong)Multiplier0), m1 = Vector512.Create((ulong)Multiplier1);
        Vector512<ulong> c0 = Vector512.Create((ulong)firstBlock) + Vector512.Create(0UL, 1, 2, 3, 4, 5, 6, 7);
        Vector512<ulong> c1 = Vector512.Create((ulong)sample), c2 = Vector512.Create((ulong)epoch), c3 = Vector512.Create((ulong)purpose);
        uint k0 = _key0, k1 = _key1;
        for (int round = 0; round < Rounds; round++)
        {
            Vector512<ulong> p0 = m0 * c0, p1 = m1 * c2;
            c0 = (p1 >>> 32) ^ c1 ^ Vector512.Create((ulong)k0);
            c1 = p1 & low;
            c2 = (p0 >>> 32) ^ c3 ^ Vector512.Create((ulong)k1);
            c3 = p0 & low;
            k0 += Weyl0;
            k1 += Weyl1;
        }

        (c0 | (c1 << 32)).CopyTo(pairs);
        (c2 | (c3 << 32)).CopyTo(pairs[8..]);
    }
}
