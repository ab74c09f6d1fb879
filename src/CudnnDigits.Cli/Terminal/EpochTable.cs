using CudnnDigits.Training;

namespace CudnnDigits.Cli.Terminal;

/// <summary>A table of the finished epochs. If it does not fit the terminal, it has shorter headers, and then fewer columns.</summary>
/// <param name="highestRate">The highest learning rate of the run, which determines the decimals.</param>
/// <param name="validates">Whether digits are held out.</param>
internal sealed class EpochTable(int epochs, double highestRate, bool validates)
{
    private const string Gap = "  ", Best = "best";

    /// <summary>The columns in their order. Those with the highest rank are left out first.</summary>
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
        ("images/s", "images/s", 6, e => $"{e.ImagesPerSecond:N0}"),
    ];

    private string? _header;

    /// <summary>Prints an epoch's line; before the first line, and after a change of the terminal's width, also the header.</summary>
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

    /// <summary>The header and the cells of the widest layout that fits, or of the narrowest one.</summary>
    public (string Header, string[] Cells) Fit(EpochRecord epoch, int width)
    {
        int[] ranks = [.. _all.Select(column => column.Rank).OrderDescending()];
        int best = validates ? Gap.Length + Best.Length : 0;
        (string Header, string[] Cells) layout = Layout(epoch, isShort: false, ranks[0]);
        for (int i = 0; layout.Header.Length + best > width && i < ranks.Length; i++)
        {
            layout = Layout(epoch, isShort: true, ranks[i]);
        }

        return layout;
    }

    private (string Header, string[] Cells) Layout(EpochRecord epoch, bool isShort, int lastRank)
    {
        List<string> header = [], cells = [];
        foreach ((string full, string brief, _, Func<EpochRecord, string> cell) in _all.Where(column => column.Rank <= lastRank))
        {
            string name = isShort ? brief : full;
            int width = Math.Max(name.Length, cell(Widest).Length);
            header.Add(name.PadLeft(width));
            cells.Add(cell(epoch).PadLeft(width));
        }

        return (string.Join(Gap, header), [.. cells]);
    }

    /// <summary>An epoch with the widest possible cells.</summary>
    private EpochRecord Widest => new(
        epochs, TrainLoss: 1e-5, TrainAccuracy: 1, ValidationLoss: 1e-5, ValidationAccuracy: 1, highestRate / 1e12, Seconds: 1,
        ImagesPerSecond: 9_999_999);

    public static string Percent(double share) => $"{share:P2}";
}
