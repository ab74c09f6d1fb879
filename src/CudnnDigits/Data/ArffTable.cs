using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>
/// Tables of WEKA and OpenML (ARFF), made CSV: the names of the attributes become the header, in the line of <c>@data</c>. Source:
/// https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/.
/// </summary>
internal static partial class ArffTable
{
    /// <summary>785 attributes take a tenth of this many bytes.</summary>
    private const int MostHeader = 1 << 20;

    /// <summary>
    /// Replaces the declarations of an ARFF file by a CSV header; leaves any other text as it is. Nothing may have been read yet.
    /// </summary>
    /// <exception cref="InputException">There is no <c>@data</c> line, or the rows leave out zeros (sparse ARFF).</exception>
    public static void MakeCsv(Lookahead text, string name)
    {
        if (!Begin().IsMatch(Encoding.Latin1.GetString(text.Seen)))
        {
            return;
        }

        List<string> names = [];
        int at = 0, lines = 0;
        for (string line = ""; !line.Equals("@data", StringComparison.OrdinalIgnoreCase); lines++)
        {
            int length;
            while ((length = text.Seen[at..].IndexOf((byte)'\n')) < 0)
            {
                if (at > MostHeader || !text.LookFurther())
                {
                    throw new InputException($"{name}: an ARFF file without a line @data; it is cut off: download it again");
                }
            }

            line = Encoding.UTF8.GetString(text.Seen.Slice(at, length)).Trim();
            at += length + 1;
            if (Attribute().Match(line) is { Success: true } attribute)
            {
                names.Add(attribute.Groups["name"].Value.Replace(',', ' ').Replace('"', ' '));
            }
        }

        if (text.Seen[at..].TrimStart("\r\n "u8).StartsWith("{"u8))
        {
            throw new InputException($"{name}: a sparse ARFF file, which leaves out zeros; save it as CSV");
        }

        // Empty lines before the header: row numbers in messages stay the line numbers of the file.
        text.ReplaceStart(at, Encoding.UTF8.GetBytes($"{new string('\n', lines - 1)}{string.Join(',', names)}\n"));
    }

    /// <summary>Comments and empty lines, then the declaration that begins every ARFF file.</summary>
    [GeneratedRegex(
        @"\A(%[^\n]*\n|[\r\n])*[ \t]*@relation", RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Begin();

    /// <summary>The declaration of a column; its name may be quoted.</summary>
    [GeneratedRegex(
        @"^@attribute\s*(?:(?<quote>['""])(?<name>.*?)\k<quote>|(?<name>[^ \t]*))",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Attribute();
}
