using System.Security.Cryptography;

namespace CudnnDigits.Data;

/// <summary>Digits in memory, one byte a pixel, row by row. <see cref="DataSource.Open"/> reads them from files.</summary>
/// <example>
/// <code>
/// byte[] pixels = new byte[1000 * DigitDataset.PixelCount], labels = new byte[1000];
/// DigitDataset data = new("scanner 3", pixels, labels);
/// TrainedNetwork trained = DigitTrainer.Train(data, TrainingOptions.For("simple") with { Validation = 0 });
/// </code>
/// </example>
public sealed class DigitDataset
{
    private readonly byte[] _pixels;
    private readonly byte[]? _labels;

    /// <summary>Wraps the arrays without a copy.</summary>
    /// <param name="name">The source of the digits, for messages: a path, or "generated digits".</param>
    /// <param name="pixels">(N, 28, 28) uint8, 0 = background … 255 = ink.</param>
    /// <param name="labels">(N) 0 … 9, or null if the digits have no labels.</param>
    /// <exception cref="ArgumentException">The pixels are no whole number of digits, or the labels are not N digits 0 … 9.</exception>
    public DigitDataset(string name, byte[] pixels, byte[]? labels)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(pixels);
        if (pixels.Length % PixelCount != 0)
        {
            throw new ArgumentException($"{pixels.Length} pixels are no whole number of digits of {PixelCount} pixels", nameof(pixels));
        }

        int digits = pixels.Length / PixelCount;
        if (labels is not null && labels.Length != digits)
        {
            throw new ArgumentException($"{labels.Length} labels for {digits} digits, expected one for each", nameof(labels));
        }

        int wrong = labels.AsSpan().IndexOfAnyExceptInRange((byte)0, (byte)(Classes - 1));
        if (wrong >= 0)
        {
            throw new ArgumentException($"label {wrong} (from 0) is {labels![wrong]}, expected a digit 0 to 9", nameof(labels));
        }

        Name = name;
        _pixels = pixels;
        _labels = labels;
    }

    /// <summary>Height and width of a digit, in pixels.</summary>
    public const int Side = 28;

    /// <summary>Pixels in one digit.</summary>
    public const int PixelCount = Side * Side;

    /// <summary>Number of classes.</summary>
    public const int Classes = 10;

    /// <summary>The source of the digits.</summary>
    public string Name { get; }

    /// <summary>The form in which the digits were found: "pictures by class, 20 PNG". Null for Kaggle's layout and computed ones.</summary>
    internal string? Found { get; set; }

    /// <summary>A warning about digits that were skipped or are missing; null if there is none.</summary>
    internal string? Warning { get; set; }

    /// <summary>Number of digits, N.</summary>
    public int Count => _pixels.Length / PixelCount;

    /// <summary>Whether the digits have labels.</summary>
    public bool HasLabels => _labels is not null;

    /// <summary>All pixels, (N, 28, 28) uint8.</summary>
    public ReadOnlySpan<byte> Pixels => _pixels;

    /// <summary>All labels, (N) 0 … 9; empty if there are none.</summary>
    public ReadOnlySpan<byte> Labels => _labels;

    /// <summary>One digit, (28, 28) uint8.</summary>
    /// <param name="row">Index of the digit, from 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such digit.</exception>
    public ReadOnlySpan<byte> Image(int row) => (uint)row < (uint)Count
        ? _pixels.AsSpan(row * PixelCount, PixelCount)
        : throw new ArgumentOutOfRangeException(nameof(row), row, $"there are {Count} digits, counted from 0");

    /// <summary>SHA-256 of the pixels and labels, as 64 hexadecimal digits. Tells whether two runs used the same data.</summary>
    public string Fingerprint()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(_pixels);
        hash.AppendData(_labels ?? []);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
