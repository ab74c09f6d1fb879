using System.IO.Compression;

namespace CudnnDigits.Data;

/// <summary>A zip file: Kaggle's, with train.csv and test.csv, or NumPy's arrays (.npz), as Keras keeps MNIST.</summary>
internal sealed class ZipContainer : DigitContainer
{
    private const string Array = ".npy";

    public override string Name => "Keras's mnist.npz";

    public override bool Takes(ReadOnlySpan<byte> head, string path) =>
        head.StartsWith("PK\x03\x04"u8) || path.EndsWith(".zip", StringComparison.OrdinalIgnoreCase) || path.EndsWith(".npz", StringComparison.OrdinalIgnoreCase);

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        if (file.Peek(1).IsEmpty)
        {
            throw new InputException($"{path}: the file is empty; download it again");
        }

        Stream seekable = file.Seekable()
            ?? throw new InputException($"{path}: is no plain file, and the list of what a zip file holds stands at its end; save it and give its name");
        using ZipArchive zip = OpenArchive(seekable, path);
        if (zip.Entries.Any(entry => entry.Name.EndsWith(Array, StringComparison.Ordinal)))
        {
            return NumpyArchive.Read(
                path, part, [.. zip.Entries.Where(entry => entry.Name.EndsWith(Array, StringComparison.Ordinal)).Select(entry => entry.FullName[..^Array.Length])],
                name => Open(zip.GetEntry(name + Array)!, seekable, $"{path}/{name}{Array}"));
        }

        string set = part == DataPart.Prediction ? "test" : "train", wanted = set + ".csv";
        ZipArchiveEntry[] entries = [.. zip.Entries.Where(entry => entry.Name == wanted)];
        if (entries.Length == 0)
        {
            entries = [.. zip.Entries.Where(entry => entry.Name.EndsWith('_' + wanted, StringComparison.Ordinal))]; // mnist_train.csv
        }

        return entries switch
        {
            [] => throw new InputException($"{path}: holds no {wanted}{Listing(zip)}; expected Kaggle's zip or NumPy's arrays (.npz), else unpack it and give what it holds"),
            [var entry] => DigitCsv.Read(Open(entry, seekable, $"{path}/{entry.Name}"), $"{path}/{entry.Name}"),
            _ => throw new InputException($"{path}: holds {entries.Length} files {wanted}; unpack it and give the one that you mean"),
        };
    }

    private static BoundedStream Open(ZipArchiveEntry entry, Stream file, string name) => new(new ZipEntryReader(entry, name), () => file.Length, name);

    private static string Listing(ZipArchive zip)
    {
        string[] names = [.. zip.Entries.Select(entry => entry.FullName).Where(name => !name.EndsWith('/')).Take(4).Select(KnownFile.Printable)];
        return names.Length == 0 ? ", nor anything else" : $" (but {string.Join(", ", names.Take(3))}{(names.Length > 3 ? " …" : "")})";
    }

    private static ZipArchive OpenArchive(Stream file, string path)
    {
        try
        {
            ZipArchive zip = new(file, ZipArchiveMode.Read, leaveOpen: true);
            _ = zip.Entries.Count; // reads the list
            return zip;
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{path}: not a zip file, or a damaged one; download it again", e);
        }
    }
}
