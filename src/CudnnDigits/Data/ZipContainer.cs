using System.IO.Compression;

namespace CudnnDigits.Data;

/// <summary>A zip file: Kaggle's, with train.csv and test.csv, one table alone, or NumPy's arrays (.npz), as Keras keeps MNIST.</summary>
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
        if (Files(zip).Any(file => file.EndsWith(Array, StringComparison.Ordinal)))
        {
            return NumpyArchive.Read(
                path, part, [.. Files(zip).Where(file => file.EndsWith(Array, StringComparison.Ordinal)).Select(file => file[..^Array.Length])],
                name => Open(zip.GetEntry(name + Array)!, seekable, $"{path}/{name}{Array}"));
        }

        string[] files = [.. Files(zip)], tables = [.. files.Where(TableSet.Has)];
        if (tables.Length == 0 && files.Where(IsTable).ToArray() is [var only])
        {
            return ReadTable(only);
        }

        return TableSet.Read(path, tables, part, OpenTable, ReadTable) ?? throw new InputException($"{path}: {Instead(files, SetName.Main(part))}");

        DigitDataset ReadTable(string file) => DigitCsv.Read(OpenTable(file), $"{path}/{file}", part);

        Stream OpenTable(string file) => DataSource.Unpack(InputFile.Of(file, Open(zip.GetEntry(file)!, seekable, $"{path}/{file}")), $"{path}/{file}");
    }

    /// <summary>The files, with their folders; without what macOS puts beside each.</summary>
    internal static IEnumerable<string> Files(ZipArchive zip) => zip.Entries.Select(entry => entry.FullName)
        .Where(name => !name.EndsWith('/') && !name.StartsWith("__MACOSX/", StringComparison.Ordinal) && !Path.GetFileName(name).StartsWith('.'));

    private static bool IsTable(string file) => file.EndsWith(".csv", StringComparison.OrdinalIgnoreCase) || file.EndsWith(".csv.gz", StringComparison.OrdinalIgnoreCase) || file.EndsWith(".tsv", StringComparison.OrdinalIgnoreCase);

    /// <summary>What a zip file is that holds no such table, and what to do.</summary>
    private static string Instead(string[] files, string set) =>
        files.Contains("xl/workbook.xml") ? "is a workbook of Excel; save it as CSV"
        : files.Contains("content.xml") ? "is an OpenDocument; save its table as CSV"
        : files.Any(file => file.EndsWith("data.pkl", StringComparison.Ordinal)) ? "is a file of PyTorch (.pt), a pickle of Python, which could run code; save the digits with numpy.savez(…, x=…, y=…)"
        : $"holds no {set}.csv{Listing(files)}; expected Kaggle's zip or NumPy's arrays (.npz), else unpack it and give what it holds";

    private static BoundedStream Open(ZipArchiveEntry entry, Stream file, string name) => new(new ZipEntryReader(entry, name), () => file.Length, name);

    private static string Listing(string[] files)
    {
        string[] names = [.. files.Take(4).Select(KnownFile.Printable)];
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
