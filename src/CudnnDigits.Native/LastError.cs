using CudnnDigits.Cuda;
using CudnnDigits.Training;

namespace CudnnDigits.Native;

/// <summary>The message of a thread's last failed call. C may read it until another call of the thread fails, or the thread ends.</summary>
internal sealed unsafe class LastError
{
    private static readonly string[] Settings = ["device", "precision", "batch-size", "threads"];

    [ThreadStatic]
    private static LastError? _ofThread;

    private byte* _text = (byte*)Marshal.StringToCoTaskMemUTF8("");

    ~LastError() => Marshal.FreeCoTaskMem((nint)_text);

    /// <summary>UTF-8, never null.</summary>
    public static byte* Text => OfThread._text;

    private static LastError OfThread => _ofThread ??= new LastError();

    /// <summary>Runs a function of the C interface and returns its status. If it throws, the message is kept.</summary>
    public static int StatusOf(Action function)
    {
        try
        {
            function();
            return (int)Status.Ok;
        }
        catch (Exception e)
        {
            return Set(e);
        }
    }

    /// <summary>Keeps the message of an error and returns its status.</summary>
    public static int Set(Exception e)
    {
        (Status status, string message) = e switch
        {
            ArgumentException { ParamName: { } name } => // the name of a C# parameter says nothing to C
                (Status.InvalidArgument, e.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal)),
            ArgumentException or ObjectDisposedException or InvalidOperationException => (Status.InvalidArgument, e.Message),
            InputException or CudaUnavailableException => (Status.BadInput, e.Message),
            OperationCanceledException => (Status.Cancelled, "cancelled by the progress callback"),
            OutOfMemoryException => (Status.Failed, "out of memory; choose a smaller batch"),
            _ => (Status.Failed, e.Message),
        };
        byte* text = (byte*)Marshal.StringToCoTaskMemUTF8(InFields(message.ReplaceLineEndings(" ")));
        Marshal.FreeCoTaskMem((nint)OfThread._text);
        OfThread._text = text;
        return (int)status;
    }

    /// <summary>Turns options and C# properties into fields of C: "--batch-size" and "BatchSize is" into "batch_size (is)".</summary>
    private static string InFields(string message)
    {
        TrainingField? field = TrainingField.All.FirstOrDefault(field => message.StartsWith($"{field.Name} is ", StringComparison.Ordinal));
        return Settings.Aggregate(
            $" {(field is null ? message : field.JsonName + message[field.Name.Length..])}",
            (text, name) => text.Replace($" --{name}", $" {name.Replace('-', '_')}", StringComparison.Ordinal))[1..];
    }
}
