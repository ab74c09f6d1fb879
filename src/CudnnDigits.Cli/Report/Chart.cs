using System.Text.RegularExpressions;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace CudnnDigits.Cli.Report;

/// <summary>A chart as SVG. Its colours are CSS variables of the page, so that one drawing fits light mode, dark mode and print.</summary>
internal sealed partial class Chart
{
    /// <summary>Number of colours for series: the CSS variables from --series-0 on.</summary>
    public const int SeriesColors = 6;

    /// <summary>Size in pixels; the text has 13.</summary>
    public const int Width = 380, Height = 250;

    // OxyPlot knows only RGB: each variable is drawn in a colour that nothing else uses, and replaced afterwards.
    private const byte Mark = 1, FirstSeries = 10, Faint = 115;

    private static readonly string[] Variables = ["--ink", "--muted", "--line"];
    private static readonly OxyColor Ink = Variable(0), Muted = Variable(1), Line = Variable(2);

    private readonly PlotModel _model;
    private readonly List<LineSeries> _lines = [], _bars = [];
    private readonly List<(string Title, int Color, string Kind)> _legend = [];

    public Chart(ChartAxis x, ChartAxis y)
    {
        bool isTall = x.Title.Length > 0 || x.Labels?.Any(label => label.Contains('\n', StringComparison.Ordinal)) == true;
        _model = new PlotModel
        {
            DefaultFont = "system-ui, sans-serif",
            DefaultFontSize = 13,
            TextColor = Ink,
            PlotAreaBorderColor = Line,
            PlotMargins = new OxyThickness(60, 8, 12, isTall ? 44 : 26),
            Padding = new OxyThickness(0),
        };
        _model.Axes.Add(x.Create(AxisPosition.Bottom, Muted, Line));
        _model.Axes.Add(y.Create(AxisPosition.Left, Muted, Line));
    }

    /// <summary>Adds a line through points. Without a title, it is not in the legend.</summary>
    public Chart Add(string? title, int color, IEnumerable<(double X, double Y)> points, bool dashed = false)
    {
        LineSeries line = Stroke(Series(color), 2, dashed ? LineStyle.Dash : LineStyle.Solid, radius: 3);
        return Add(title, color, dashed ? "dashed" : "line", points, line);
    }

    public Chart AddFaint(string? title, int color, IEnumerable<(double X, double Y)> points) =>
        Add(title, color, "faint", points, Stroke(OxyColor.FromAColor(Faint, Series(color)), 1.2, LineStyle.Solid));

    public Chart AddPoints(string? title, int color, IEnumerable<(double X, double Y)> points, double radius = 4) =>
        Add(title, color, "dot", points, Stroke(Series(color), 0, LineStyle.None, radius));

    /// <summary>Adds vertical bars from the lower to the upper end of each.</summary>
    public Chart AddBars(int color, IEnumerable<(double X, double Low, double High)> bars)
    {
        foreach ((double x, double low, double high) in bars)
        {
            LineSeries bar = Stroke(Series(color), 1.5, LineStyle.Solid);
            bar.Points.AddRange([new DataPoint(x, low), new DataPoint(x, high)]);
            _bars.Add(bar);
        }

        return this;
    }

    /// <summary>Adds a thin straight line for comparison.</summary>
    public Chart AddGuide((double X, double Y) from, (double X, double Y) to) =>
        Add(null, 0, "", [from, to], Stroke(Muted, 1, LineStyle.Dot));

    /// <summary>The chart with title and legend, whose fonts OxyPlot cannot measure. The id is unique in the page.</summary>
    public string ToFigure(string id, string title, string description)
    {
        string legend = string.Concat(_legend.Select(entry =>
            $"<li><i style=\"--own:var(--series-{entry.Color % SeriesColors})\" class=\"{entry.Kind}\"></i>{Html.Text(entry.Title)}</li>"));
        string caption = Html.Text(title) + (legend.Length > 0 ? $"<ul>{legend}</ul>" : "");
        return $"<figure class=\"chart\"><figcaption>{caption}</figcaption>{ToSvg(id, description)}</figure>";
    }

