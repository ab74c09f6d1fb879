using CudnnDigits.Numerics;

namespace CudnnDigits.Data;

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
            int held = (int)Math.Round(validationShare * shuffled.Length, MidpointRounding.AwayFromZero);
            foreach (int row in shuffled.AsSpan(0, held))
            {
                heldOut[row] = true;
            }
        }

        int[] all = [.. Enumerable.Range(0, labels.Length)];
        return new Split([.. all.Where(row => !heldOut[row])], [.. all.Where(row => heldOut[row])]);
    }
}
