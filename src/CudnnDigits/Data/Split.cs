using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>Which rows to hold out: a share of every class, or one fold of several.</summary>
/// <param name="Seed">Same seed, same split.</param>
/// <param name="Validation">Share of each class held out, 0 ≤ share &lt; 1; ignored where there are folds.</param>
/// <param name="Folds">Number of folds, or 0 for a share.</param>
/// <param name="Fold">The fold held out, 1 … Folds.</param>
/// <param name="Test">Share of each class kept away from training and validation alike; ignored where there are folds.</param>
internal readonly record struct SplitSpec(ulong Seed, double Validation, int Folds = 0, int Fold = 0, double Test = 0)
{
    /// <summary>Whether anything is held out.</summary>
    public bool HoldsOut => Folds > 0 || Validation > 0;

    /// <summary>Draws the split.</summary>
    /// <param name="labels">(N) 0 … 9.</param>
    public Split Draw(ReadOnlySpan<byte> labels) => Folds > 0 ? Split.StratifiedFold(labels, Folds, Fold, Seed) : Split.Stratified(labels, Validation, Seed, Test);
}

/// <summary>Rows to train on and rows held out, ascending.</summary>
/// <param name="Training">Rows to train on.</param>
/// <param name="Validation">Rows held out; empty where everything is trained on.</param>
/// <param name="Test">Rows kept away from both, for a last judgement; mostly empty.</param>
internal sealed record Split(int[] Training, int[] Validation, int[] Test)
{
    /// <summary>Rows that a run is scored on: those held out for validation, or those trained on where there are none.</summary>
    public int[] Scored => Validation.Length > 0 ? Validation : Training;

    /// <summary>Draws a stratified hold-out: the same share of every class, rounded to whole digits.</summary>
    /// <param name="labels">(N) 0 … 9.</param>
    /// <param name="validationShare">Share held out, 0 ≤ share &lt; 1; 0 holds nothing out.</param>
    /// <param name="seed">Same seed, same split; the rows held out for validation do not depend on the test share.</param>
    /// <param name="testShare">Share kept away from training and validation; together with validation less than 1.</param>
    public static Split Stratified(ReadOnlySpan<byte> labels, double validationShare, ulong seed, double testShare = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(validationShare);
        ArgumentOutOfRangeException.ThrowIfNegative(testShare);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(validationShare + testShare, 1);

        Part[] parts = new Part[labels.Length];
        foreach (int[] shuffled in ShuffledClasses(labels, seed))
        {
            int validation = (int)Math.Round(validationShare * shuffled.Length, MidpointRounding.AwayFromZero);
            int test = Math.Min((int)Math.Round(testShare * shuffled.Length, MidpointRounding.AwayFromZero), shuffled.Length - validation);
            for (int i = 0; i < validation + test; i++)
            {
                parts[shuffled[i]] = i < validation ? Part.Validation : Part.Test;
            }
        }

        return Of(parts);
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

        Part[] parts = new Part[labels.Length];
        int dealt = 0; // on from class to class, so that what does not divide evenly is spread over the folds
        foreach (int row in ShuffledClasses(labels, seed).SelectMany(rows => rows))
        {
            parts[row] = dealt++ % folds == fold - 1 ? Part.Validation : Part.Training;
        }

        return Of(parts);
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

    private static Split Of(Part[] parts)
    {
        return new Split(Rows(Part.Training), Rows(Part.Validation), Rows(Part.Test));

        int[] Rows(Part part) => [.. Enumerable.Range(0, parts.Length).Where(row => parts[row] == part)];
    }

    private enum Part : byte
    {
        Training,
        Validation,
        Test,
    }
}
