using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace CudnnDigits.Cli.Report;

/// <summary>
/// A chart as SVG, drawn by OxyPlot, whose colours are CSS variables of the page around it, so that one drawing serves light,
/// dark and paper. OxyPlot knows only RGB: each variable travels through it as a colour that nothing else uses. Title and
/// legend are left to the page, whose fonts OxyPlot cannot measure.
/// </summary>
internal sealed partial class Chart
{
    /// <summary>Number of colours for series: --series-0 and on.</summary>
    public const int SeriesColors = 6;

    /// <summary>Size in pixels, at which the text has 13.</summary>
    public const int Width = 380, Height = 250;

    private const byte Mark = 1, FirstSeries = 10;

    private static readonly string[] Variables = ["--ink", "--muted", "--line"];
    private static readonly OxyColor Ink = OxyColor.FromRgb(Mark, Mark, 0), Muted = OxyColor.FromRgb(Mark, Mark, 1), Line = OxyColor.FromRgb(Mark, Mark, 2);

    private readonly PlotModel _model;
    private readonly List<(string Title, int Color, bool Dashed)> _legend = [];

    /// <param name="x">The horizontal axis.</param>
    /// <param name="y">The vertical axis.</param>
    public Chart(ChartAxis x, ChartAxis y)
    {
        _model = new PlotModel
        {
            DefaultFont = "system-ui, sans-serif",
            DefaultFontSize = 13,
            TextColor = Ink,
            PlotAreaBorderColor = Line,
            PlotMargins = new OxyThickness(56, 8, 12, x.Title.Length > 0 ? 44 : 26),
            Padding = new OxyThickness(0),
        };
        _model.Axes.Add(x.Create(AxisPosition.Bottom, Muted, Line));
        _model.Axes.Add(y.Create(AxisPosition.Left, Muted, Line));
    }

    /// <summary>Adds a line through points, left out of the legend where it has no title.</summary>
    public Chart Add(string? title, int color, IEnumerable<(double X, double Y)> points, bool dashed = false)
    {
        LineSeries line = new()
        {
            Color = Series(color),
            StrokeThickness = 2,
            LineStyle = dashed ? LineStyle.Dash : LineStyle.Solid,
            MarkerType = MarkerType.Circle,
            MarkerSize = 3,
            MarkerFill = Series(color),
        };
        line.Points.AddRange(points.Select(point => new DataPoint(point.X, point.Y)));
        _model.Series.Add(line);
        if (title is not null)
        {
            _legend.Add((title, color, dashed));
        }

        return this;
    }

    /// <summary>Adds points without a line.</summary>
    public Chart AddPoints(int color, IEnumerable<(double X, double Y)> points)
    {
        LineSeries marks = new() { Color = Series(color), StrokeThickness = 0, LineStyle = LineStyle.None, MarkerType = MarkerType.Circle, MarkerSize = 4, MarkerFill = Series(color) };
        marks.Points.AddRange(points.Select(point => new DataPoint(point.X, point.Y)));
        _model.Series.Add(marks);
        return this;
    }

    /// <summary>Adds a thin straight line for comparison.</summary>
    public Chart AddGuide((double X, double Y) from, (double X, double Y) to)
    {
        LineSeries guide = new() { Color = Muted, StrokeThickness = 1, LineStyle = LineStyle.Dot };
        guide.Points.AddRange([new DataPoint(from.X, from.Y), new DataPoint(to.X, to.Y)]);
        _model.Series.Add(guide);
        return this;
    }

    /// <summary>The chart with its title and legend.</summary>
    /// <param name="id">A name of its own in the page.</param>
    /// <param name="title">Above the chart: what the vertical axis measures, and in which unit.</param>
    /// <param name="description">What it shows, for who cannot see it.</param>
    public string ToFigure(string id, string title, string description)
    {
        string legend = string.Concat(_legend.Select(entry =>
            $"<li><i style=\"--own:var(--series-{entry.Color % SeriesColors})\"{(entry.Dashed ? " class=\"dashed\"" : "")}></i>{Html.Text(entry.Title)}</li>"));
        return $"<figure class=\"chart\"><figcaption>{Html.Text(title)}{(legend.Length > 0 ? $"<ul>{legend}</ul>" : "")}</figcaption>{ToSvg(id, description)}</figure>";
    }

