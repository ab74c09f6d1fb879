using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Cli.Report;

/// <summary>The prediction for one digit.</summary>
/// <param name="Read">The predicted digit.</param>
/// <param name="Sure">Probability of the predicted digit.</param>
internal readonly record struct ScoredDigit(int Row, int Label, int Read, float Sure);

/// <summary>A bin of a calibration curve.</summary>
/// <param name="Least">The lower limit of the probabilities.</param>
/// <param name="Most">The upper limit, which only the last bin includes.</param>
/// <param name="Sure">Mean probability of the predictions.</param>
/// <param name="Right">Share of correct predictions.</param>
internal readonly record struct CalibrationBin(double Least, double Most, double Sure, double Right, int Count);

/// <summary>Labelled digits with a network's predictions.</summary>
internal sealed class ScoredDigits
{
    /// <summary>From this probability on, a prediction counts as sure.</summary>
    public const double SureFrom = 0.995;

    private readonly ScoredDigit[] _digits;

    private ScoredDigits(DigitDataset data, ScoredDigit[] digits, Metrics metrics) =>
        (Data, _digits, Metrics) = (data, digits, metrics);

    public DigitDataset Data { get; }

    public Metrics Metrics { get; }

    /// <summary>Computes predictions from logits.</summary>
    /// <param name="logits">(rows, 10) f32.</param>
    /// <param name="rows">The rows that the logits belong to.</param>
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

    /// <summary>The predictions of several runs on the same data, each on its own rows.</summary>
    public static ScoredDigits Pool(IReadOnlyList<ScoredDigits> parts)
    {
        Metrics metrics = RunGroup.Pool([.. parts.Select(part => part.Metrics)]);
        return parts is [ScoredDigits only] ? only : new(parts[0].Data, [.. parts.SelectMany(part => part._digits)], metrics);
    }

    /// <summary>Wrong predictions, the surest first.</summary>
    public IEnumerable<ScoredDigit> Wrong() =>
        _digits.Where(digit => digit.Read != digit.Label).OrderByDescending(digit => digit.Sure).ThenBy(digit => digit.Row);

    /// <summary>Correct predictions that are not sure, the least sure first.</summary>
    public IEnumerable<ScoredDigit> LeastSure() => _digits.Where(digit => digit.Read == digit.Label && digit.Sure < SureFrom)
        .OrderBy(digit => digit.Sure).ThenBy(digit => digit.Row);

    /// <summary>
    /// The bins of a reliability diagram, ordered by probability, without empty ones. Their limits are 50, 70, 80, 90, 95, 98, 99 and
    /// 99.9 %, because a good network is seldom less sure.
    /// </summary>
    public IReadOnlyList<CalibrationBin> Calibration()
    {
        double[] edges = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1];
        return [.. _digits
            .GroupBy(digit => edges[1..^1].Count(edge => digit.Sure >= edge))
            .OrderBy(bin => bin.Key)
            .Select(bin => new CalibrationBin(
                edges[bin.Key], edges[bin.Key + 1], bin.Average(digit => digit.Sure),
                bin.Average(digit => digit.Read == digit.Label ? 1.0 : 0), bin.Count()))];
    }

    /// <summary>
    /// Expected calibration error over these bins: mean |sure − right|, weighted by digits. Source: Guo et al. 2017, "On calibration of
    /// modern neural networks".
    /// </summary>
    public double CalibrationError() => Calibration().Sum(bin => bin.Count * Math.Abs(bin.Sure - bin.Right)) / _digits.Length;
}
