using CudnnDigits.Cli.Studies;
using CudnnDigits.Files;
using CudnnDigits.Runs;

namespace CudnnDigits.Cli;

/// <summary>The file that a command writes: a path, or - for standard output.</summary>
internal sealed class OutputFile
{
    public const string StandardOutput = "-";

    private const int NoSuchDevice = 6, BrokenPipe = 32; // ENXIO, EPIPE
    private const int WindowsBrokenPipe = unchecked((int)0x8007006D), WindowsPipeClosing = unchecked((int)0x800700E8);

    private readonly string _option, _path;
    private readonly bool _json;

    /// <summary>Checks the path before anything is computed.</summary>
    /// <param name="option">The option that names the file, for messages.</param>
    /// <param name="inputs">Files that the command reads.</param>
    /// <exception cref="InputException">
    /// It is a folder, one of the inputs, a file that a run or a study needs, in a folder that does not exist, or standard output together
    /// with --json.
    /// </exception>
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

    /// <summary>Whether a path is standard output, a device or a FIFO: something that takes a stream of bytes.</summary>
    public static bool IsStream(string path) => path == StandardOutput || (File.Exists(path) && !OutputPlace.Of(path).IsFile);

    public override string ToString() => IsStandardOutput ? "standard output" : _path;

    /// <summary>Writes the file; a regular file whole or not at all.</summary>
    /// <exception cref="InputException">This path cannot be written.</exception>
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

    /// <summary>Writes the file as text, in UTF-8; see <see cref="Write"/>.</summary>
    public void WriteText(Action<TextWriter> write) => Write(stream =>
    {
        using StreamWriter writer = new(stream, leaveOpen: true);
        write(writer);
    });

    /// <summary>Prints the command's message: with --json a JSON object, which is the result, else a summary.</summary>
    public void Tell(string text)
    {
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
            if (place.Descriptor is { } descriptor && !Posix.IsInherited(descriptor))
            {
                throw new InputException($"{_path}: the program was started without descriptor {descriptor}; redirect it to something");
            }

            if (inputs.FirstOrDefault(input => OutputPlace.IsSame(input, place.Path)) is { } input)
            {
                string what = input == _path ? "a file" : $"{input},";
                throw new InputException($"{_path}: is {what} that this command reads; choose another {_option}");
            }

            if (Path.GetFileName(place.Path) == Study.RecordName && File.Exists(place.Path))
            {
                throw new InputException($"{_path}: is the file that its study needs to continue; choose another {_option}");
            }

            return RunFolder.RunOf(place.Path) is { } run && Path.GetFileName(place.Path) != Path.GetFileName(new RunFolder(run).ReportFile)
                ? throw new InputException($"{_path}: is a file that the run {run} needs; choose another {_option}")
                : place;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotBeWritten(e);
        }
    }

    private InputException CannotBeWritten(Exception e) => new($"{_path}: cannot be written: {e.Message}; choose another {_option}", e);
}