    /// <summary>The chart as an inline <c>svg</c> element that scales. Call it once only, because it fits the points to the axes.</summary>
    public string ToSvg(string id, string description, string place = "")
    {
        Fit();
        string svg = new SvgExporter { Width = Width, Height = Height, IsDocument = true }.ExportToString(_model);
        svg = svg[(svg.IndexOf('>', svg.IndexOf("<svg", StringComparison.Ordinal)) + 1)..].Trim();
        svg = Sentinel().Replace(svg, match => $"var({NameOf(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture))})");
        svg = svg.Replace("clipPath", $"{id}-clip", StringComparison.Ordinal) // unique in the page; then the elements' own name again
            .Replace($"<{id}-clip ", "<clipPath ", StringComparison.Ordinal)
            .Replace($"</{id}-clip>", "</clipPath>", StringComparison.Ordinal)
            .Replace(" shape-rendering=\"crispEdges\"", "", StringComparison.Ordinal); // looks uneven when scaled
        return $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" "
            + $"aria-label=\"{Html.Text(description)}\" {place}>{svg}";
    }

    private static LineSeries Stroke(OxyColor color, double thickness, LineStyle style, double radius = 0) => new()
    {
        Color = color,
        StrokeThickness = thickness,
        LineStyle = style,
        MarkerType = radius > 0 ? MarkerType.Circle : MarkerType.None,
        MarkerSize = radius,
        MarkerFill = color,
    };

    private static OxyColor Variable(int index) => OxyColor.FromRgb(Mark, Mark, (byte)index);

    private static OxyColor Series(int index) => Variable(FirstSeries + index % SeriesColors);

    private static string NameOf(int variable) => variable < FirstSeries ? Variables[variable] : $"--series-{variable - FirstSeries}";

    [GeneratedRegex(@"rgb\(1,1,(\d+)\)")]
    private static partial Regex Sentinel();

    private Chart Add(string? title, int color, string kind, IEnumerable<(double X, double Y)> points, LineSeries line)
    {
        line.Points.AddRange(points.Select(point => new DataPoint(point.X, point.Y)));
        _lines.Add(line);
        _legend.AddRange(title is null ? [] : [(title, color, kind)]);
        return this;
    }

    private void Fit()
    {
        if (_model.Axes[0] is LadderAxis x)
        {
            x.Span(_lines.SelectMany(line => line.Points).Select(point => point.X));
        }

        if (_model.Axes[1] is LadderAxis y)
        {
            y.Span(_lines.SelectMany(line => line.Points).Concat(_bars.Select(bar => bar.Points[1])).Select(point => point.Y));
            foreach (LineSeries line in _lines.Concat(_bars))
            {
                DataPoint[] points = [.. line.Points.Select(point => new DataPoint(point.X, Math.Max(point.Y, y.Lowest)))];
                line.Points.Clear();
                line.Points.AddRange(points);
            }
        }

        _bars.Concat(_lines).ToList().ForEach(_model.Series.Add);
    }
}

