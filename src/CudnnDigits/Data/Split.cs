using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

/// <summary>Which rows to hold out: a share of every class, or one fold of several.</summary>
/// <param name="Seed">The same seed gives the same split.</param>
/// <param name="Validation">The share of each class to hold out for validation, 0 ≤ share &lt; 1; ignored with folds.</param>
/// <param name="Folds">The number of folds, or 0 for a share.</param>
/// <param name="Fold">The fold to hold out, 1 … Folds.</param>
/// <param name="Test">The share of each class to keep away from training and validation; ignored with folds.</param>
internal readonly record struct SplitSpec(ulong Seed, double Validation, int Folds = 0, int Fold = 0, double Test = 0)
{
    /// <summary>Whether anything is held out.</summary>
    public bool HoldsOut => Folds > 0 || Validation > 0;

    /// <summary>Draws the split of digits with these labels, (N) 0 … 9.</summary>
    public Split Draw(ReadOnlySpan<byte> labels) =>
        Folds > 0 ? Split.StratifiedFold(labels, Folds, Fold, Seed) : Split.Stratified(labels, Validation, Seed, Test);
}

/// <summary>Rows to train on and rows held out, ascending.</summary>
/// <param name="Training">Rows to train on.</param>
/// <param name="Validation">Rows held out for validation; may be empty.</param>
/// <param name="Test">Rows kept away from both, for a final test; usually empty.</param>
internal sealed record Split(int[] Training, int[] Validation, int[] Test)
{
    /// <summary>The rows that a run is scored on: those held out for validation or, if there are none, the training rows.</summary>
    public int[] Scored => Validation.Length > 0 ? Validation : Training;

    /// <summary>Draws a stratified hold-out: the same share of every class, rounded to whole digits.</summary>
    /// <param name="labels">(N) 0 … 9.</param>
    /// <param name="validationShare">The share to hold out for validation, 0 ≤ share &lt; 1.</param>
    /// <param name="seed">The same seed gives the same split; the validation rows do not depend on the test share.</param>
    /// <param name="testShare">The share to keep away from both; the two shares are less than 1 together.</param>
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
    /// Holds out one fold of several. Every row is in exactly one fold, and the folds differ by at most one digit in size and in each
    /// class.
    /// </summary>
    /// <param name="labels">(N) 0 … 9.</param>
    /// <param name="folds">Number of folds, at least 2.</param>
    /// <param name="fold">The fold held out, 1 … folds.</param>
    /// <param name="seed">The same seed gives the same folds.</param>
    public static Split StratifiedFold(ReadOnlySpan<byte> labels, int folds, int fold, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(folds, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(fold, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(fold, folds);

        Part[] parts = new Part[labels.Length];
        int dealt = 0; // continues from class to class, so that remainders spread over the folds
        foreach (int row in ShuffledClasses(labels, seed).SelectMany(rows => rows))
        {
            parts[row] = dealt++ % folds == fold - 1 ? Part.Validation : Part.Training;
        }

        return Of(parts);
    }

    /// <summary>The rows of each class, in an order drawn by the seed.</summary>
    private static List<int[]> ShuffledClasses(ReadOnlySpan<byte> labels, ulong seed)
    {
        byte[] copy = labels.ToArray();
        ILookup<byte, int> rows = Enumerable.Range(0, copy.Length).ToLookup(row => copy[row]);
        List<int[]> classes = [.. Enumerable.Range(0, DigitDataset.Classes).Select(digit => rows[(byte)digit].ToArray())];
        for (int digit = 0; digit < classes.Count; digit++)
        {
            EpochOrder.Shuffle(classes[digit], seed, epoch: (uint)digit, RandomPurpose.Split);
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
