using System.Text.RegularExpressions;
using CudnnDigits.Cuda;
using CudnnDigits.Data;

namespace CudnnDigits.Native;

/// <summary>The message of a thread's last failed call, in memory that C may read until the next one fails; freed after the thread has ended.</summary>
internal sealed unsafe partial class LastError
{
    private static readonly string[] Settings = ["device", "precision", "batch-size", "threads"];

    [ThreadStatic]
    private static LastError? _ofThread;

    private byte* _text;

    private LastError()
    {
    }

    ~LastError() => Marshal.FreeCoTaskMem((nint)_text);

    private static LastError OfThread => _ofThread ??= new LastError();

    /// <summary>UTF-8, never null.</summary>
    public static byte* Text
    {
        get
        {
            LastError error = OfThread;
            return error._text != null ? error._text : error.Keep("");
        }
    }

    /// <summary>Remembers what went wrong; gives the status for it.</summary>
    public static int Set(Exception e)
    {
        (Status status, string message) = e switch
        {
            ArgumentException { ParamName: { } name } => (Status.InvalidArgument, e.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal)), // a name of C#
            ArgumentException or ObjectDisposedException or InvalidOperationException => (Status.InvalidArgument, e.Message),
            InputException or CudaUnavailableException => (Status.BadInput, e.Message),
            OperationCanceledException => (Status.Cancelled, "cancelled by the progress callback"),
            OutOfMemoryException => (Status.Failed, "the memory of this machine ran out; choose a smaller batch"),
            _ => (Status.Failed, e.Message),
        };
        OfThread.Keep(InFields(message.ReplaceLineEndings(" ")));
        return (int)status;
    }

    /// <summary>
    /// The library calls what can be set by the names of the program's options, or of its own properties; here they are fields:
    /// "--batch-size" and "BatchSize is" are batch_size.
    /// </summary>
    private static string InFields(string message) => Settings.Aggregate(
        $" {Property().Replace(message, match => JsonNamingPolicy.SnakeCaseLower.ConvertName(match.Value))}",
        (text, name) => text.Replace($" --{name}", $" {name.Replace('-', '_')}", StringComparison.Ordinal))[1..];

    [GeneratedRegex("^(Epochs|BatchSize|LearningRate|WeightDecay|Validation|Rotate|Shift|Zoom)(?= is )")]
    private static partial Regex Property();

    private byte* Keep(string message)
    {
        Marshal.FreeCoTaskMem((nint)_text);
        _text = (byte*)Marshal.StringToCoTaskMemUTF8(message);
        return _text;
    }
}
