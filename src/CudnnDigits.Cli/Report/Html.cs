using System.Net;
using System.Reflection;

namespace CudnnDigits.Cli.Report;

internal static class Html
{
    /// <summary>Text, encoded for a page or for the value of an attribute.</summary>
    public static string Text(string text) => WebUtility.HtmlEncode(text);

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

    public static string Definitions(IEnumerable<RunFact> facts)
    {
        IEnumerable<string> items = facts
            .Select(fact => $"<div><dt>{Text(fact.Name)}</dt><dd{Title(fact.Whole)}>{Text(fact.Value)}</dd></div>");
        return $"<dl class=\"facts\">{string.Concat(items)}</dl>";
    }

    /// <summary>A table of figures, which scrolls if it is wider than the screen. If stacked, a phone shows each row as a list.</summary>
    public static string Table(
        IReadOnlyList<string> head, IEnumerable<IEnumerable<string>> rows, IEnumerable<string>? foot = null, bool isStacked = false) => $"""
        <div class="scroll"><table class="figures{(isStacked ? " stacked" : "")}">
        <thead><tr>{string.Concat(head.Select(cell => $"<th scope=\"col\">{Text(cell)}</th>"))}</tr></thead>
        <tbody>{string.Concat(rows.Select(row => Row(row, isStacked ? head : null)))}</tbody>{(foot is null ? ""
            : $"<tfoot>{Row(foot, isStacked ? head : null)}</tfoot>")}
        </table></div>
        """;

    public static string Tiles(params (string Name, string Value, string Note)[] tiles)
    {
        IEnumerable<string> items = tiles
            .Select(tile => $"<li><span>{Text(tile.Name)}</span><strong>{Text(tile.Value)}</strong><small>{Text(tile.Note)}</small></li>");
        return $"<ul class=\"tiles\">{string.Concat(items)}</ul>";
    }

    /// <summary>An attribute with a tooltip, for a value that is shown shortened.</summary>
    public static string Title(string? text) => text is null ? "" : $" title=\"{Text(text)}\"";

    /// <summary>A share in whole percent. Only exactly all is "100 %", and only exactly none is "0 %".</summary>
    public static string WholePercent(double share) => share switch
    {
        < 1 and >= 0.995 => "over 99 %",
        > 0 and < 0.005 => "under 1 %",
        _ => $"{100 * share:F0} %",
    };

    public static string Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)!;
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }

    private static string Row(IEnumerable<string> cells, IReadOnlyList<string>? names)
    {
        IEnumerable<string> row = cells.Select((text, column) => column == 0 ? $"<th scope=\"row\">{Text(text)}</th>"
            : $"<td{(names is null ? "" : $" data-name=\"{Text(names[column])}\"")}>{Text(text)}</td>");
        return $"<tr>{string.Concat(row)}</tr>";
    }
}
