using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>NumPy's arrays: a file of images (.npy) with its labels beside it, or an archive of both (.npz).</summary>
internal sealed class NumpyContainer : DigitContainer
{
    public override string Name => "images of NumPy (.npy)";

    public override bool Takes(ReadOnlySpan<byte> head, string path) => NumpyArray.Begins(head);

    public override DigitDataset Read(InputFile file, string path, DataPart part) =>
        Read(path, part, file, LabelsFile.Beside(path), labels => DataSource.OpenFile(labels, "the labels"));

    /// <summary>Reads one part of the set in an archive, whose arrays have these names.</summary>
    public static DigitDataset ReadArchive(string path, DataPart part, IReadOnlyList<string> names, Func<string, InputFile> open)
    {
        string[] training = SetName.Of(DigitSet.Training);
        string[] first = part == DataPart.Training ? training : [.. SetName.Of(DataPart.Prediction)];
        foreach (string set in (string[])[.. first, "", .. part == DataPart.Evaluation ? training : []])
        {
            (string Images, string? Labels)[] found = [.. Find(names, set).DistinctBy(pair => pair.Images)];
            if (found.Length > 1)
            {
                string images = string.Join(", ", found.Select(pair => KnownFile.Printable(pair.Images)));
                throw new InputException(
                    $"{path}: holds several arrays that may be the images ({images}); keep one of them, as x_train or images");
            }

            if (found is [var only] && (only.Labels is not null || part != DataPart.Evaluation || !OthersHaveLabels(set)))
            {
                using InputFile images = open(only.Images);
                return Read(path, part, images, only.Labels, open);
            }
        }

        throw new InputException($"{path}: holds {DataSource.Some(names.Select(KnownFile.Printable), 6)}, but no "
            + $"{(part == DataPart.Prediction ? "x_test" : "x_train and y_train")} or images and labels; name them so");

        bool OthersHaveLabels(string set) =>
            training.Append("").Any(other => other != set && Find(names, other).Any(pair => pair.Labels is not null));
    }

    private static DigitDataset Read(string path, DataPart part, InputFile file, string? labels, Func<string, InputFile> open)
    {
        byte[] pixels = NumpyArray.Open(file).ReadImages();
        string images = Path.GetFileNameWithoutExtension(file.Path), y = Path.GetFileNameWithoutExtension(labels) ?? "";
        if (labels is null)
        {
            return new DigitDataset(path, pixels, null) { Found = $"NumPy's array {images}" };
        }

        using InputFile labelFile = open(labels);
        try
        {
            byte[] read = NumpyArray.Open(labelFile).ReadLabels(pixels.Length / DigitDataset.PixelCount);
            return new DigitDataset(path, pixels, read) { Found = $"NumPy's arrays {images} and {y}" };
        }
        catch (InputException) when (part == DataPart.Prediction) // not needed here, and may be hidden, as -1
        {
            return new DigitDataset(path, pixels, null) { Found = $"NumPy's array {images}; {y} passed over, which holds no digits" };
        }
    }

    /// <summary>The arrays that may be the images of a part, each with its labels if there are any.</summary>
    private static IEnumerable<(string Images, string? Labels)> Find(IReadOnlyList<string> names, string set)
    {
        if (names is [_] || names.All(name => name is "arr_0" or "arr_1")) // numpy.savez(file, x, y)
        {
            string[] sorted = [.. names.Order(StringComparer.Ordinal)];
            return set.Length == 0 ? [(sorted[0], sorted.ElementAtOrDefault(1))] : [];
        }

        return LabelsFile.Pairs.SelectMany(pair => Named(pair.Images)).Select(images => (images, LabelsOf(images)));

        string? LabelsOf(string images) =>
            LabelsFile.Pairs.Where(pair => Named(pair.Images).Contains(images)).SelectMany(pair => Named(pair.Labels)).FirstOrDefault();

        IEnumerable<string> Named(string what) => names.Where(name => Letters(name) == what + set || Letters(name) == set + what);

        static string Letters(string name) => string.Concat(name.Where(char.IsAsciiLetter)).ToLowerInvariant();
    }
}
