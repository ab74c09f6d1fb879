using System.IO.Compression;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A zip file with train.csv and test.csv (Kaggle), with a single table, or with NumPy arrays (.npz, as Keras's MNIST).</summary>
internal sealed class ZipContainer : DigitContainer
{
    private const string Array = ".npy";

    public override string Name => "Keras's mnist.npz";

    public override bool Takes(ReadOnlySpan<byte> head, string path) =>
        head.StartsWith("PK\x03\x04"u8) || Path.GetExtension(path).ToLowerInvariant() is ".zip" or ".npz";

    public override DigitDataset Read(InputFile file, string path, DataPart part)
    {
        if (file.Peek(1).IsEmpty)
        {
            throw new InputException($"{path}: the file is empty; download it again");
        }

        Stream seekable = file.Seekable() ?? throw new InputException(
            $"{path}: is not a regular file, and the list of what a zip file holds stands at its end; save it and give its name");
        using ZipArchive zip = OpenArchive(seekable, path);
        string[] files = [.. Files(zip)], tables = [.. files.Where(CsvContainer.IsPart)];
        string[] arrays = [.. files.Where(file => file.EndsWith(Array, StringComparison.Ordinal)).Select(file => file[..^Array.Length])];
        if (arrays.Length > 0)
        {
            return NumpyContainer.ReadArchive(path, part, arrays, name => Open(name + Array));
        }

        if (tables.Length == 0 && CsvContainer.LikeDigits([.. files.Where(CsvContainer.IsTable)], Head) is [var only])
        {
            return DataSource.Read(DataSource.Unpacked(Open(only)), part);
        }

        return CsvContainer.ReadPart(path, tables, part, file => DataSource.Unpacked(Open(file)))
            ?? throw new InputException($"{path}: {Instead(files, SetName.Main(part))}");

        byte[] Head(string file)
        {
            using InputFile open = DataSource.Unpacked(Open(file));
            return open.Peek(KnownFile.HeadBytes).ToArray();
        }

        InputFile Open(string file)
        {
            string name = $"{path}/{file}";
            return InputFile.Of(name, new ZipEntryReader(zip.GetEntry(file)!, name, seekable.Length));
        }
    }

    /// <summary>The files with their folders, without the hidden files that macOS adds.</summary>
    internal static IEnumerable<string> Files(ZipArchive zip) => zip.Entries.Select(entry => entry.FullName)
        .Where(name => !name.EndsWith('/') && !name.StartsWith("__MACOSX/", StringComparison.Ordinal))
        .Where(name => !Path.GetFileName(name).StartsWith('.'));

    /// <summary>Says what a zip file without such a table is, and what to do.</summary>
    private static string Instead(string[] files, string set) =>
        files.Contains("xl/workbook.xml") ? "is a workbook of Excel; save it as CSV"
        : files.Contains("content.xml") ? "is an OpenDocument; save its table as CSV"
        : files.Any(file => file.EndsWith("data.pkl", StringComparison.Ordinal)) ?
            "is a file of PyTorch (.pt), a pickle of Python, which could run code; save the digits with numpy.savez(…, x=…, y=…)"
        : $"holds no {set}.csv"
            + (files.Length == 0 ? ", nor anything else" : $" (but {DataSource.Some(files.Select(KnownFile.Printable), 3)})")
            + "; expected Kaggle's zip or NumPy's arrays (.npz), else unpack it and give what it holds";

    private static ZipArchive OpenArchive(Stream file, string path)
    {
        try
        {
            ZipArchive zip = new(file, ZipArchiveMode.Read, leaveOpen: true);
            _ = zip.Entries.Count; // reads the list of files
            return zip;
        }
        catch (InvalidDataException e)
        {
            throw new InputException($"{path}: not a zip file, or a damaged one; download it again", e);
        }
    }
}