/// <summary>An axis of a chart. Without limits, it fits the points; with labels, it has a category at each position 0, 1, …</summary>
internal sealed record ChartAxis(
    string Title, bool Logarithmic = false, double? Least = null, double? Most = null, bool Whole = false,
    IReadOnlyList<string>? Labels = null, string Unit = "")
{
    public Axis Create(AxisPosition position, OxyColor muted, OxyColor line)
    {
        Axis axis = Logarithmic
            ? new LadderAxis(position == AxisPosition.Left ? 9 : 6, Unit)
            : new LinearAxis { MinimumMajorStep = Whole ? 1 : 0 };
        axis.Position = position;
        axis.Title = Title;
        axis.TitleColor = axis.TextColor = muted;
        axis.TicklineColor = axis.AxislineColor = axis.MajorGridlineColor = line;
        axis.MajorGridlineStyle = LineStyle.Solid;
        axis.MinorTickSize = 0;
        axis.MajorTickSize = 0;
        axis.AxisTickToLabelDistance = 6;
        axis.IntervalLength = position == AxisPosition.Left ? 32 : 45;
        axis.MinimumPadding = axis.MaximumPadding = 0.03;
        int count = Labels?.Count ?? 0;
        (axis.Minimum, axis.Maximum) = count > 0 ? (-0.5, count - 0.5) : (Least ?? double.NaN, Most ?? double.NaN);
        axis.MajorStep = count > 0 ? Math.Max(1, Math.Ceiling(count / 12.0)) : double.NaN;
        axis.LabelFormatter = axis is LadderAxis ladder ? ladder.LabelOf
            : Labels is null ? number => LadderAxis.Label(number, Unit)
            : place => place >= 0 && place < count && place == Math.Floor(place) ? Labels[(int)place] : "";
        return axis;
    }
}

/// <summary>A logarithmic axis with marks at 1, 2 and 5 times the powers of ten, or at fewer; zero is drawn at the lowest mark.</summary>
internal sealed class LadderAxis(int most, string unit) : LogarithmicAxis
{
    private static readonly double[][] Steps = [[1, 2, 5], [1, 3], [1]];

    private double[] _marks = [1, 10];
    private bool _hasZero;

    public double Lowest => _marks[0];

    /// <summary>A short form of a number; only very small ones have an exponent.</summary>
    public static string Label(double number, string unit)
    {
        bool isTiny = number != 0 && Math.Abs(number) < 5e-5;
        return (isTiny ? number : Math.Round(number, 7)).ToString(isTiny ? "0.##e-0" : "#,0.#######", CultureInfo.InvariantCulture) + unit;
    }

    public string LabelOf(double mark) => Label(_hasZero && mark <= Lowest ? 0 : mark, unit);

    /// <summary>Fits the axis to numbers from 0 on: from the mark below the least one to the mark above the greatest one.</summary>
    public void Span(IEnumerable<double> numbers)
    {
        double[] all = [.. numbers.Where(double.IsFinite)], positive = [.. all.Where(number => number > 0)];
        (double least, double greatest) = positive.Length > 0 ? (positive.Min(), positive.Max()) : (0.1, 1);
        _hasZero = positive.Length < all.Length;
        double[][] ladders = [.. Steps.Select(steps => Marks(steps, least, greatest))];
        _marks = ladders.FirstOrDefault(marks => marks.Length <= most) ?? ladders[^1];
        double room = Math.Pow(_marks[^1] / _marks[0], 0.03);
        (Minimum, Maximum) = (_marks[0] / room, _marks[^1] * room);
    }

    public override void GetTickValues(
        out IList<double> majorLabelValues, out IList<double> majorTickValues, out IList<double> minorTickValues) =>
        (majorLabelValues, majorTickValues, minorTickValues) = (_marks, _marks, []);

    private double[] Marks(double[] steps, double least, double greatest)
    {
        const double Near = 1 + 1e-9; // because 3 · 0.1 is not exactly 0.3
        int first = (int)Math.Floor(Math.Log10(least)) - 2, last = (int)Math.Ceiling(Math.Log10(greatest)) + 1;
        IEnumerable<double> powers = Enumerable.Range(first, last - first + 1).Select(exponent => Math.Pow(10, exponent));
        double[] ladder = [.. powers.SelectMany(power => steps.Select(step => step * power))];
        int from = Array.FindLastIndex(ladder, mark => mark <= least * Near) - (_hasZero ? 1 : 0);
        int to = Math.Max(from + 1, Array.FindIndex(ladder, mark => mark * Near >= greatest));
        return ladder[from..(to + 1)];
    }
}
