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
            || !metadata.TryGetValue(SeedKey, out string? number) || !ulong.TryParse(number, CultureInfo.InvariantCulture, out ulong seed))
        {
            return null;
        }

        SplitSpec? spec = metadata.TryGetValue(FoldsKey, out string? folds) && metadata.TryGetValue(FoldKey, out string? fold)
            ? ReadFold(seed, folds, fold)
            : metadata.TryGetValue(ShareKey, out string? share)
                && double.TryParse(share, CultureInfo.InvariantCulture, out double part) && part is >= 0 and < 1
                ? ReadShares(seed, part, metadata)
                : null;
        return spec is { } split ? new SplitRecord(split, fingerprint) : null;
    }

    /// <summary>As metadata of a weights file.</summary>
    public IEnumerable<KeyValuePair<string, string>> ToMetadata()
    {
        yield return new(SeedKey, Text(Split.Seed));
        yield return new(FingerprintKey, DataFingerprint);
        if (Split.Folds > 0)
        {
            yield return new(FoldsKey, Text(Split.Folds));
            yield return new(FoldKey, Text(Split.Fold));
        }
        else
        {
            yield return new(ShareKey, Split.Validation.ToString("R", CultureInfo.InvariantCulture));
            if (Split.Test > 0)
            {
                yield return new(TestKey, Split.Test.ToString("R", CultureInfo.InvariantCulture));
            }
        }
    }

    private static SplitSpec? ReadShares(ulong seed, double validation, IReadOnlyDictionary<string, string> metadata) =>
        !metadata.TryGetValue(TestKey, out string? text)
            ? new SplitSpec(seed, validation)
            : double.TryParse(text, CultureInfo.InvariantCulture, out double test) && test >= 0 && validation + test < 1
                ? new SplitSpec(seed, validation, Test: test)
                : null;

    private static SplitSpec? ReadFold(ulong seed, string folds, string fold) =>
        int.TryParse(folds, CultureInfo.InvariantCulture, out int count) && count >= 2
        && int.TryParse(fold, CultureInfo.InvariantCulture, out int held) && held >= 1 && held <= count
            ? new SplitSpec(seed, 0, count, held)
            : null;

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
}
