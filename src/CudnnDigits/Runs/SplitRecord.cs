using CudnnDigits.Data;

namespace CudnnDigits.Runs;

/// <summary>How a run split its data, so that the split can be drawn again. It is stored in the metadata of model.safetensors.</summary>
internal sealed record SplitRecord(SplitSpec Split, string DataFingerprint)
{
    private const string SeedKey = "split_seed", ShareKey = "split_validation", FoldsKey = "split_folds", FoldKey = "split_fold";
    private const string TestKey = "split_test";

    /// <summary>Metadata key of the fingerprint of the training data.</summary>
    internal const string FingerprintKey = "data_fingerprint";

    /// <summary>The split in the metadata of a weights file, or null if there is none.</summary>
    public static SplitRecord? FromMetadata(IReadOnlyDictionary<string, string> metadata)
    {
        if (!metadata.TryGetValue(FingerprintKey, out string? fingerprint)
            || !ulong.TryParse(metadata.GetValueOrDefault(SeedKey), CultureInfo.InvariantCulture, out ulong seed))
        {
            return null;
        }

        SplitSpec? split = metadata.ContainsKey(FoldsKey)
            ? Number(FoldsKey) is >= 2 and <= int.MaxValue and var folds && Number(FoldKey) is >= 1 and var fold && fold <= folds
                ? new SplitSpec(seed, 0, (int)folds, (int)fold)
                : null
            : Number(ShareKey) is >= 0 and < 1 and var share && Number(TestKey, "0") is >= 0 and var test && share + test < 1
                ? new SplitSpec(seed, share, Test: test)
                : null;
        return split is { } known ? new SplitRecord(known, fingerprint) : null;

        double Number(string key, string otherwise = "") =>
            double.TryParse(metadata.GetValueOrDefault(key, otherwise), CultureInfo.InvariantCulture, out double number) ? number : -1;
    }

    /// <summary>As metadata of a weights file.</summary>
    public IEnumerable<KeyValuePair<string, string>> ToMetadata()
    {
        (string Key, IFormattable Value)[] split = Split.Folds > 0 ? [(FoldsKey, Split.Folds), (FoldKey, Split.Fold)]
            : Split.Test > 0 ? [(ShareKey, Split.Validation), (TestKey, Split.Test)]
            : [(ShareKey, Split.Validation)];
        return
        [
            new(SeedKey, $"{Split.Seed}"), new(FingerprintKey, DataFingerprint),
            .. split.Select(entry => KeyValuePair.Create(entry.Key, entry.Value.ToString(null, CultureInfo.InvariantCulture))),
        ];
    }
}
