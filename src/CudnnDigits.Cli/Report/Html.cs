using System.Net;
using System.Reflection;

namespace CudnnDigits.Cli.Report;

/// <summary>Pieces of a page.</summary>
internal static class Html
{
    /// <summary>Text, made safe for a page and for the value of an attribute.</summary>
    public static string Text(string text) => WebUtility.HtmlEncode(text);

    /// <summary>A whole page that needs nothing but itself.</summary>
    /// <param name="title">Its title.</param>
    /// <param name="body">Its body.</param>
    public static string Page(string title, string body) => $"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>{Text(title)}</title>
        <style>
        {Resource("colors.css")}{Resource("page.css")}
        </style>
        </head>
        <body>
        {body}
        </body>
        </html>

        """;

    /// <summary>A table of names and values.</summary>
    public static string Definitions(IEnumerable<(string Name, string Value)> rows) =>
        $"<dl class=\"facts\">{string.Concat(rows.Select(row => $"<div><dt>{Text(row.Name)}</dt><dd>{Text(row.Value)}</dd></div>"))}</dl>";

    /// <summary>A text file that travels inside the program.</summary>
    public static string Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)!;
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }
}
