using System.Text.RegularExpressions;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>Makes CSV of WEKA's and OpenML's tables: waikato.github.io/weka-wiki/formats_and_processing/arff_stable.</summary>
internal static partial class ArffTable
{
    /// <summary>785 attributes take a tenth of this many bytes.</summary>
    private const int MostHeader = 1 << 20;

    /// <summary>Replaces the declarations of an ARFF file by a CSV header; leaves any other text as it is.</summary>
    public static void MakeCsv(InputFile text, string name)
    {
        if (!Begin().IsMatch(Encoding.Latin1.GetString(text.Peek(DigitCsv.FirstLook))))
        {
            return;
        }

        int look = DigitCsv.FirstLook;
        Match data;
        while (!(data = Data().Match(Encoding.Latin1.GetString(text.Peek(look)))).Success)
        {
            if (text.Peek(look).Length < look || look > MostHeader)
            {
                throw new InputException($"{name}: an ARFF file without a line @data; it is cut off: download it again");
            }

            look *= 4;
        }

        int end = data.Index + data.Length;
        if (text.Peek(look)[end..].TrimStart("\r\n "u8).StartsWith("{"u8))
        {
            throw new InputException($"{name}: a sparse ARFF file, which leaves out zeros; save it as CSV");
        }

        string header = Encoding.UTF8.GetString(text.Peek(end));
        IEnumerable<string> names = Attribute().Matches(header).Select(one => one.Groups["name"].Value.Replace(',', ' ').Replace('"', ' '));

        // Empty lines before the header: row numbers in messages stay the line numbers of the file.
        text.Replace(end, Encoding.UTF8.GetBytes($"{new string('\n', header.AsSpan().Count('\n') - 1)}{string.Join(',', names)}\n"));
    }

    /// <summary>Comments and empty lines, then the declaration that begins every ARFF file.</summary>
    [GeneratedRegex(
        @"\A(%[^\n]*\n|[\r\n])*[ \t]*@relation", RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Begin();

    /// <summary>The line before the first row.</summary>
    [GeneratedRegex(@"^[ \t]*@data[ \t\r]*\n", RegexOptions.IgnoreCase | RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex Data();

    /// <summary>The declaration of a column; its name may be quoted.</summary>
    [GeneratedRegex(
        @"^[ \t]*@attribute[ \t]*(?:(?<quote>['""])(?<name>.*?)\k<quote>|(?<name>[^ \t\r\n]*))",
        RegexOptions.IgnoreCase | RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex Attribute();
}
