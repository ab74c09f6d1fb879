using CudnnDigits.Training;

namespace CudnnDigits.Native;

/// <summary>Return values; include/cudnn_digits.h describes them.</summary>
internal enum Status { Ok, InvalidArgument, BadInput, Failed, Cancelled }

/// <summary>cudnn_digits_classifier_options.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ClassifierStructure
{
    public nuint StructSize;
    public byte* Device;
    public nint CudaContext;
    public int BatchSize, Precision, Threads, Reserved;
}

/// <summary>cudnn_digits_progress.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ProgressStructure
{
    public int Epoch, Epochs, Step, StepsPerEpoch;
    public double Loss, Accuracy, ValidationAccuracy;
}

/// <summary>The doubles of cudnn_digits_training_options: one for each field that is a real number with an option.</summary>
[InlineArray(13)]
internal struct TrainingNumbers
{
    private double _first;

    /// <summary>The fields, in the order of the numbers, as in the header.</summary>
    public static TrainingField[] Fields { get; } = [.. TrainingField.All.Where(field => field.IsReal && field.Option is not null)];
}

/// <summary>cudnn_digits_training_options.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TrainingStructure
{
    public nuint StructSize;
    public byte* Device;
    public nint CudaContext;
    public byte* Model;
    public int Epochs, BatchSize, Precision, Threads, Deterministic;
    public ulong Seed;
    public TrainingNumbers Numbers;
    public delegate* unmanaged[Cdecl]<ProgressStructure*, void*, int> Callback;
    public void* User;
}

/// <summary>cudnn_digits_metrics.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MetricsStructure
{
    public double Accuracy, Loss;
    public long Samples, Epoch;
}

/// <summary>Checks of a caller's arguments.</summary>
internal static unsafe class Arguments
{
    /// <summary>A name in UTF-8.</summary>
    public static string Text(byte* text, string ifNull) => text == null ? ifNull : Marshal.PtrToStringUTF8((nint)text)!;

    public static void NotNull(void* pointer, [CallerArgumentExpression(nameof(pointer))] string name = "")
    {
        if (pointer == null)
        {
            throw new ArgumentException($"{name} is null");
        }
    }

    /// <summary>Refuses a structure that was compiled against another version's header: its size differs.</summary>
    public static void Size(nuint structSize, int expected, string name)
    {
        if (structSize != (nuint)expected)
        {
            throw new ArgumentException(
                $"{name} has struct_size {structSize}, expected {expected}: call {name}_init first; use the header of this version");
        }
    }

    /// <summary>One of the choices, by its index.</summary>
    public static T Choice<T>(int value, T[] choices, string name) => choices[Range(value, 0, choices.Length - 1, name)];

    /// <summary>A number in a range, both ends included.</summary>
    public static long Range(long value, long least, long most, [CallerArgumentExpression(nameof(value))] string name = "") =>
        value >= least && value <= most
            ? value
            : throw new ArgumentException($"{name} is {value}, expected {(least == most ? $"{least}" : $"{least} to {most}")}");
}
