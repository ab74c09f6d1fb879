using Microsoft.Win32.SafeHandles;

namespace CudnnDigits.Cli;

/// <summary>Standard output and standard error. The program fails if it cannot write to the former, but not the latter.</summary>
internal static class StandardStreams
{
    private const int Descriptors = 3, TerminalIsGone = 5; // standard input, output and error; EIO
    private static readonly List<SafeFileHandle> Stoppers = [];

    /// <summary>Whether the program was started with standard output closed, as by the shell's ">&amp;-".</summary>
    public static bool OutputIsClosed { get; private set; }

    public static Stream OpenOutput() => new Checked(OutputIsClosed ? null : Console.OpenStandardOutput(), mustArrive: true);

    /// <summary>Must run before any file is opened: it would get the descriptor of a closed stream, and that stream's output.</summary>
    public static void Prepare()
    {
        bool errorIsClosed = false;
        if (!OperatingSystem.IsWindows())
        {
            (OutputIsClosed, errorIsClosed) = (!Posix.IsInherited(1), !Posix.IsInherited(2));
            while (!Enumerable.Range(0, Descriptors).All(Posix.IsOpen))
            {
                Stoppers.Add(File.OpenHandle("/dev/null", share: FileShare.ReadWrite)); // gets the lowest free number
            }
        }

        Encoding encoding = Console.OutputEncoding is { Preamble.IsEmpty: true } own ? own : new UTF8Encoding(false); // no byte order mark
        Stream error = new Checked(errorIsClosed ? null : Console.OpenStandardError(), mustArrive: false);
        Console.SetOut(new StreamWriter(OpenOutput(), encoding) { AutoFlush = true });
        Console.SetError(new StreamWriter(error, encoding) { AutoFlush = true });
    }

    /// <summary>Prints a result, which must arrive, or a summary, which need not if standard output is closed.</summary>
    public static void Tell(bool isResult, string text)
    {
        try
        {
            (isResult || !OutputIsClosed ? Console.Out : TextWriter.Null).WriteLine(text);
        }
        catch (RunFailedException e) when (!isResult && e.InnerException is IOException { HResult: TerminalIsGone })
        {
        }
    }

    private sealed class Checked(Stream? stream, bool mustArrive) : WriteOnlyStream
    {
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (stream is null && mustArrive)
            {
                throw new RunFailedException("standard output is closed, and the result goes there");
            }

            try
            {
                stream?.Write(buffer);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                if (mustArrive)
                {
                    throw new RunFailedException($"standard output could not be written: {e.Message}", e);
                }
            }
        }
    }
}
