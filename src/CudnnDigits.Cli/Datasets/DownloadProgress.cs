using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Shows the progress of a download on standard error: a line per file, and in a terminal a line that is updated.</summary>
internal sealed class DownloadProgress(bool quiet, long totalBytes) : IDisposable
{
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly Screen? _screen = quiet ? null : Screen.OfStandardError();
    private readonly Dictionary<string, long> _last = [];
    private long _bytesBefore, _received;
    private TimeSpan _shown;

    public void Report(RemoteFile file, long bytes)
    {
        _received += Math.Max(0, bytes - _last.GetValueOrDefault(file.Name, bytes)); // without bytes from an earlier run
        _last[file.Name] = bytes;
        if (_screen is { } screen && _clock.Elapsed - _shown > TimeSpan.FromMilliseconds(100))
        {
            _shown = _clock.Elapsed;
            long done = _bytesBefore + bytes;
            string left = _received == 0 ? "" : Figures.Left(_shown * ((double)(totalBytes - done) / _received)) + " left";
            string size = $"{bytes / 1e6:F1} of {file.Bytes / 1e6:F1} MB";
            screen.Move(ProgressLine.Format((double)done / totalBytes, [(2, file.Name), (0, size), (1, left)], screen.MovingWidth));
        }
    }

    public void Done(RemoteFile file, bool fetched)
    {
        _bytesBefore += file.Bytes;
        string line = $"{file.Name}  {(fetched ? "downloaded, checksum right" : "is here already, checksum right")}";
        _screen?.Line(Screen.Cut(line, _screen.Width));
        if (_screen is null && !quiet)
        {
            Console.Error.WriteLine(line);
        }
    }

    public void Dispose() => _screen?.Clear();
}
