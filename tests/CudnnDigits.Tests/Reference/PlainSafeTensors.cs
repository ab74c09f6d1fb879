using System.Security.Cryptography;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// A second reader of safetensors files, straight from the format's description, sharing nothing with the first: what one
/// accepts the other must accept, with the same content.
/// </summary>
internal sealed class PlainSafeTensors
{
    public SortedDictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    public SortedDictionary<string, (string Type, long[] Shape, byte[] Bytes)> Tensors { get; } = new(StringComparer.Ordinal);

    /// <summary>Reads a file; null where it breaks a rule or its checksum is wrong.</summary>
    public static PlainSafeTensors? Read(byte[] file)
    {
        try
        {
            PlainSafeTensors content = new();
            ulong length = BitConverter.ToUInt64(file, 0);
            Require(length <= (ulong)file.Length - 8 && file[8] == '{');
            Dictionary<string, object?> header = (Dictionary<string, object?>)new Json(new UTF8Encoding(false, true).GetString(file, 8, (int)length)).Document()!;
            byte[] data = file[(8 + (int)length)..];
            bool[] used = new bool[data.Length];
            foreach ((string name, object? value) in header)
            {
                Dictionary<string, object?> fields = (Dictionary<string, object?>)value!;
                if (name == "__metadata__")
                {
                    foreach ((string key, object? text) in fields)
                    {
                        content.Metadata.Add(key, (string)(text ?? throw new FormatException()));
                    }

                    continue;
                }

                string type = (string)fields["dtype"]!;
                long[] shape = [.. ((List<object?>)fields["shape"]!).Select(Whole)], offsets = [.. ((List<object?>)fields["data_offsets"]!).Select(Whole)];
                Require(offsets.Length == 2 && offsets[1] <= data.Length && offsets[0] <= offsets[1] && Array.TrueForAll(shape, size => size >= 0));
                Require(shape.Aggregate(Width(type), (product, size) => checked(product * size)) == offsets[1] - offsets[0]);
                for (long at = offsets[0]; at < offsets[1]; at++)
                {
                    Require(!used[at]);
                    used[at] = true;
                }

                content.Tensors.Add(name, (type, shape, data[(int)offsets[0]..(int)offsets[1]]));
            }

            Require(Array.TrueForAll(used, byteUsed => byteUsed));
            Require(!content.Metadata.TryGetValue("cudnn_digits.sha256", out string? checksum) || checksum == content.Checksum());
            return content;
        }
        catch (Exception e) when (e is FormatException or ArgumentException or InvalidCastException or KeyNotFoundException or OverflowException or IndexOutOfRangeException or NullReferenceException)
        {
            return null;
        }
    }

    private string Checksum()
    {
        using MemoryStream all = new();
        foreach ((string key, string value) in Metadata.Where(entry => entry.Key != "cudnn_digits.sha256"))
        {
            all.Write(Encoding.UTF8.GetBytes(key + "=" + value + "\n"));
        }

        foreach ((string name, (string type, long[] shape, byte[] bytes)) in Tensors)
        {
            all.Write(Encoding.UTF8.GetBytes($"{name} {type} [{string.Join(", ", shape)}]\n"));
            all.Write(bytes);
        }

        return Convert.ToHexString(SHA256.HashData(all.ToArray())).ToLowerInvariant();
    }

    private static long Width(string type) => type switch
    {
        "BOOL" or "U8" or "I8" or "F8_E5M2" or "F8_E4M3" or "F8_E8M0" => 1,
        "I16" or "U16" or "F16" or "BF16" => 2,
        "I32" or "U32" or "F32" => 4,
        "I64" or "U64" or "F64" or "C64" => 8,
        _ => throw new FormatException(type),
    };

    private static long Whole(object? value) => long.Parse((string)((Json.Number)value!).Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);

    private static void Require(bool holds)
    {
        if (!holds)
        {
            throw new FormatException();
        }
    }

    /// <summary>
    /// RFC 8259, with every name once: objects as dictionaries, arrays as lists, texts as strings, numbers as they stand.
    /// </summary>
    private sealed class Json(string text)
    {
        private int _at;

        public sealed record Number(string Text);

        public object? Document()
        {
            object? value = Value();
            Require(Next() == '\0' && _at == text.Length);
            return value;
        }

        private char Next()
        {
            while (_at < text.Length && text[_at] is ' ' or '\t' or '\n' or '\r')
            {
                _at++;
            }

            return _at < text.Length ? text[_at] : '\0';
        }

        private void Take(char expected)
        {
            Require(Next() == expected);
            _at++;
        }

        private object? Value()
        {
            switch (Next())
            {
                case '{':
                    Dictionary<string, object?> members = new(StringComparer.Ordinal);
                    Members('{', '}', () =>
                    {
                        Require(Next() == '"');
                        string name = Text();
                        Take(':');
                        members.Add(name, Value());
                    });
                    return members;
                case '[':
                    List<object?> items = [];
                    Members('[', ']', () => items.Add(Value()));
                    return items;
                case '"':
                    return Text();
                default:
                    int from = _at;
                    while (_at < text.Length && (char.IsAsciiLetterOrDigit(text[_at]) || text[_at] is '-' or '+' or '.'))
                    {
                        _at++;
                    }

                    string word = text[from.._at], digits = word.TrimStart('-');
                    Require(word is "true" or "false" or "null"
                        || (System.Text.RegularExpressions.Regex.IsMatch(word, @"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$") && digits.Length > 0));
                    return word == "null" ? null : char.IsAsciiLetter(word[0]) ? word == "true" : new Number(word);
            }
        }

        private void Members(char open, char close, Action member)
        {
            Take(open);
            if (Next() == close)
            {
                _at++;
                return;
            }

            for (; ; )
            {
                member();
                if (Next() == close)
                {
                    _at++;
                    return;
                }

                Take(',');
            }
        }

        private string Text()
        {
            StringBuilder value = new();
            for (_at++; ; _at++)
            {
                Require(_at < text.Length && text[_at] >= ' ');
                if (text[_at] == '"')
                {
                    _at++;
                    return new UTF8Encoding(false, true).GetString(new UTF8Encoding(false, true).GetBytes(value.ToString())); // no half of a surrogate pair
                }

                if (text[_at] != '\\')
                {
                    value.Append(text[_at]);
                    continue;
                }

                _at++;
                Require(_at < text.Length);
                int escape = "\"\\/bfnrt".IndexOf(text[_at], StringComparison.Ordinal);
                if (escape >= 0)
                {
                    value.Append("\"\\/\b\f\n\r\t"[escape]);
                    continue;
                }

                Require(text[_at] == 'u' && _at + 4 < text.Length && text.Substring(_at + 1, 4).All(char.IsAsciiHexDigit));
                value.Append((char)ushort.Parse(text.AsSpan(_at + 1, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture));
                _at += 4;
            }
        }
    }
}
