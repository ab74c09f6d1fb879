using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>Which rows to hold out: a share of every class, or one fold of several.</summary>
/// <param name="Seed">Same seed, same split.</param>
/// <param name="Validation">Share of each class held out, 0 ≤ share &lt; 1; ignored where there are folds.</param>
/// <param name="Folds">Number of folds, or 0 for a share.</param>
/// <param name="Fold">The fold held out, 1 … Folds.</param>
public readonly record struct SplitSpec(ulong Seed, double Validation, int Folds = 0, int Fold = 0)
{
    /// <summary>Whether anything is held out.</summary>
    public bool HoldsOut => Folds > 0 || Validation > 0;

    /// <summary>Draws the split.</summary>
    /// <param name="labels">(N) 0 … 9.</param>
    public Split Draw(ReadOnlySpan<byte> labels) => Folds > 0 ? Split.StratifiedFold(labels, Folds, Fold, Seed) : Split.Stratified(labels, Validation, Seed);
}

/// <summary>Rows to train on and rows held out, both ascending.</summary>
/// <param name="Training">Rows to train on.</param>
/// <param name="Validation">Rows held out; empty where everything is trained on.</param>
public sealed record Split(int[] Training, int[] Validation)
{
    /// <summary>Draws a stratified hold-out: the same share of every class, rounded to whole digits.</summary>
    /// <param name="labels">(N) 0 … 9.</param>
    /// <param name="validationShare">Share held out, 0 ≤ share &lt; 1; 0 holds nothing out.</param>
    /// <param name="seed">Same seed, same split.</param>
    public static Split Stratified(ReadOnlySpan<byte> labels, double validationShare, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(validationShare);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(validationShare, 1);

        bool[] heldOut = new bool[labels.Length];
        foreach (int[] shuffled in ShuffledClasses(labels, seed))
        {
            int held = (int)Math.Round(validationShare * shuffled.Length, MidpointRounding.AwayFromZero);
            foreach (int row in shuffled.AsSpan(0, held))
            {
                heldOut[row] = true;
            }
        }

        return Of(heldOut);
    }

    /// <summary>
    /// One fold of several: every row is held out in exactly one of them, and the folds differ by at most one digit in size
    /// and in each class.
    /// </summary>
    /// <param name="labels">(N) 0 … 9.</param>
    /// <param name="folds">Number of folds, at least 2.</param>
    /// <param name="fold">The fold held out, 1 … folds.</param>
    /// <param name="seed">Same seed, same folds.</param>
    public static Split StratifiedFold(ReadOnlySpan<byte> labels, int folds, int fold, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(folds, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(fold, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(fold, folds);

        bool[] heldOut = new bool[labels.Length];
        int dealt = 0; // on from class to class, so that what does not divide evenly is spread over the folds
        foreach (int row in ShuffledClasses(labels, seed).SelectMany(rows => rows))
        {
            heldOut[row] = dealt++ % folds == fold - 1;
        }

        return Of(heldOut);
    }

    /// <summary>The rows of each class, in an order drawn by the seed.</summary>
    private static List<int[]> ShuffledClasses(ReadOnlySpan<byte> labels, ulong seed)
    {
        List<int[]> classes = [];
        for (int digit = 0; digit < DigitDataset.Classes; digit++)
        {
            List<int> rows = [];
            for (int row = 0; row < labels.Length; row++)
            {
                if (labels[row] == digit)
                {
                    rows.Add(row);
                }
            }

            int[] shuffled = [.. rows];
            EpochOrder.Shuffle(shuffled, seed, epoch: (uint)digit, RandomPurpose.Split);
            classes.Add(shuffled);
        }

        return classes;
    }

    private static Split Of(bool[] heldOut)
    {
        int[] all = [.. Enumerable.Range(0, heldOut.Length)];
        return new Split([.. all.Where(row => !heldOut[row])], [.. all.Where(row => heldOut[row])]);
    }
}
