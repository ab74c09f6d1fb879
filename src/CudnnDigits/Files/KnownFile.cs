using System.Text.RegularExpressions;

namespace CudnnDigits.Files;

/// <summary>Names of common kinds of files by their first bytes, so that a message can say what the user gave.</summary>
internal static partial class KnownFile
{
    /// <summary>The number of a file's first bytes that tell its kind; the mark of a tar archive is at the 257th byte.</summary>
    public const int HeadBytes = 512;

    private static readonly (int At, string Start, string Name)[] Kinds =
    [
        (0, "\u0089PNG", "a PNG picture"), (0, "\u00FF\u00D8\u00FF", "a JPEG picture"), (0, "GIF8", "a GIF picture"),
        (8, "WEBP", "a WebP picture"), (0, "II*\0", "a TIFF picture"), (0, "MM\0*", "a TIFF picture"), (0, "8BPS", "a Photoshop picture"),
        (4, "JXL ", "a JPEG XL picture"), (0, "\u00FF\u000A", "a JPEG XL picture"), (4, "jP  ", "a JPEG 2000 picture"),
        (0, "%PDF", "a PDF document"), (0, "%!PS", "a PostScript document"), (0, "\u0089HDF", "an HDF5 file"),
        (0, "PAR1", "a Parquet file"), (0, "ARROW1", "an Arrow file"), (0, "MATLAB 5", "a MATLAB file"),
        (0, "\u0093NUMPY", "a NumPy array"), (0, "SQLite format 3", "an SQLite database"), (0, "\u0080\u0002", "a pickle of Python"),
        (0, "\u0080\u0003", "a pickle of Python"), (0, "\u0080\u0004", "a pickle of Python"), (0, "\u0080\u0005", "a pickle of Python"),
        (0, "PK\u0003\u0004", "a zip file"), (0, "PK\u0005\u0006", "an empty zip file"),
        (0, "7z\u00BC\u00AF", "a 7z archive: unpack it first"), (0, "Rar!", "a RAR archive: unpack it first"),
        (0, "\u00FD7zXZ", "an xz file: unpack it first"), (0, "BZh", "a bzip2 file: unpack it first"),
        (0, "(\u00B5/\u00FD", "a zstd file: unpack it first"), (0, "]\0\0", "an lzma file: unpack it first"),
        (0, "\u001F\u009D", "a file of compress: unpack it first"), (0, "\u0004\"M\u0018", "an LZ4 file: unpack it first"),
        (257, "ustar", "a tar archive: unpack it first"), (0, "\u001F\u008B", "a gzip file, packed twice: unpack it first"),
        (0, "\0\0\u000B", "an IDX file of 16-bit numbers: write it as bytes"),
        (0, "\0\0\u000C", "an IDX file of 32-bit numbers: write it as bytes"),
        (0, "\0\0\u000D", "an IDX file of real numbers: write it as bytes"),
        (0, "\0\0\u000E", "an IDX file of real numbers: write it as bytes"),
    ];

    private static readonly string[] HeicBrands = ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"];

    /// <summary>The kind of a file by its first <see cref="HeadBytes"/> bytes: "a HEIC picture"; null if it is not known.</summary>
    public static string? Name(ReadOnlySpan<byte> head)
    {
        string start = Encoding.Latin1.GetString(head[..Math.Min(head.Length, HeadBytes)]);
        string text = start.TrimStart('\u00EF', '\u00BB', '\u00BF', ' ', '\r', '\n', '\t'); // without a byte order mark
        bool Has(int at, string mark) => start.Length > at && start.AsSpan(at).StartsWith(mark, StringComparison.Ordinal);
        if (Array.Find(Kinds, kind => Has(kind.At, kind.Start)) is { Name: { } name })
        {
            return name;
        }

        if (Has(4, "ftyp") && start.Length >= 12)
        {
            string brands = start[..Math.Min(start.Length, 64)];
            bool isAvif = brands.Contains("avif", StringComparison.Ordinal) || brands.Contains("avis", StringComparison.Ordinal);
            return isAvif ? "an AVIF picture" : HeicBrands.Contains(start[8..12]) ? "a HEIC picture" : "a video";
        }

        return Has(0, "BM") && Has(6, "\0\0\0\0") ? "a BMP picture"
            : start is ['P', >= '1' and <= '7', ' ' or '\n' or '\r' or '\t', ..] ? "a PNM picture"
            : Begins("<svg") || Begins("<?xml") || Begins("<!DOCTYPE svg") ? "an SVG picture"
            : Begins("<!DOCTYPE") || Begins("<html") ? "a page of HTML, not the file that it may lead to"
            : Begins("version https://git-lfs") ? "a pointer of Git LFS: fetch the file itself by git lfs pull"
            : Begins("{") || Begins("[") ? "JSON, or a list as Python prints it: write it as a table (CSV)"
            : Svm().IsMatch(text) ? "a LIBSVM (SVMlight) file, label index:value: write it as a table (CSV) of all 784 pixels"
            : null;

        bool Begins(string with) => text.StartsWith(with, StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>A text from a file for use in a message: shortened and without control characters.</summary>
    public static string Printable(string text) => Shorten(text, 40);

    /// <inheritdoc cref="Printable(string)"/>
    public static string Shorten(string text, int most = 60)
    {
        string clean = string.Concat(text.Take(most).Select(c => char.IsControl(c) || char.IsSurrogate(c) ? '?' : c));
        return text.Length > most ? clean + "…" : clean;
    }

    [GeneratedRegex("^[-+]?[0-9]+(\\.[0-9]+)? +[0-9]+:[-+.0-9]")]
    private static partial Regex Svm();
}
