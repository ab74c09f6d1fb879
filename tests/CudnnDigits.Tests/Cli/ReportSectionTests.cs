using System.Xml.Linq;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Studies;

namespace CudnnDigits.Tests.Cli;

/// <summary>What the pages of runs and studies are made of.</summary>
public sealed class ReportSectionTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(2000, seed: 1);

    [Theory]
    [InlineData("0.6 24", "0.5 % 1 % 2 % 5 % 10 % 20 % 50 %")]
    [InlineData("0.5 5", "0.5 % 1 % 2 % 5 %")]
    [InlineData("1.1 1.4", "1 % 2 %")]
    [InlineData("1", "1 % 2 %")]
    [InlineData("0.012 90", "0.01 % 0.03 % 0.1 % 0.3 % 1 % 3 % 10 % 30 % 100 %")]
    [InlineData("0.0001 100", "0.0001 % 0.001 % 0.01 % 0.1 % 1 % 10 % 100 %")]
    [InlineData("0 0.012 0.9", "0 % 0.01 % 0.02 % 0.05 % 0.1 % 0.2 % 0.5 % 1 %")]
    [InlineData("0 100", "0 % 100 %")]
    [InlineData("0", "0 % 0.1 % 0.2 % 0.5 % 1 %")]
    public void Marks_of_a_logarithmic_axis_are_1_2_and_5_times_a_power_of_ten_and_zero_is_one_where_it_is_drawn(string values,
        string marks)
    {
        double[] errors = [.. values.Split(' ').Select(value => double.Parse(value, CultureInfo.InvariantCulture))];
        Chart chart = new(new ChartAxis("epoch", Whole: true), new ChartAxis("", Logarithmic: true, Unit: " %"));
        string svg = chart.Add("validation", 1, errors.Select((error, epoch) => (epoch + 1.0, error))).ToSvg("chart", "Error");
        Assert.Equal(marks, string.Join(' ', Texts(svg).Where(text => text.EndsWith(" %", StringComparison.Ordinal))));
        double[] heights = [.. Dots(svg).Select(dot => dot.Y)];
        Assert.Equal(errors.Length, heights.Length);
        Assert.All(heights, height => Assert.InRange(height, 8, Chart.Height - 44)); // none beyond the frame
        if (errors[0] == 0)
        {
            Assert.All(heights[1..], height => Assert.True(height < heights[0] - 10)); // zero is the lowest, and apart
        }
    }

    [Theory]
    [InlineData(1.2e-8, "1.2e-8")]
    [InlineData(0.00002, "2e-5")]
    [InlineData(0.3 * 0.001, "0.0003")]
    [InlineData(3 * 0.1, "0.3")]
    [InlineData(0, "0")]
    [InlineData(12500, "12,500")]
    public void Numbers_at_an_axis_are_short(double number, string label) => Assert.Equal(label, LadderAxis.Label(number, ""));

    [Fact]
    public void Bars_that_reach_below_zero_end_at_the_lowest_mark()
    {
        Chart chart = new(new ChartAxis("epoch", Whole: true), new ChartAxis("", Logarithmic: true, Unit: " %"));
        string svg = chart.Add("validation", 1, [(1, 1.0), (2, 0.5)]).AddBars(1, [(1, 0.8, 3.0), (2, -0.2, 0.7)]).ToSvg("chart", "Error");
        Assert.Equal(["0.5 %", "1 %", "2 %", "5 %"], Texts(svg).Where(text => text.EndsWith(" %", StringComparison.Ordinal)));
        Assert.DoesNotContain("NaN", svg, StringComparison.Ordinal);
        Assert.DoesNotContain("Infinity", svg, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_line_of_common_charts_is_named_and_a_run_without_epochs_has_none()
    {
        RunGroup[] groups = [Group("held", 0.2, 0.3), Group("whole", 0.1, null), Group("begun", null, null)];
        string error = Sections.Curves(groups, "all").Split("</figcaption>")[0];
        Assert.Equal(["line held", "dashed whole"], Regex.Matches(error, "class=\"(\\w+)\"></i>(\\w+)").Select(entry =>
            $"{entry.Groups[1]} {entry.Groups[2]}"));
        Assert.Contains("Solid lines: validation", Sections.Curves(groups, "all"), StringComparison.Ordinal);
        Assert.DoesNotContain("alidation", Sections.Curves(groups[1..2], "run"), StringComparison.Ordinal);
        Assert.Empty(Sections.Curves(groups[2..], "run"));

        static RunGroup Group(string name, double? loss, double? validation)
        {
            RunRecord record = new("1", DateTime.UnixEpoch, TrainingOptions.For("simple"), null, new(null, 1, ""), "cpu", "CPU",
                Precision.Fp32, false, ".NET", null);
            EpochRecord[] history = loss is null ? [] : [new(1, loss.Value, 0.9, validation, 1 - validation, 0.001, 1, 1)];
            return new(name, [new(new RunFolder(name), record, history, 1, false, null, null, null)]);
        }
    }

    [Theory]
    [InlineData(79, 2, 1)]
    [InlineData(79, 4, 2)]
    [InlineData(119, 4, 1)]
    [InlineData(44, 2, 2)]
    public void A_terminal_that_is_too_narrow_for_a_row_per_run_has_a_column_per_run(int width, int count, int parts)
    {
        RunReport[] runs = [.. Enumerable.Range(1, count).Select(Run)];
        string[] lines = [.. new RunsTable(runs).Format(width).ReplaceLineEndings("\n").Split('\n')
            .TakeWhile(line => !line.StartsWith("validation accuracy", StringComparison.Ordinal))];
        Assert.All(lines, line => Assert.InRange(line.Length, 0, width));
        int[][] heads = [.. lines.Where(line => line.StartsWith("run ", StringComparison.Ordinal)).Select(Starts)];
        int[][] rows = [.. lines.Where(line => line.StartsWith("validation ", StringComparison.Ordinal)).Select(Starts)];
        Assert.Equal(parts, heads.Length);
        Assert.Equal(heads, rows); // a value stands below the name of its run
        Assert.Contains(lines, line => Regex.IsMatch(line, "^data  .* folder2/digits.csv,") || count / parts < 2);
        Assert.DoesNotContain(lines, line => line.Contains(Environment.CurrentDirectory, StringComparison.Ordinal));

        string[] piped = new RunsTable(runs).Format(int.MaxValue).ReplaceLineEndings("\n").Split('\n');
        Assert.StartsWith("run   validation  epochs  ", piped[0], StringComparison.Ordinal);
        Assert.Contains($"  {runs[1].Record.Data.Path}, 1,200 digits  ", piped[2], StringComparison.Ordinal);

        static int[] Starts(string line) => [.. Regex.Matches(line, @"(?<=^|  )\S").Select(match => match.Index)];
        static RunReport Run(int number)
        {
            TrainingOptions options = TrainingOptions.For("simple") with { Epochs = number, Seed = (ulong)number };
            options = number % 2 == 0 ? options with { Augmentation = AugmentationSpec.Standard } : options;
            RunRecord record = new("1", DateTime.UnixEpoch, options, null,
                new(Path.GetFullPath($"folder{number}/digits.csv"), 600 * number, $"{number}23456789abc"), "cpu", "CPU", Precision.Fp32,
                false, ".NET", null);
            return new(new RunFolder($"run{number}"), record, [new(1, 1, 0.9, 1, 0.9, 0.001, 1, 1)], 1, true, null, null, null);
        }
    }

    [Fact]
    public void Calibration_has_a_dot_for_ten_digits_or_more_the_larger_the_more_and_whole_percents()
    {
        string section = Sections.Calibration(Scored((40, 0.6, 24), (9, 0.75, 9), (10, 0.85, 7), (1000, 0.9995, 999)), "run0");
        (double X, double Y, double Radius)[] dots = [.. Dots(section)];
        Assert.Equal(3, dots.Length);
        Assert.True(dots[1].Radius < dots[0].Radius && dots[0].Radius < dots[2].Radius, "more digits, larger dot");
        Assert.Equal([["50–70 %", "60 %", "40"], ["80–90 %", "70 %", "10"], ["over 99.9 %", "over 99 %", "1,000"]], Rows(section));
        Assert.Contains("Left out: 9 digits in bins of fewer than ten.", section, StringComparison.Ordinal);
        int from = section.IndexOf("<svg", StringComparison.Ordinal), to = section.IndexOf("</svg>", StringComparison.Ordinal);
        Assert.All(Texts(section[from..(to + 6)]).Where(text => text.EndsWith(" %", StringComparison.Ordinal)),
            text => Assert.Matches(@"^\d+ %$", text));

        Assert.Equal([["over 99.9 %", "100 %", "50"]], Rows(Sections.Calibration(Scored((50, 0.9999, 50)), "run0")));
        string few = Sections.Calibration(Scored((9, 0.9999, 9), (3, 0.6, 0)), "run0");
        Assert.Contains("Too few digits to say", few, StringComparison.Ordinal);
        Assert.DoesNotContain("<svg", few, StringComparison.Ordinal);
    }

    [Fact]
    public void Calibration_is_exact_where_a_network_is_always_sure_and_half_right()
    {
        ScoredDigits scored = Scored((40, 1 - 1e-12, 20));
        CalibrationBin bin = Assert.Single(scored.Calibration());
        Assert.Equal((40, 0.5), (bin.Count, bin.Right));
        Assert.Equal(0.5, scored.CalibrationError(), 1e-6);
        Assert.Equal(20, scored.Wrong().Count());
        Assert.All(scored.Wrong(), digit => Assert.Equal((4, 3), (digit.Label, digit.Read)));
    }

    [Fact]
    public void Digits_of_which_it_is_as_good_as_sure_are_not_shown_as_unsure()
    {
        Assert.Equal(3, Scored((3, 0.9949, 3), (50, 0.9951, 50)).LeastSure().Count());
        string section = Sections.Wrong(Scored((3, 0.9949, 3), (50, 0.9951, 50)));
        Assert.Equal(3, Regex.Count(section, "<img"));
        Assert.Equal(3, Regex.Count(section, "<small>99 %</small>"));
        Assert.Contains("None: it was at least 99.5 % sure of every digit that it read right.", Sections.Wrong(Scored((50, 0.9951, 50))),
            StringComparison.Ordinal);
    }

    [Fact]
    public void No_network_is_said_to_be_sure_of_all_of_it()
    {
        string section = Sections.Wrong(Scored((1, 1, 0), (1, 0.9996, 0), (1, 0.998, 0), (1, 0.9, 0)));
        Assert.Equal(["over 99.9 %", "over 99.9 %", "99.8 %", "90 %"],
            Regex.Matches(section, "<small>(.*?)</small>").Select(match => match.Groups[1].Value));
    }

    [Fact]
    public void A_digit_that_several_networks_read_wrong_is_shown_once_before_the_others()
    {
        int[] fours = [.. Enumerable.Range(0, Digits.Count).Where(row => Digits.Labels[row] == 4).Take(2)];
        ScoredDigits once = ScoredDigits.Of(Logits(0.99, 2), Digits, fours),
        again = ScoredDigits.Of(Logits(0.6, 1), Digits, fours.AsSpan(1));
        string section = Sections.Wrong(ScoredDigits.Pool([once, again]));
        Assert.Equal([$"row {fours[1]}: label 4, read as 3", $"row {fours[0]}: label 4, read as 3"],
            Regex.Matches(section, "alt=\"(.*?)\"").Select(match => match.Groups[1].Value));
        Assert.Contains("→ <b>3</b> ×2", section, StringComparison.Ordinal);
    }

    /// <summary>Trial 0 has the network's own rates of dropout, which are no one number, and is left out for this option alone.</summary>
    [Fact]
    public void The_option_that_the_error_follows_is_named_first()
    {
        Trial[] trials = [.. Enumerable.Range(0, 30).Select(number =>
        {
            TrainingOptions options = TrialSpace.Draw(TrainingOptions.For("improved") with { Epochs = 1 }, number);
            EpochRecord epoch = new(1, 1, 0.5, 1, 1 - (options.Dropout ?? 0.9), 0.001, 1, 1);
            return new Trial(number, options, new FinishedRun(new RunFolder("none"), options, [epoch], null!));
        })];
        string[][] rows = [.. Rows(TunePage.Weight(trials))];
        Assert.Equal(["dropout", "+1.00", "no"], rows[0]);
        Assert.Equal(6, rows.Length);
        Assert.Contains(rows, row => row[2] == "yes");
        Assert.Empty(TunePage.Weight(trials[..9])); // too few to say
    }

    /// <summary>The colours themselves; that pages use them so is seen in a browser, by <see cref="ReportPageTests"/>.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Every_shade_of_the_confusion_matrix_can_be_read(int scheme)
    {
        Dictionary<string, double[]> colors =
            Regex.Matches(Html.Resource("colors.css"), @"--([a-z0-9-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)").ToDictionary(
            match => match.Groups[1].Value,
            match => match.Groups[2 + scheme].Value.Chunk(2)
                .Select(two => (double)byte.Parse(two, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray());
        Assert.Contains("color-mix(in srgb, var(--heat) var(--share), var(--ground)); color: var(--ink)", Html.Resource("page.css"),
            StringComparison.Ordinal);
        for (int share = 0; share <= 100; share++)
        {
            double[] shade = [.. colors["heat"].Zip(colors["ground"], (heat, ground) => (share * heat + (100 - share) * ground) / 100)];
            Assert.InRange(Contrast(colors["ink"], shade), 4.5, 21);
        }

        string[] inks = ["ink", "muted", "accent", "wrong", .. Enumerable.Range(0, Chart.SeriesColors).Select(i => $"series-{i}")];
        Assert.All(inks, ink => Assert.InRange(Contrast(colors[ink], colors["ground"]), 4.5, 21));
        Assert.All(new[] { "ink", "muted" }, ink => Assert.InRange(Contrast(colors[ink], colors["card"]), 4.5, 21));
    }

    /// <summary>By WCAG 2.</summary>
    private static double Contrast(double[] a, double[] b)
    {
        (double p, double q) = (Luminance(a), Luminance(b));
        return (Math.Max(p, q) + 0.05) / (Math.Min(p, q) + 0.05);

        static double Luminance(double[] color) =>
            color.Select(channel => channel / 255)
            .Select(channel => channel <= 0.04045 ? channel / 12.92 : Math.Pow((channel + 0.055) / 1.055, 2.4))
            .Zip([0.2126, 0.7152, 0.0722], (channel, weight) => channel * weight).Sum();
    }

    /// <summary>
    /// Digits of which a network said 3, by how many there are, how sure it was, and how many of them are threes; the others are fours.
    /// </summary>
    private static ScoredDigits Scored(params (int Count, double Sure, int Right)[] parts)
    {
        Queue<int> threes = Rows(3), fours = Rows(4);
        int[] rows = [.. parts.SelectMany(part =>
            Enumerable.Range(0, part.Count).Select(i => i < part.Right ? Next(threes) : Next(fours)))];
        return ScoredDigits.Of([.. parts.SelectMany(part => Logits(part.Sure, part.Count))], Digits, rows);

        static Queue<int> Rows(int label) => new(Enumerable.Range(0, Digits.Count).Where(row => Digits.Labels[row] == label));

        static int Next(Queue<int> rows)
        {
            int row = rows.Dequeue();
            rows.Enqueue(row);
            return row;
        }
    }

    private static float[] Logits(double sure, int count) =>
        [.. Enumerable.Range(0, 10 * count)
        .Select(i => i % 10 == 3 ? (float)Math.Log(sure) : (float)Math.Log(Math.Max((1 - sure) / 9, 1e-30)))];

    private static IEnumerable<string> Texts(string svg) =>
        XElement.Parse(svg).Descendants().Where(element => element.Name.LocalName == "text").Select(element => element.Value.Trim());

    private static IEnumerable<(double X, double Y, double Radius)> Dots(string html) =>
        Regex.Matches(html, "<ellipse cx=\"([\\d.]+)\" cy=\"([\\d.]+)\" rx=\"([\\d.]+)\"")
        .Select(match => (Number(match, 1), Number(match, 2), Number(match, 3)));

    private static double Number(Match match, int group) => double.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);

    private static IEnumerable<string[]> Rows(string html) =>
        Regex.Matches(html[html.IndexOf("<tbody>", StringComparison.Ordinal)..], "<tr>(.*?)</tr>")
        .Select(row => Regex.Matches(row.Groups[1].Value, "<t[hd].*?>(.*?)</t[hd]>")
            .Select(cell => System.Net.WebUtility.HtmlDecode(cell.Groups[1].Value)).ToArray());
}
