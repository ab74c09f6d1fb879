using System.Collections.Immutable;
using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Inference;

/// <summary>The result of reading an image: the most probable digit and the probabilities of all ten.</summary>
/// <example>
/// <code>
/// (int digit, float probability) = classifier.Read(image);
/// </code>
/// </example>
public readonly record struct DigitReading
{
    private static readonly ImmutableArray<float> Nothing = [.. new float[DigitDataset.Classes]];

    private readonly ImmutableArray<float> _probabilities;

    private DigitReading(int digit, ImmutableArray<float> probabilities) => (Digit, _probabilities) = (digit, probabilities);

    /// <summary>The most probable digit, 0 … 9; the smallest of equally probable digits.</summary>
    public int Digit { get; }

    /// <summary>The probability of <see cref="Digit"/>, 0.1 … 1, rounded to float32.</summary>
    public float Probability => Probabilities[Digit];

    /// <summary>The probabilities of the digits 0 … 9 in this order: (10) f32, each 0 … 1; their sum is 1.</summary>
    public ImmutableArray<float> Probabilities => _probabilities.IsDefault ? Nothing : _probabilities;

    /// <summary>
    /// Creates a reading from logits that <see cref="DigitClassifier.Enqueue"/> or
    /// <see cref="DigitClassifier.Predict(ReadOnlySpan{byte}, Span{float}, int)"/> computed.
    /// </summary>
    /// <param name="logits">(10) f32 of one image.</param>
    /// <exception cref="ArgumentException">The number of logits is not ten, or a logit is not finite.</exception>
    public static DigitReading FromLogits(ReadOnlySpan<float> logits)
    {
        if (logits.Length != DigitDataset.Classes)
        {
            throw new ArgumentException($"an image has {DigitDataset.Classes} logits, and {logits.Length} are given", nameof(logits));
        }

        foreach (float logit in logits)
        {
            if (!float.IsFinite(logit))
            {
                string text = logit.ToString(CultureInfo.InvariantCulture);
                throw new ArgumentException($"a logit is {text}, expected a number", nameof(logits));
            }
        }

        Span<float> probabilities = stackalloc float[DigitDataset.Classes];
        Prediction.Softmax(logits, probabilities);
        return new DigitReading(Prediction.Best(logits), [.. probabilities]);
    }

    /// <summary>Deconstructs the reading into digit and probability.</summary>
    /// <param name="digit">See <see cref="Digit"/>.</param>
    /// <param name="probability">See <see cref="Probability"/>.</param>
    public void Deconstruct(out int digit, out float probability) => (digit, probability) = (Digit, Probability);

    /// <summary>Whether two readings have the same digit and the same ten probabilities.</summary>
    /// <param name="other">The other reading.</param>
    public bool Equals(DigitReading other) => Digit == other.Digit && Probabilities.AsSpan().SequenceEqual(other.Probabilities.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Digit, Probability);

    /// <summary>Formats the reading: "7 (0.9987)".</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Digit} ({Probability})");
}
