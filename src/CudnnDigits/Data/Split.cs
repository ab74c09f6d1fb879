using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>Shares of each class to hold out for validation and a final test, or one of several folds, from 1.</summary>
internal readonly record struct SplitSpec(ulong Seed, double Validation, int Folds = 0, int Fold = 0, double Test = 0)
{
    /// <summary>Whether anything is held out.</summary>
    public bool HoldsOut => Folds > 0 || Validation > 0;

    /// <summary>Draws the split of digits with these labels, (N) 0 … 9.</summary>
    public Split Draw(ReadOnlySpan<byte> labels) =>
        Folds > 0 ? Split.StratifiedFold(labels, Folds, Fold, Seed) : Split.Stratified(labels, Validation, Seed, Test);
}

/// <summary>Rows to train on, rows held out for validation, and rows kept away from both for a final test; ascending.</summary>
internal sealed record Split(int[] Training, int[] Validation, int[] Test)
{
    /// <summary>The rows that a run is scored on: those held out for validation or, if there are none, the training rows.</summary>
    public int[] Scored => Validation.Length > 0 ? Validation : Training;

    /// <summary>Holds out shares of every class. The validation rows do not depend on the test share.</summary>
    public static Split Stratified(ReadOnlySpan<byte> labels, double validationShare, ulong seed, double testShare = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(validationShare);
        ArgumentOutOfRangeException.ThrowIfNegative(testShare);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(validationShare + testShare, 1);
        List<int> validation = [], test = [];
        foreach (int[] shuffled in ShuffledClasses(labels, seed))
        {
            int held = (int)Math.Round(validationShare * shuffled.Length, MidpointRounding.AwayFromZero);
            int tested = (int)Math.Round(testShare * shuffled.Length, MidpointRounding.AwayFromZero);
            validation.AddRange(shuffled[..held]);
            test.AddRange(shuffled.Skip(held).Take(tested));
        }

        return Of(labels.Length, validation, test);
    }

    /// <summary>Holds out one fold, from 1. The folds differ by at most one digit in size and in each class.</summary>
    public static Split StratifiedFold(ReadOnlySpan<byte> labels, int folds, int fold, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(folds, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(fold, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(fold, folds);

        // Rows are dealt from class to class without a break, so that remainders spread over the folds.
        IEnumerable<int> dealt = ShuffledClasses(labels, seed).SelectMany(rows => rows);
        return Of(labels.Length, dealt.Where((_, i) => i % folds == fold - 1), []);
    }

    /// <summary>The rows of each class, in an order drawn by the seed.</summary>
    private static int[][] ShuffledClasses(ReadOnlySpan<byte> labels, ulong seed)
    {
        byte[] copy = labels.ToArray();
        ILookup<byte, int> rows = Enumerable.Range(0, copy.Length).ToLookup(row => copy[row]);
        int[][] classes = [.. Enumerable.Range(0, DigitDataset.Classes).Select(digit => rows[(byte)digit].ToArray())];
        for (int digit = 0; digit < classes.Length; digit++)
        {
            EpochOrder.Shuffle(classes[digit], seed, epoch: (uint)digit, RandomPurpose.Split);
        }

        return classes;
    }

    private static Split Of(int count, IEnumerable<int> validation, IEnumerable<int> test) =>
        new([.. Enumerable.Range(0, count).Except(validation).Except(test)], [.. validation.Order()], [.. test.Order()]);
}