    /// <summary>The chart as an inline <c>svg</c> element that scales with its place.</summary>
    /// <param name="id">A name of its own in the page.</param>
    /// <param name="description">What it shows, for who cannot see it.</param>
    /// <param name="place">Further attributes, such as x and y within another SVG.</param>
    public string ToSvg(string id, string description, string place = "")
    {
        using MemoryStream stream = new();
        new SvgExporter { Width = Width, Height = Height, IsDocument = true }.Export(_model, stream);
        string svg = Encoding.UTF8.GetString(stream.ToArray());
        svg = svg[(svg.IndexOf('>', svg.IndexOf("<svg", StringComparison.Ordinal)) + 1)..].Trim();
        svg = Sentinel().Replace(svg, match => $"var({Variable(byte.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture))})");
        svg = svg.Replace("clipPath", $"{id}-clip", StringComparison.Ordinal).Replace($"<{id}-clip ", "<clipPath ", StringComparison.Ordinal).Replace($"</{id}-clip>", "</clipPath>", StringComparison.Ordinal);
        svg = svg.Replace(" shape-rendering=\"crispEdges\"", "", StringComparison.Ordinal); // made for screens at 1:1, uneven when scaled
        return $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{Html.Text(description)}\" {place}>{svg}";
    }

    private static OxyColor Series(int index) => OxyColor.FromRgb(Mark, Mark, (byte)(FirstSeries + index % SeriesColors));

    private static string Variable(byte index) => index >= FirstSeries ? $"--series-{index - FirstSeries}" : Variables[index];

    [GeneratedRegex(@"rgb\(1,1,(\d+)\)")]
    private static partial Regex Sentinel();
}

/// <summary>An axis of a chart.</summary>
/// <param name="Title">Beside the axis; empty for the vertical one, whose title stands above the chart.</param>
/// <param name="Logarithmic">Whether it is.</param>
/// <param name="Least">Where it begins, or null for where the points do.</param>
/// <param name="Most">Where it ends, or null for where the points do.</param>
/// <param name="Whole">Whether only whole numbers make sense.</param>
/// <param name="Labels">Names of the places 0, 1, … of an axis of choices, or null for numbers.</param>
internal sealed record ChartAxis(string Title, bool Logarithmic = false, double? Least = null, double? Most = null, bool Whole = false, IReadOnlyList<string>? Labels = null)
{
    public Axis Create(AxisPosition position, OxyColor muted, OxyColor line)
    {
        Axis axis = Logarithmic ? new LogarithmicAxis() : new LinearAxis { MinimumMajorStep = Whole ? 1 : 0 };
        axis.Position = position;
        axis.Title = Title;
        axis.TitleColor = axis.TextColor = muted;
        axis.TicklineColor = axis.AxislineColor = axis.MajorGridlineColor = line;
        axis.MajorGridlineStyle = LineStyle.Solid;
        axis.MinorTickSize = 0;
        axis.MajorTickSize = 0;
        axis.AxisTickToLabelDistance = 6;
        axis.IntervalLength = position == AxisPosition.Left ? 32 : Logarithmic ? 75 : 45;
        axis.MinimumPadding = axis.MaximumPadding = 0.03;
        (axis.Minimum, axis.Maximum) = (Least ?? double.NaN, Most ?? double.NaN);
        if (Labels is not null)
        {
            (axis.Minimum, axis.Maximum, axis.MajorStep) = (-0.5, Labels.Count - 0.5, 1);
            axis.LabelFormatter = place => place >= 0 && place < Labels.Count && place == Math.Floor(place) ? Labels[(int)place] : "";
        }

        return axis;
    }
}
