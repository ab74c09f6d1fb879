namespace CudnnDigits.Tests.Cli.Terminal;

/// <summary>
/// What a terminal shows of the few sequences that the program uses. When its width changes, lines that it has broken are put
/// together and broken anew, as most terminals do it, or what is too long is cut off, as xterm does it.
/// </summary>
internal sealed class FakeTerminal(int width, bool reflows) : TextWriter
{
    private readonly List<(StringBuilder Text, bool GoesOn)> _rows = [(new StringBuilder(), false)];
    private int _row, _column;
    private string? _sequence;

    public int Width { get; private set; } = width;

    /// <summary>Sequences that were met, for tests of colours.</summary>
    public List<string> Sequences { get; } = [];

    public override Encoding Encoding => Encoding.UTF8;

    /// <summary>What stands on the screen and above it, without blank lines.</summary>
    public string[] Lines => [.. _rows.Select(row => row.Text.ToString().TrimEnd()).Where(row => row.Length > 0)];

    public override void Write(char value)
    {
        if (_sequence is not null)
        {
            _sequence += value;
            if (char.IsLetter(value))
            {
                Obey(_sequence);
                _sequence = null;
            }

            return;
        }

        switch (value)
        {
            case '\u001b':
                _sequence = "";
                break;
            case '\r':
                _column = 0;
                break;
            case '\n':
                (_row, _column) = (_row + 1, 0);
                Grow();
                break;
            default:
                if (_column == Width)
                {
                    _rows[_row] = (_rows[_row].Text, true);
                    (_row, _column) = (_row + 1, 0);
                    Grow();
                }

                StringBuilder text = _rows[_row].Text;
                text.Append(' ', Math.Max(0, _column + 1 - text.Length));
                text[_column++] = value;
                break;
        }
    }

    public void Resize(int width)
    {
        if (!reflows)
        {
            foreach ((StringBuilder text, _) in _rows)
            {
                text.Length = Math.Min(text.Length, width);
            }

            (Width, _column) = (width, Math.Min(_column, width - 1));
            return;
        }

        List<(StringBuilder Text, bool GoesOn)> rows = [];
        (int cursorRow, int cursorColumn) = (0, 0);
        for (int i = 0; i < _rows.Count;)
        {
            StringBuilder line = new();
            int? cursor = null;
            for (bool goesOn = true; goesOn; i++)
            {
                cursor = i == _row ? line.Length + _column : cursor;
                goesOn = _rows[i].GoesOn;
                line.Append(_rows[i].Text);
            }

            if (cursor is { } at)
            {
                int rowsDown = at > 0 && at % width == 0 ? at / width - 1 : at / width;
                (cursorRow, cursorColumn) = (rows.Count + rowsDown, at - rowsDown * width);
            }

            for (int from = 0; from == 0 || from < line.Length; from += width)
            {
                int length = Math.Min(width, line.Length - from);
                rows.Add((new StringBuilder(line.ToString(from, length)), from + length < line.Length));
            }
        }

        _rows.Clear();
        _rows.AddRange(rows);
        (Width, _row, _column) = (width, cursorRow, cursorColumn);
        Grow();
    }

    private void Obey(string sequence)
    {
        Sequences.Add(sequence);
        int number = int.TryParse(sequence[1..^1], out int given) ? given : 1;
        switch (sequence[^1])
        {
            case 'A':
                _row = Math.Max(0, _row - number);
                break;
            case 'K':
                StringBuilder text = _rows[_row].Text;
                text.Length = Math.Min(text.Length, _column);
                _rows[_row] = (text, false);
                break;
            case 'm':
                break;
            default:
                throw new InvalidOperationException($"unknown sequence {sequence}");
        }
    }

    private void Grow()
    {
        while (_rows.Count <= _row)
        {
            _rows.Add((new StringBuilder(), false));
        }
    }
}
