using System.Security.Cryptography;

namespace CudnnDigits.Data;

/// <summary>Digits as they are kept everywhere: one byte a pixel, row by row.</summary>
/// <param name="name">Where they come from, for messages: a path, or "generated digits".</param>
/// <param name="pixels">(N, 28, 28) uint8, 0 = background … 255 = ink.</param>
/// <param name="labels">(N) 0 … 9, or null where the digits carry no labels.</param>
public sealed class DigitDataset(string name, byte[] pixels, byte[]? labels)
{
    /// <summary>Height and width of a digit, in pixels.</summary>
    public const int Side = 28;

    /// <summary>Pixels in one digit.</summary>
    public const int PixelCount = Side * Side;

    /// <summary>Number of classes.</summary>
    public const int Classes = 10;

    /// <summary>Where the digits come from.</summary>
    public string Name { get; } = name;

    /// <summary>Number of digits, N.</summary>
    public int Count { get; } = pixels.Length / PixelCount;

    /// <summary>Whether the digits carry labels.</summary>
    public bool HasLabels => labels is not null;

    /// <summary>All pixels, (N, 28, 28) uint8.</summary>
    public ReadOnlySpan<byte> Pixels => pixels;

    /// <summary>All labels, (N) 0 … 9; empty where there are none.</summary>
    public ReadOnlySpan<byte> Labels => labels;

    /// <summary>One digit, (28, 28) uint8.</summary>
    /// <param name="row">Index of the digit, from 0.</param>
    public ReadOnlySpan<byte> Image(int row) => pixels.AsSpan(row * PixelCount, PixelCount);

    /// <summary>SHA-256 over pixels, then labels, as 64 hexadecimal digits: tells whether two runs saw the same data.</summary>
    public string Fingerprint()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(pixels);
        hash.AppendData(labels ?? []);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
