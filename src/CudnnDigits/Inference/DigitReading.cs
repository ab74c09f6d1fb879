using System.Collections.Immutable;
using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Inference;

/// <summary>What a network reads an image as: a digit, how sure it is, and the probabilities of all ten.</summary>
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

    /// <summary>The most probable digit, 0 … 9; the least of equals.</summary>
    public int Digit { get; }

    /// <summary>Probability of <see cref="Digit"/>, 0.1 … 1. A value that is no nearer to 1 than float32 can tell is 1.</summary>
    public float Probability => Probabilities[Digit];

    /// <summary>The probabilities of the digits 0 … 9, in this order: (10) f32, each 0 … 1; they sum to 1.</summary>
    public ImmutableArray<float> Probabilities => _probabilities.IsDefault ? Nothing : _probabilities;

    /// <summary>
    /// Makes a reading of logits, as <see cref="DigitClassifier.Enqueue"/> and
    /// <see cref="DigitClassifier.Predict(ReadOnlySpan{byte}, Span{float}, int)"/> give them.
    /// </summary>
    /// <param name="logits">(10) f32, of one image.</param>
    /// <exception cref="ArgumentException">There are not ten logits, or one is no number.</exception>
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
                throw new ArgumentException($"a logit is {logit.ToString(CultureInfo.InvariantCulture)}, expected a number", nameof(logits));
            }
        }

        Span<float> probabilities = stackalloc float[DigitDataset.Classes];
        Prediction.Softmax(logits, probabilities);
        return new DigitReading(Prediction.Best(logits), [.. probabilities]);
    }

    /// <summary>Takes digit and probability apart.</summary>
    /// <param name="digit">See <see cref="Digit"/>.</param>
    /// <param name="probability">See <see cref="Probability"/>.</param>
    public void Deconstruct(out int digit, out float probability) => (digit, probability) = (Digit, Probability);

    /// <summary>Whether two readings are of the same digit with the same ten probabilities.</summary>
    /// <param name="other">The other one.</param>
    public bool Equals(DigitReading other) => Digit == other.Digit && Probabilities.AsSpan().SequenceEqual(other.Probabilities.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Digit, Probability);

    /// <summary>Such as "7 (0.9987)".</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Digit} ({Probability})");
}
