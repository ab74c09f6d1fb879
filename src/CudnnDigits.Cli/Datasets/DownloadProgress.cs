using System.Diagnostics;
using System.Globalization;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Tells on standard error how a download goes: a line per file, and in a terminal a line that moves.</summary>
internal sealed class DownloadProgress(bool quiet, long totalBytes)
{
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly bool _live = !quiet && !Console.IsErrorRedirected;
    private readonly Dictionary<string, long> _last = [];
    private long _bytesBefore, _received;
    private TimeSpan _shown;

    public void Report(RemoteFile file, long bytes)
    {
        _received += Math.Max(0, bytes - _last.GetValueOrDefault(file.Name, bytes)); // what an earlier attempt had left says nothing of the pace
        _last[file.Name] = bytes;
        if (_live && _clock.Elapsed - _shown > TimeSpan.FromMilliseconds(100))
        {
            _shown = _clock.Elapsed;
            double left = _received == 0 ? 0 : _clock.Elapsed.TotalSeconds / _received * (totalBytes - _bytesBefore - bytes);
            Console.Error.Write(string.Create(
                CultureInfo.InvariantCulture, $"\r{file.Name}  {bytes / 1e6:F1} of {file.Bytes / 1e6:F1} MB  {TimeSpan.FromSeconds(left):h\\:mm\\:ss} left   "));
        }
    }

    public void Done(RemoteFile file, bool fetched)
    {
        _bytesBefore += file.Bytes;
        if (!quiet)
        {
            Console.Error.WriteLine($"{(_live ? "\r" : "")}{file.Name}  {(fetched ? "downloaded, checksum right" : "is here already, checksum right")}                ".TrimEnd());
        }
    }
}
