namespace CudnnDigits.Cli.Terminal;

/// <summary>A table of the finished epochs. If it does not fit the terminal, it has shorter headers, and then fewer columns.</summary>
internal sealed class EpochTable(int epochs, double highestRate, bool validates)
{
    private const string Gap = "  ", Best = "best";
    private const int HighestRank = 6;

    /// <summary>The columns in their order. Those with the highest rank are left out first.</summary>
    private readonly (string Long, string Short, int Rank, Func<EpochRecord, string> Cell)[] _all =
    [
        ("epoch", "epoch", 0, e => $"{e.Epoch}/{epochs}"),
        ("train loss", "train loss", validates ? 3 : 2, e => Figures.Loss(e.TrainLoss)),
        ("train accuracy", "train acc", validates ? 4 : 1, e => $"{e.TrainAccuracy:P2}"),
        ("validation loss", "val loss", 2, e => e.ValidationLoss is { } loss ? Figures.Loss(loss) : ""),
        ("validation accuracy", "val acc", 1, e => $"{e.ValidationAccuracy:P2}"),
        ("learning rate", "lr", 5, e => Figures.Rate(e.LearningRate, highestRate)),
        ("images/s", "images/s", HighestRank, e => $"{e.ImagesPerSecond:N0}"),
    ];

    /// <summary>An epoch with the widest possible cells.</summary>
    private readonly EpochRecord _widest = new(
        epochs, TrainLoss: 1e-5, TrainAccuracy: 1, ValidationLoss: validates ? 1e-5 : null, ValidationAccuracy: validates ? 1 : null,
        highestRate / 1e12, Seconds: 1, ImagesPerSecond: 9_999_999);

    private string? _header;

    /// <summary>Prints an epoch's line; before the first line, and after a change of the terminal's width, also the header.</summary>
    public void Print(EpochRecord epoch, bool isBest, Screen screen)
    {
        int room = screen.Width - (validates ? Gap.Length + Best.Length : 0);
        (string header, string line) = Layout(epoch, isShort: false, HighestRank);
        for (int rank = HighestRank; header.Length > room && rank >= 0; rank--)
        {
            (header, line) = Layout(epoch, isShort: true, rank);
        }

        if (header != _header)
        {
            screen.Line(screen.Dim(header));
            _header = header;
        }

        screen.Line(line + (isBest && validates ? Gap + screen.Green(Best) : ""));
    }

    private (string Header, string Line) Layout(EpochRecord epoch, bool isShort, int lastRank)
    {
        List<string> names = [], cells = [];
        foreach ((string full, string brief, int rank, Func<EpochRecord, string> cell) in _all)
        {
            string name = isShort ? brief : full, widest = cell(_widest);
            if (rank <= lastRank && widest.Length > 0)
            {
                names.Add(name.PadLeft(widest.Length));
                cells.Add(cell(epoch).PadLeft(Math.Max(name.Length, widest.Length)));
            }
        }

        return (string.Join(Gap, names), string.Join(Gap, cells));
    }
}
