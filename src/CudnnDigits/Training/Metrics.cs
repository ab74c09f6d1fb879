using CudnnDigits.Data;

namespace CudnnDigits.Training;

/// <summary>Precision, recall and F1 of one class, each 0 … 1; 0 where the denominator is 0, as in scikit-learn.</summary>
/// <param name="Digit">0 … 9.</param>
/// <param name="Precision">Share of the samples predicted as this digit that are this digit.</param>
/// <param name="Recall">Share of the samples of this digit that are predicted as this digit.</param>
/// <param name="F1">Harmonic mean of the two.</param>
/// <param name="Support">Samples of this digit.</param>
public sealed record ClassMetrics(int Digit, double Precision, double Recall, double F1, int Support);

/// <summary>Metrics of a network on a set of labelled digits.</summary>
/// <param name="Samples">Number of digits.</param>
/// <param name="Accuracy">Share that is predicted correctly, 0 … 1.</param>
/// <param name="Loss">Mean cross-entropy, in nats.</param>
/// <param name="MacroPrecision">Mean precision of the classes, 0 … 1.</param>
/// <param name="MacroRecall">Mean recall of the classes, 0 … 1.</param>
/// <param name="MacroF1">Mean F1 of the classes, 0 … 1.</param>
/// <param name="Classes">(10), one entry for each digit, 0 to 9.</param>
/// <param name="Confusion">(10, 10) counts: [label][predicted digit].</param>
public sealed record Metrics(
    int Samples,
    double Accuracy,
    double Loss,
    double MacroPrecision,
    double MacroRecall,
    double MacroF1,
    IReadOnlyList<ClassMetrics> Classes,
    IReadOnlyList<IReadOnlyList<int>> Confusion)
{
    /// <summary>Whether the numbers agree: all of them except the loss follow from the confusion matrix.</summary>
    internal bool IsPossible
    {
        get
        {
            const int Classes = DigitDataset.Classes;
            if (Confusion.Count != Classes || Confusion.Any(row => row is null || row.Count != Classes || row.Any(count => count < 0))
                || Samples < 1 || Confusion.Sum(row => row.Sum(count => (long)count)) != Samples || !double.IsFinite(Loss)
                || this.Classes.Count != Classes || this.Classes.Contains(null!))
            {
                return false;
            }

            return Numbers(this).Zip(Numbers(FromConfusion(Confusion, Loss))).All(pair => Math.Abs(pair.First - pair.Second) < 1e-9);

            static IEnumerable<double> Numbers(Metrics m) =>
                [m.Accuracy, m.MacroPrecision, m.MacroRecall, m.MacroF1, .. m.Classes.SelectMany(NumbersOf)];

            static double[] NumbersOf(ClassMetrics c) => [c.Digit, c.Precision, c.Recall, c.F1, c.Support];
        }
    }

    /// <summary>Evaluates the weights of a backend on labelled rows, at least one.</summary>
    internal static Metrics Evaluate(ITrainingBackend backend, DigitDataset data, int[] rows)
    {
        float[] logits = new float[rows.Length * DigitDataset.Classes];
        backend.Predict(data, rows, logits);
        return FromLogits(logits, [.. rows.Select(row => data.Labels[row])]);
    }

    /// <summary>Computes metrics from logits, (N, 10) f32, and labels, (N) 0 … 9, N at least 1.</summary>
    internal static Metrics FromLogits(ReadOnlySpan<float> logits, ReadOnlySpan<byte> labels)
    {
        const int Classes = DigitDataset.Classes;
        int[][] confusion = [.. Enumerable.Range(0, Classes).Select(_ => new int[Classes])];
        double loss = 0;
        for (int n = 0; n < labels.Length; n++)
        {
            ReadOnlySpan<float> row = logits.Slice(n * Classes, Classes);
            int best = Prediction.Best(row);
            confusion[labels[n]][best]++;
            loss += Math.Log(Prediction.SumOfExponentials(row, row[best])) + row[best] - row[labels[n]];
        }

        return FromConfusion(confusion, loss);
    }

    /// <summary>Computes metrics from [label][prediction] counts, at least one above 0, and the sum of the cross-entropies.</summary>
    internal static Metrics FromConfusion(IReadOnlyList<IReadOnlyList<int>> confusion, double loss)
    {
        int samples = confusion.Sum(row => row.Sum());
        ClassMetrics[] classes = [.. Enumerable.Range(0, DigitDataset.Classes).Select(OfClass)];
        return new Metrics(
            samples, Ratio(confusion.Select((row, digit) => row[digit]).Sum(), samples), loss / samples,
            classes.Average(c => c.Precision), classes.Average(c => c.Recall), classes.Average(c => c.F1), classes, confusion);

        ClassMetrics OfClass(int digit)
        {
            int hits = confusion[digit][digit], support = confusion[digit].Sum(), called = confusion.Sum(row => row[digit]);
            return new ClassMetrics(digit, Ratio(hits, called), Ratio(hits, support), Ratio(2 * hits, called + support), support);
        }

        static double Ratio(int part, int whole) => whole == 0 ? 0 : (double)part / whole;
    }
}

/// <summary>Predictions from a row of logits, (classes) f32.</summary>
internal static class Prediction
{
    /// <summary>The class with the greatest logit; the first one if there are several.</summary>
    public static int Best(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
        {
            best = logits[i] > logits[best] ? i : best;
        }

        return best;
    }

    /// <summary>Probabilities of the classes: softmax, computed in double.</summary>
    public static void Softmax(ReadOnlySpan<float> logits, Span<float> probabilities)
    {
        double greatest = logits[Best(logits)], sum = SumOfExponentials(logits, greatest);
        for (int i = 0; i < logits.Length; i++)
        {
            probabilities[i] = (float)(Math.Exp(logits[i] - greatest) / sum);
        }
    }

    /// <summary>Σ exp(logit − greatest).</summary>
    public static double SumOfExponentials(ReadOnlySpan<float> logits, double greatest)
    {
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - greatest);
        }

        return sum;
    }
}
