using CudnnDigits.Cli.Studies;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

/// <summary>The file that a command writes: a path, or - for standard output.</summary>
internal sealed class OutputFile
{
    public const string StandardOutput = "-";

    private const int NoSuchDevice = 6, BrokenPipe = 32; // ENXIO, EPIPE
    private const int WindowsBrokenPipe = unchecked((int)0x8007006D), WindowsPipeClosing = unchecked((int)0x800700E8);

    private readonly string _option, _path;
    private readonly bool _json;

    /// <summary>Checks the path, which an option gives, before anything is computed: no file that is needed may be replaced.</summary>
    public OutputFile(string option, string path, bool json, IEnumerable<string> inputs)
    {
        (_option, _path, _json) = (option, path, json);
        IsStandardOutput = path == StandardOutput || Place(inputs).Descriptor == 1;
        if (IsStandardOutput && json)
        {
            throw new InputException($"{option} {path} and --json both take standard output; choose one");
        }
    }

    /// <summary>Whether it is standard output, also under a name such as /dev/stdout. Then messages go to standard error.</summary>
    public bool IsStandardOutput { get; }

    /// <summary>Columns for what <see cref="Tell"/> prints.</summary>
    public int Width => IsStandardOutput ? Screen.ErrorWidth : Screen.OutputWidth;

    /// <summary>Whether a path is standard output, a device or a FIFO: something that takes a stream of bytes.</summary>
    public static bool IsStream(string path) => path == StandardOutput || (File.Exists(path) && !OutputPlace.Of(path).IsFile);

    public override string ToString() => IsStandardOutput ? "standard output" : _path;

    /// <summary>Writes the file; a regular file whole or not at all.</summary>
    public void Write(Action<Stream> write)
    {
        try
        {
            if (IsStandardOutput)
            {
                using BufferedStream stream = new(StandardStreams.OpenOutput(), 1 << 16);
                write(stream);
            }
            else
            {
                AtomicFile.Write(_path, write);
            }
        }
        catch (IOException e) when (e.HResult is BrokenPipe or WindowsBrokenPipe or WindowsPipeClosing)
        {
            // The reader has closed the pipe; it needs no more.
        }
        catch (Exception e) when (
            e is DirectoryNotFoundException or UnauthorizedAccessException or PathTooLongException or IOException { HResult: NoSuchDevice })
        {
            throw CannotBeWritten(e);
        }
    }

    public void WriteText(Action<TextWriter> write) => Write(stream =>
    {
        using StreamWriter writer = new(stream, leaveOpen: true);
        write(writer);
    });

    /// <summary>Prints what the command has done, beside the file: with --json as JSON, else as a text.</summary>
    public void Tell<T>(T result, string text)
    {
        text = CliJson.Format(_json, result, Screen.Fit(text, Width));
        if (IsStandardOutput)
        {
            Console.Error.WriteLine(text);
        }
        else
        {
            StandardStreams.Tell(isResult: _json, text);
        }
    }

    private OutputPlace Place(IEnumerable<string> inputs)
    {
        try
        {
            OutputPlace place = OutputPlace.Of(_path);
            string name = Path.GetFileName(place.Path);
            string? input = inputs.FirstOrDefault(input => OutputPlace.IsSame(input, place.Path)), run = RunFolder.RunOf(place.Path);
            return place.Descriptor is { } descriptor && !Posix.IsInherited(descriptor)
                    ? throw new InputException(
                        $"{_path}: the program was started without descriptor {descriptor}; redirect it to something")
                : input is not null ? throw IsNeeded($"is {(input == _path ? "a file" : $"{input},")} that this command reads")
                : Study.Of(place.Path) is { } study ? throw IsNeeded($"is a file that the study {study} needs")
                : run is not null && name != Path.GetFileName(new RunFolder(run).ReportFile)
                    ? throw IsNeeded($"is a file that the run {run} needs")
                : place;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotBeWritten(e);
        }
    }

    private InputException IsNeeded(string why) => new($"{_path}: {why}; choose another {_option}");

    private InputException CannotBeWritten(Exception e) => new($"{_path}: cannot be written: {e.Message}; choose another {_option}", e);
}
