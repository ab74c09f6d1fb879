using Microsoft.Net.Http.Headers;

namespace CudnnDigits.Cli.Serve;

/// <summary>Finds the files of a form (RFC 7578) in memory, without copying them or writing them to disk.</summary>
internal static class PngForm
{
    private const int MostBoundary = 128, MostHeaders = 16 << 10;

    /// <summary>Finds the files and skips other fields.</summary>
    /// <param name="contentType">The header Content-Type, which contains the boundary.</param>
    /// <returns>The files' places in the body, up to one more than <see cref="PredictBody.MostDigits"/>.</returns>
    /// <exception cref="InputException">It is not a form, or is cut off.</exception>
    public static List<Range> Files(ReadOnlySpan<byte> body, string contentType)
    {
        string boundary = MediaTypeHeaderValue.TryParse(contentType, out MediaTypeHeaderValue? type)
            ? HeaderUtilities.RemoveQuotes(type.Boundary).ToString()
            : "";
        if (boundary.Length is 0 or > MostBoundary)
        {
            throw new InputException($"the form is damaged: Content-Type names no boundary of 1 to {MostBoundary} characters");
        }

        byte[] delimiter = Encoding.UTF8.GetBytes("\r\n--" + boundary);
        List<Range> files = [];
        int at = body.StartsWith(delimiter.AsSpan(2)) ? delimiter.Length - 2 : After(body, 0, delimiter, "its first boundary");
        for (int part = 1; !body[at..].StartsWith("--"u8); part++)
        {
            int content = at + HeadersLength(body[at..], part, out bool isFile);
            at = After(body, content, delimiter, $"the boundary after part {part}");
            if (isFile)
            {
                files.Add(content..(at - delimiter.Length));
            }

            if (files.Count > PredictBody.MostDigits)
            {
                break;
            }
        }

        return files;
    }

    /// <summary>The position after the next delimiter, where the form ends (--) or the line does.</summary>
    private static int After(ReadOnlySpan<byte> body, int start, ReadOnlySpan<byte> delimiter, string what)
    {
        for (int at = start; body[at..].IndexOf(delimiter) is >= 0 and int found;)
        {
            at += found + delimiter.Length;
            if (body[at..].StartsWith("--"u8) || body[at..].TrimStart(" \t"u8).StartsWith("\r\n"u8))
            {
                return at;
            }
        }

        throw new InputException($"the form is damaged: {what} is missing");
    }

    /// <summary>The length of the rest of the boundary's line, the headers and the empty line together.</summary>
    private static int HeadersLength(ReadOnlySpan<byte> rest, int part, out bool isFile)
    {
        int start = rest.IndexOf("\r\n"u8), end = rest[..Math.Min(rest.Length, MostHeaders)].IndexOf("\r\n\r\n"u8);
        if (end < 0)
        {
            throw new InputException($"the form is damaged: the headers of part {part} do not end");
        }

        foreach (string line in Encoding.UTF8.GetString(rest[start..end]).Split("\r\n"))
        {
            if (line.Split(':', 2) is [string name, string value] && name.Equals("Content-Disposition", StringComparison.OrdinalIgnoreCase)
                && ContentDispositionHeaderValue.TryParse(value, out ContentDispositionHeaderValue? disposition))
            {
                isFile = disposition.FileName.HasValue || disposition.FileNameStar.HasValue;
                return end + 4;
            }
        }

        throw new InputException($"the form is damaged: part {part} has no Content-Disposition");
    }
}
