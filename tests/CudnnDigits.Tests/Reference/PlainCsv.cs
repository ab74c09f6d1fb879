using static CudnnDigits.Tests.Reference.BrokenFileException;

namespace CudnnDigits.Tests.Reference;

/// <summary>Kaggle's layout in CSV as RFC 4180 has it, lines ending in LF or CR LF. Without labels, <c>Labels</c> is empty.</summary>
internal static class PlainCsv
{
    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    public static (byte[] Pixels, byte[] Labels) Read(byte[] bytes)
    {
        string text = Encoding.Latin1.GetString(bytes.AsSpan().StartsWith(ByteOrderMark) ? bytes[3..] : bytes);
        List<List<string>> rows = Rows(text);
        Require(rows.Count > 1, "no rows");
        bool labelled = string.Equals(rows[0][0], "label", StringComparison.OrdinalIgnoreCase); // as far as one damaged bit leads
        string[] header = [.. labelled ? [rows[0][0]] : Array.Empty<string>(), .. Enumerable.Range(0, 784).Select(i => $"pixel{i}")];
        Require(rows[0].SequenceEqual(header), "another header");
        List<byte> pixels = [], labels = [];
        foreach (List<string> row in rows.Skip(1))
        {
            Require(row.Count == header.Length, "another number of columns");
            Require(row.TrueForAll(IsByte), "no byte");
            Require(!labelled || byte.Parse(row[0], CultureInfo.InvariantCulture) <= 9, "no digit");
            labels.AddRange(row.Take(labelled ? 1 : 0).Select(field => byte.Parse(field, CultureInfo.InvariantCulture)));
            pixels.AddRange(row.Skip(labelled ? 1 : 0).Select(field => byte.Parse(field, CultureInfo.InvariantCulture)));
        }

        return ([.. pixels], [.. labels]);

        static bool IsByte(string field) => field.Length is > 0 and <= 3 && field.All(char.IsAsciiDigit)
            && int.Parse(field, CultureInfo.InvariantCulture) <= 255;
    }

    private static List<List<string>> Rows(string text)
    {
        List<List<string>> rows = [];
        List<string> row = [];
        for (int at = 0; at < text.Length;)
        {
            int end;
            if (text[at] == '"')
            {
                StringBuilder field = new();
                for (end = at + 1; end < text.Length && (text[end] != '"' || (end + 1 < text.Length && text[end + 1] == '"')); end++)
                {
                    field.Append(text[end]);
                    end += text[end] == '"' ? 1 : 0;
                }

                Require(end < text.Length, "an open quote");
                row.Add(field.ToString());
                end++;
            }
            else
            {
                end = text.IndexOfAny([',', '\n', '"'], at);
                end = end < 0 ? text.Length : end;
                end -= end < text.Length && text[end] == '\n' && end > at && text[end - 1] == '\r' ? 1 : 0;
                row.Add(text[at..end]);
            }

            end += end < text.Length && text[end] == '\r' ? 1 : 0;
            Require(end == text.Length || text[end] is ',' or '\n', "something after a field");
            bool ended = end == text.Length || text[end] == '\n';
            at = end + 1;
            if (!ended && at == text.Length)
            {
                row.Add("");
                ended = true;
            }

            if (ended)
            {
                rows.AddRange(row is [""] ? [] : [row]); // a blank line
                row = [];
            }
        }

        return rows;
    }
}
