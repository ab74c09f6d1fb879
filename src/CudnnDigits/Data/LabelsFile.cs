namespace CudnnDigits.Data;

/// <summary>Finds the labels of images by name: x_train.npy has y_train.npy, train-images-idx3-ubyte has train-labels-idx1-ubyte.</summary>
internal static class LabelsFile
{
    private const string Packed = ".gz";

    /// <summary>Words for images with those for their labels, in lower case, letters alone.</summary>
    public static readonly (string Images, string Labels)[] Pairs =
    [
        ("x", "y"), ("images", "labels"), ("image", "label"), ("data", "labels"), ("data", "label"), ("data", "target"),
        ("data", "targets"), ("features", "labels"), ("imgs", "labels"), ("inputs", "targets"), ("arr0", "arr1"),
    ];

    /// <summary>The file of the labels beside a file of images; null if there is none, or the file is of a kind that has its own.</summary>
    public static string? Beside(string images)
    {
        string name = Plain(images);
        if (!(Path.GetExtension(name) is "" or ".npy" || name.Contains("idx", StringComparison.Ordinal)))
        {
            return null;
        }

        HashSet<string> wanted = [.. from pair in Pairs
            from at in Enumerable.Range(0, name.Length)
            where name.AsSpan(at).StartsWith(pair.Images, StringComparison.Ordinal)
            select name[..at] + pair.Labels + name[(at + pair.Images.Length)..]];
        string folder = Path.GetDirectoryName(images) ?? "", here = Path.Combine(".", folder);
        return wanted.Count == 0 || !Directory.Exists(here) ? null
            : Directory.EnumerateFiles(here, "*", new EnumerationOptions())
                .Select(file => Path.Combine(folder, Path.GetFileName(file))).Order(StringComparer.Ordinal)
                .FirstOrDefault(file => wanted.Contains(Plain(file)));
    }

    /// <summary>A file's name without what labels, packing and spelling change: idx3 or idx1, .gz, hyphens, capitals.</summary>
    private static string Plain(string path)
    {
        string name = Path.GetFileName(path).ToLowerInvariant();
        return string.Concat((name.EndsWith(Packed, StringComparison.Ordinal) ? name[..^Packed.Length] : name)
            .Replace(".idx", "idx", StringComparison.Ordinal).Replace("idx3", "idx", StringComparison.Ordinal)
            .Replace("idx1", "idx", StringComparison.Ordinal).Where(letter => letter is not ('-' or '_' or ' ')));
    }
}
