namespace CudnnDigits.Data;

/// <summary>
/// A table of WEKA's and OpenML's (ARFF), as CSV: the names of its attributes become the header, in the line of <c>@data</c>. Source:
/// https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/.
/// </summary>
internal sealed class ArffTable : ReadOnlyStream
{
    /// <summary>785 attributes take a tenth of it.</summary>
    private const int MostHeader = 1 << 20;

    private readonly byte[] _header;
    private readonly Lookahead _rows;
    private int _at;

    private ArffTable(byte[] header, Lookahead rows) => (_header, _rows) = (header, rows);

    /// <summary>The table as CSV; the text itself where it is no ARFF.</summary>
    /// <param name="text">Of which nothing has been read yet; disposed of with what is returned.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <exception cref="InputException">Its rows never begin, or give only the values that are not zero.</exception>
    public static Lookahead Open(Lookahead text, string name)
    {
        if (!Line(text.Seen, Begin(text.Seen)).StartsWith("@relation", StringComparison.OrdinalIgnoreCase))
        {
            return text;
        }

        StringBuilder header = new(), lines = new();
        int at = 0;
        while (true)
        {
            int end = text.Seen[at..].IndexOf((byte)'\n');
            if (end < 0)
            {
                if (at > MostHeader || !text.LookFurther())
                {
                    throw new InputException($"{name}: an ARFF file without a line @data; it is cut off: download it again");
                }

                continue;
            }

            string line = Line(text.Seen, at);
            at += end + 1;
            if (line.StartsWith("@attribute", StringComparison.OrdinalIgnoreCase))
            {
                header.Append(header.Length == 0 ? "" : ",").Append(NameOf(line["@attribute".Length..].Trim()));
            }
            else if (line.Equals("@data", StringComparison.OrdinalIgnoreCase))
            {
                break;
            }

            lines.Append('\n'); // rows in messages are lines of the file
        }

        if (text.Seen[at..].TrimStart("\r\n "u8).StartsWith("{"u8))
        {
            throw new InputException($"{name}: a sparse ARFF file, which leaves out zeros; save it as CSV");
        }

        text.Skip(at);
        return Lookahead.Open(new ArffTable(Encoding.UTF8.GetBytes($"{lines}{header}\n"), text));
    }

    public override int Read(Span<byte> buffer)
    {
        if (_at == _header.Length)
        {
            return _rows.Read(buffer);
        }

        int count = Math.Min(buffer.Length, _header.Length - _at);
        _header.AsSpan(_at, count).CopyTo(buffer);
        _at += count;
        return count;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _rows.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <summary>Where the first line is that is neither blank nor a comment.</summary>
    private static int Begin(ReadOnlySpan<byte> text)
    {
        int at = 0;
        while (at < text.Length && text[at] is (byte)'%' or (byte)'\r' or (byte)'\n')
        {
            int end = text[at..].IndexOf((byte)'\n');
            at = end < 0 ? text.Length : at + end + 1;
        }

        return at;
    }

    private static string Line(ReadOnlySpan<byte> text, int at)
    {
        ReadOnlySpan<byte> rest = text[at..];
        return Encoding.UTF8.GetString(rest.IndexOf((byte)'\n') is >= 0 and int end ? rest[..end] : rest[..Math.Min(rest.Length, 80)]).Trim();
    }

    /// <summary>The name that an attribute begins with, which may be in quotes; without commas, which would divide it.</summary>
    private static string NameOf(string attribute)
    {
        char quote = attribute.Length > 0 && attribute[0] is '\'' or '"' ? attribute[0] : '\0';
        int end = quote == '\0' ? attribute.AsSpan().IndexOfAny(' ', '\t') : attribute.IndexOf(quote, 1);
        string name = end < 0 ? attribute : attribute[(quote == '\0' ? 0 : 1)..end];
        return name.Replace(',', ' ').Replace('"', ' ');
    }
}
