using CudnnDigits.Data;
using Microsoft.Net.Http.Headers;

namespace CudnnDigits.Cli.Serve;

/// <summary>The files of a form (RFC 7578) that lies whole in memory: nothing is copied, and nothing goes to the disk.</summary>
internal static class PngForm
{
    private const int MostBoundary = 128, MostHeaders = 16 << 10;

    /// <summary>Finds the files; fields that are none are passed over.</summary>
    /// <param name="body">The form.</param>
    /// <param name="contentType">Which names the boundary.</param>
    /// <returns>Where in the body they lie; one more than <see cref="PredictBody.MostDigits"/> at most.</returns>
    /// <exception cref="InputException">It is no form, or cut off.</exception>
    public static List<Range> Files(ReadOnlySpan<byte> body, string contentType)
    {
        string boundary = MediaTypeHeaderValue.TryParse(contentType, out MediaTypeHeaderValue? type) ? HeaderUtilities.RemoveQuotes(type.Boundary).ToString() : "";
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

    /// <summary>Where the bytes after the next delimiter start: there the form ends (--) or a line does.</summary>
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

    /// <summary>How long the rest of the boundary's line, the headers and the empty line are.</summary>
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
