using CudnnDigits.Training;

namespace CudnnDigits.Cli.Terminal;

/// <summary>Finished epochs as a table that fits the terminal: short headers where long ones do not, and then fewer columns.</summary>
/// <param name="epochs">Epochs of the run.</param>
/// <param name="highestRate">The highest learning rate of the run, which settles its decimals.</param>
/// <param name="validates">Whether digits are held out.</param>
internal sealed class EpochTable(int epochs, double highestRate, bool validates)
{
    private const string Gap = "  ", Best = "best";

    /// <summary>In the order in which they stand; the number says in which they are left out, the last one first.</summary>
    private readonly (string Long, string Short, int Rank, Func<EpochRecord, string> Cell)[] _all =
    [
        ("epoch", "epoch", 0, e => $"{e.Epoch}/{epochs}"),
        ("train loss", "train loss", validates ? 3 : 2, e => Figures.Loss(e.TrainLoss)),
        ("train accuracy", "train acc", validates ? 4 : 1, e => Percent(e.TrainAccuracy)),
        .. validates
            ? new (string, string, int, Func<EpochRecord, string>)[]
            {
                ("validation loss", "val loss", 2, e => Figures.Loss(e.ValidationLoss ?? double.NaN)),
                ("validation accuracy", "val acc", 1, e => Percent(e.ValidationAccuracy ?? double.NaN)),
            }
            : [],
        ("learning rate", "lr", 5, e => Figures.Rate(e.LearningRate, highestRate)),
        ("images/s", "images/s", 6, e => e.ImagesPerSecond.ToString("N0", CultureInfo.InvariantCulture)),
    ];

    private string? _header;

    /// <summary>
    /// An epoch's line, and the header before it where there is none yet, or where another width has made it another one.
    /// </summary>
    /// <param name="epoch">The epoch.</param>
    /// <param name="isBest">Whether it is the best so far.</param>
    /// <param name="screen">The terminal.</param>
    public void Print(EpochRecord epoch, bool isBest, Screen screen)
    {
        (string header, string[] cells) = Fit(epoch, screen.Width);
        if (header != _header)
        {
            screen.Line(screen.Dim(header));
            _header = header;
        }

        screen.Line(string.Join(Gap, cells) + (isBest && validates ? Gap + screen.Green(Best) : ""));
    }

    /// <summary>The header, and the cells as wide as theirs, that fit.</summary>
    public (string Header, string[] Cells) Fit(EpochRecord epoch, int width)
    {
        int[] ranks = [.. _all.Select(column => column.Rank).Order()];
        IEnumerable<(bool IsShort, int Count)> layouts = Enumerable.Range(1, _all.Length).Reverse().Select(count => (true, count)).Prepend((false, _all.Length));
        return layouts.Select(layout => Layout(epoch, layout.IsShort, ranks[layout.Count - 1]))
            .Where((layout, i) => layout.Header.Length + (validates ? Gap.Length + Best.Length : 0) <= width || i == _all.Length).First();
    }

    private (string Header, string[] Cells) Layout(EpochRecord epoch, bool isShort, int lastRank)
    {
        var columns = _all.Where(column => column.Rank <= lastRank).Select(column => (Name: isShort ? column.Short : column.Long, column.Cell, column.Rank))
            .Select(column => (column.Name, Cell: column.Cell(epoch), Width: Math.Max(column.Name.Length, column.Cell(column.Rank == 0 ? Last : Widest).Length))).ToArray();
        return (string.Join(Gap, columns.Select(column => column.Name.PadLeft(column.Width))), [.. columns.Select(column => column.Cell.PadLeft(column.Width))]);
    }

    /// <summary>Epochs whose cells are as wide as any.</summary>
    private EpochRecord Last => Widest with { Epoch = epochs };

    private EpochRecord Widest => new(1, TrainLoss: 1e-5, TrainAccuracy: 1, ValidationLoss: 1e-5, ValidationAccuracy: 1, highestRate / 1e12, Seconds: 1, ImagesPerSecond: 9_999_999);

    /// <summary>A share, in whole hundredths of a percent.</summary>
    public static string Percent(double share) => share.ToString("P2", CultureInfo.InvariantCulture);
}
