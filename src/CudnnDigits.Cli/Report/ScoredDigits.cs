using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Report;

/// <summary>One digit as a network read it.</summary>
/// <param name="Row">Row of the dataset, from 0.</param>
/// <param name="Label">What it is.</param>
/// <param name="Read">What the network said.</param>
/// <param name="Sure">Probability of that.</param>
internal readonly record struct ScoredDigit(int Row, int Label, int Read, float Sure);

/// <summary>A bin of a calibration curve.</summary>
/// <param name="Least">Least probability in it.</param>
/// <param name="Most">What the probabilities in it stay below; 1 for the last bin, which holds 1 too.</param>
/// <param name="Sure">Mean probability of what was said.</param>
/// <param name="Right">Share of it that was right.</param>
/// <param name="Count">Digits in the bin.</param>
internal readonly record struct CalibrationBin(double Least, double Most, double Sure, double Right, int Count);

/// <summary>Labelled digits with what a network said of each.</summary>
internal sealed class ScoredDigits
{
    /// <summary>From here on a network counts as sure.</summary>
    public const double SureFrom = 0.995;

    private readonly ScoredDigit[] _digits;

    private ScoredDigits(DigitDataset data, ScoredDigit[] digits, Metrics metrics) => (Data, _digits, Metrics) = (data, digits, metrics);

    public DigitDataset Data { get; }

    public Metrics Metrics { get; }

    /// <summary>Takes logits for what a network said.</summary>
    /// <param name="logits">(rows, 10) f32.</param>
    /// <param name="data">Labelled digits.</param>
    /// <param name="rows">The rows that were read.</param>
    public static ScoredDigits Of(ReadOnlySpan<float> logits, DigitDataset data, ReadOnlySpan<int> rows)
    {
        byte[] labels = new byte[rows.Length];
        ScoredDigit[] digits = new ScoredDigit[rows.Length];
        Span<float> probabilities = stackalloc float[DigitDataset.Classes];
        for (int i = 0; i < rows.Length; i++)
        {
            ReadOnlySpan<float> own = logits.Slice(i * DigitDataset.Classes, DigitDataset.Classes);
            Prediction.Softmax(own, probabilities);
            int read = Prediction.Best(own);
            labels[i] = data.Labels[rows[i]];
            digits[i] = new ScoredDigit(rows[i], labels[i], read, probabilities[read]);
        }

        return new ScoredDigits(data, digits, Metrics.FromLogits(logits, labels));
    }

    /// <summary>What the networks of several runs said of the same data, each of its own digits.</summary>
    public static ScoredDigits Pool(IReadOnlyList<ScoredDigits> parts) => parts is [ScoredDigits only]
        ? only
        : new ScoredDigits(parts[0].Data, [.. parts.SelectMany(part => part._digits)], RunGroup.Pool([.. parts.Select(part => part.Metrics)]));

    /// <summary>What it got wrong, the surest first.</summary>
    public IEnumerable<ScoredDigit> Wrong() => _digits.Where(digit => digit.Read != digit.Label).OrderByDescending(digit => digit.Sure).ThenBy(digit => digit.Row);

    /// <summary>What it got right without being sure of it, the least sure first.</summary>
    public IEnumerable<ScoredDigit> LeastSure() => _digits.Where(digit => digit.Read == digit.Label && digit.Sure < SureFrom).OrderBy(digit => digit.Sure).ThenBy(digit => digit.Row);

    /// <summary>
    /// The digits in order of how sure the network was, cut where the bins of a reliability diagram end: at 50, 70, 80, 90, 95, 98,
    /// 99 and 99.9 %, because a good network is seldom less sure than that. Empty bins are left out.
    /// </summary>
    public IReadOnlyList<CalibrationBin> Calibration()
    {
        double[] edges = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1];
        return [.. _digits
            .GroupBy(digit => edges[1..^1].Count(edge => digit.Sure >= edge))
            .OrderBy(bin => bin.Key)
            .Select(bin => new CalibrationBin(edges[bin.Key], edges[bin.Key + 1], bin.Average(digit => digit.Sure), bin.Average(digit => digit.Read == digit.Label ? 1.0 : 0), bin.Count()))];
    }

    /// <summary>Expected calibration error over those bins: mean |sure − right|, weighted by digits. Source: Guo et al. 2017, "On calibration of modern neural networks".</summary>
    public double CalibrationError() => Calibration().Sum(bin => bin.Count * Math.Abs(bin.Sure - bin.Right)) / _digits.Length;
}
