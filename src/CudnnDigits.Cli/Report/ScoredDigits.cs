namespace CudnnDigits.Cli.Report;

/// <summary>The prediction for one digit: what it is read as, and the probability of that.</summary>
internal readonly record struct ScoredDigit(int Row, int Label, int Read, float Sure);

/// <summary>A bin of a calibration curve: probabilities from Least up to Most, their mean, and the share of correct predictions.</summary>
internal readonly record struct CalibrationBin(double Least, double Most, double Sure, double Right, int Count);

/// <summary>Labelled digits with a network's predictions.</summary>
internal sealed record ScoredDigits(DigitDataset Data, ScoredDigit[] Digits, Metrics Metrics)
{
    /// <summary>From this probability on, a prediction counts as sure.</summary>
    public const double SureFrom = 0.995;

    /// <summary>Computes predictions from logits, (rows, 10) f32.</summary>
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
    public static ScoredDigits Pool(IReadOnlyList<ScoredDigits> parts) => new(
        parts[0].Data, [.. parts.SelectMany(part => part.Digits)], RunGroup.Pool([.. parts.Select(part => part.Metrics)]));

    /// <summary>Wrong predictions, the surest first.</summary>
    public IEnumerable<ScoredDigit> Wrong() =>
        Digits.Where(digit => digit.Read != digit.Label).OrderByDescending(digit => digit.Sure).ThenBy(digit => digit.Row);

    /// <summary>Correct predictions that are not sure, the least sure first.</summary>
    public IEnumerable<ScoredDigit> LeastSure() => Digits.Where(digit => digit.Read == digit.Label && digit.Sure < SureFrom)
        .OrderBy(digit => digit.Sure).ThenBy(digit => digit.Row);

    /// <summary>The bins of a reliability diagram, ordered by probability, without empty ones.</summary>
    public IReadOnlyList<CalibrationBin> Calibration()
    {
        double[] edges = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1]; // a good network is seldom less sure
        return [.. Digits.GroupBy(digit => edges[1..^1].Count(edge => digit.Sure >= edge)).OrderBy(bin => bin.Key)
            .Select(bin => new CalibrationBin(
                edges[bin.Key], edges[bin.Key + 1], bin.Average(digit => digit.Sure),
                bin.Average(digit => digit.Read == digit.Label ? 1.0 : 0), bin.Count()))];
    }

    /// <summary>Mean |sure − right|, weighted by digits. Source: Guo et al. 2017, "On calibration of modern neural networks".</summary>
    public double CalibrationError() => Calibration().Sum(bin => bin.Count * Math.Abs(bin.Sure - bin.Right)) / Digits.Length;
}
