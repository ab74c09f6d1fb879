namespace CudnnDigits.Data;

/// <summary>The arrays of a .npz: images and their labels, in one of the ways in which people call them.</summary>
internal static class NumpyArchive
{
    /// <summary>What arrays of images are called, each with its labels; lower case, letters alone.</summary>
    private static readonly (string Images, string Labels)[] Pairs =
        [("x", "y"), ("images", "labels"), ("image", "label"), ("data", "labels"), ("data", "label"), ("data", "target"), ("data", "targets"), ("features", "labels"), ("imgs", "labels"), ("inputs", "targets")];

    /// <summary>Reads one part.</summary>
    /// <param name="path">The archive.</param>
    /// <param name="part">Which part, where it holds several.</param>
    /// <param name="names">Its arrays.</param>
    /// <param name="open">Opens one.</param>
    /// <exception cref="InputException">It is not plain which arrays hold the digits, or one is no such array, or damaged.</exception>
    public static DigitDataset Read(string path, DataPart part, IReadOnlyList<string> names, Func<string, Stream> open)
    {
        string[] sets = part == DataPart.Training ? [.. SetName.Of(part), ""] : [.. SetName.Of(DataPart.Prediction), ""];
        foreach (string set in part == DataPart.Evaluation ? [.. sets, .. SetName.Of(DataPart.Training)] : sets)
        {
            (string Images, string? Labels)[] found = [.. Find(names, set).DistinctBy(pair => pair.Images)];
            if (found.Length > 1)
            {
                throw new InputException($"{path}: holds several arrays that may be the images ({string.Join(", ", found.Select(pair => KnownFile.Printable(pair.Images)))}); keep one of them, as x_train or images");
            }

            if (found is [var (images, labels)] && (labels is not null || part != DataPart.Evaluation || !Others(set)))
            {
                using Stream imageStream = open(images);
                byte[] pixels = NumpyArray.Open(imageStream, $"{path}/{images}.npy").ReadImages();
                if (labels is null)
                {
                    return new DigitDataset(path, pixels, null) { Found = $"NumPy's array {images}" };
                }

                using Stream labelStream = open(labels);
                try
                {
                    byte[] read = NumpyArray.Open(labelStream, $"{path}/{labels}.npy").ReadLabels(pixels.Length / DigitDataset.PixelCount);
                    return new DigitDataset(path, pixels, read) { Found = $"NumPy's arrays {images} and {labels}" };
                }
                catch (InputException) when (part == DataPart.Prediction) // they are not needed, and may be hidden, as -1
                {
                    return new DigitDataset(path, pixels, null) { Found = $"NumPy's array {images}; {labels} passed over, which holds no digits" };
                }
            }
        }

        throw new InputException($"{path}: holds {string.Join(", ", names.Take(6).Select(KnownFile.Printable))}{(names.Count > 6 ? " …" : "")}, but no {(part == DataPart.Prediction ? "x_test" : "x_train and y_train")} or images and labels; name them so");

        bool Others(string set) => SetName.Of(DataPart.Training).Append("").Any(other => other != set && Find(names, other).Any(pair => pair.Labels is not null));
    }

    /// <summary>The arrays of one set that may be its images, each with its labels where there are any.</summary>
    private static IEnumerable<(string Images, string? Labels)> Find(IReadOnlyList<string> names, string set)
    {
        if (names is [_] || names.All(name => name is "arr_0" or "arr_1")) // numpy.savez(file, x, y)
        {
            return set.Length == 0 ? [(names.Order(StringComparer.Ordinal).First(), names.Order(StringComparer.Ordinal).Skip(1).FirstOrDefault())] : [];
        }

        return Pairs.SelectMany(pair => names.Where(name => Is(name, pair.Images)))
            .Select(images => (images, Pairs.Where(pair => Is(images, pair.Images)).SelectMany(pair => names.Where(name => Is(name, pair.Labels))).FirstOrDefault()));

        bool Is(string name, string what)
        {
            string letters = string.Concat(name.Where(char.IsAsciiLetter)).ToLowerInvariant();
            return letters == what + set || letters == set + what;
        }
    }
}
