using System.Globalization;
using CudnnDigits.Data;

namespace CudnnDigits.Training;

/// <summary>How a run split its data: enough to draw the same split again. Travels in the metadata of model.safetensors.</summary>
/// <param name="Seed">The run's seed.</param>
/// <param name="Validation">Share of each class held out.</param>
/// <param name="DataFingerprint">See <see cref="DigitDataset.Fingerprint"/>.</param>
public sealed record SplitRecord(ulong Seed, double Validation, string DataFingerprint)
{
    private const string SeedKey = "split_seed", ShareKey = "split_validation", FingerprintKey = "data_fingerprint";

    /// <summary>The split that a weights file tells of, or null where it tells of none.</summary>
    /// <param name="metadata">The file's metadata.</param>
    public static SplitRecord? FromMetadata(IReadOnlyDictionary<string, string> metadata)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        return metadata.TryGetValue(FingerprintKey, out string? fingerprint)
            && metadata.TryGetValue(SeedKey, out string? seedText) && ulong.TryParse(seedText, CultureInfo.InvariantCulture, out ulong seed)
            && metadata.TryGetValue(ShareKey, out string? shareText) && double.TryParse(shareText, CultureInfo.InvariantCulture, out double share)
            && share is >= 0 and < 1
            ? new SplitRecord(seed, share, fingerprint)
            : null;
    }

    /// <summary>As metadata of a weights file.</summary>
    public IEnumerable<KeyValuePair<string, string>> ToMetadata() =>
    [
        new(SeedKey, Seed.ToString(CultureInfo.InvariantCulture)),
        new(ShareKey, Validation.ToString("R", CultureInfo.InvariantCulture)),
        new(FingerprintKey, DataFingerprint),
    ];
}
