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

    /// <summary>A list of names and values.</summary>
    public static string Definitions(IEnumerable<RunFact> facts) =>
        $"<dl class=\"facts\">{string.Concat(facts.Select(fact => $"<div><dt>{Text(fact.Name)}</dt><dd{Title(fact.Whole)}>{Text(fact.Value)}</dd></div>"))}</dl>";

    /// <summary>A table of figures, a heading in the first column of each row; wider than the screen, it is pushed aside.</summary>
    /// <param name="head">Headings of the columns.</param>
    /// <param name="rows">Cells, the first of each a heading.</param>
    /// <param name="foot">A last row that sums up, or null.</param>
    /// <param name="isStacked">Whether a phone shows each row as a list, for few rows of many columns.</param>
    public static string Table(IReadOnlyList<string> head, IEnumerable<IEnumerable<string>> rows, IEnumerable<string>? foot = null, bool isStacked = false) => $"""
        <div class="scroll"><table class="figures{(isStacked ? " stacked" : "")}">
        <thead><tr>{string.Concat(head.Select(cell => $"<th scope=\"col\">{Text(cell)}</th>"))}</tr></thead>
        <tbody>{string.Concat(rows.Select(row => Row(row, isStacked ? head : null)))}</tbody>{(foot is null ? "" : $"<tfoot>{Row(foot, null)}</tfoot>")}
        </table></div>
        """;

    /// <summary>Figures that come first.</summary>
    public static string Tiles(params (string Name, string Value, string Note)[] tiles) =>
        $"<ul class=\"tiles\">{string.Concat(tiles.Select(tile => $"<li><span>{Text(tile.Name)}</span><strong>{Text(tile.Value)}</strong><small>{Text(tile.Note)}</small></li>"))}</ul>";

    /// <summary>What the page cannot show in full, for a pointer that rests there.</summary>
    public static string Title(string? text) => text is null ? "" : $" title=\"{Text(text)}\"";

    /// <summary>A share in whole percents; 100 % and 0 % are said of all and none alone.</summary>
    public static string WholePercent(double share) => share switch
    {
        < 1 and >= 0.995 => "over 99 %",
        > 0 and < 0.005 => "under 1 %",
        _ => string.Create(CultureInfo.InvariantCulture, $"{100 * share:F0} %"),
    };

    /// <summary>A text file that travels inside the program.</summary>
    public static string Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)!;
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }

    private static string Row(IEnumerable<string> cells, IReadOnlyList<string>? names) => $"<tr>{string.Concat(cells.Select((cell, i) => i == 0 ? $"<th scope=\"row\">{Text(cell)}</th>" : $"<td{(names is null ? "" : $" data-name=\"{Text(names[i])}\"")}>{Text(cell)}</td>"))}</tr>";
}
