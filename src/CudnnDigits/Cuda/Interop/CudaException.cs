using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda;

/// <summary>There is no CUDA device to work with; the message says in one line what is missing and what to do.</summary>
internal sealed class CudaUnavailableException(string message) : Exception(message);

/// <summary>
/// A call of the CUDA driver, cuBLAS or cuDNN failed. The device is in an unknown state; dispose of the classifiers that run on it.
/// </summary>
public sealed class CudaException : Exception
{
    private const ulong MostBytes = 1UL << 48;

    private CudaException(string message)
        : base(message)
    {
    }

    internal bool IsOutOfMemory { get; private init; }

    internal static unsafe void Check(CuResult status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CuResult.Success)
        {
            CudaDriver.cuGetErrorName(status, out byte* name);
            CudaDriver.cuGetErrorString(status, out byte* text);
            throw Failed(call, Text(name) ?? $"CUresult {(int)status}", Text(text));
        }
    }

    internal static unsafe void Check(CublasStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CublasStatus.Success)
        {
            throw Failed(call, Text(Cublas.cublasGetStatusName(status)) ?? $"{status}", Text(Cublas.cublasGetStatusString(status)));
        }
    }

    internal static unsafe void Check(CudnnStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CudnnStatus.Success)
        {
            byte* text = stackalloc byte[512];
            text[0] = 0;
            Cudnn.cudnnGetLastErrorString(text, 512);
            string? last = Text(text);
            throw Failed(call, Text(Cudnn.cudnnGetErrorString(status)) ?? $"{status}", last is "" ? "no further message" : last);
        }
    }

    /// <summary>What a call that succeeded was to give: a handle or an address.</summary>
    internal static nint Given(nint value, [CallerArgumentExpression(nameof(value))] string what = "") =>
        value != 0 ? value : throw Nonsense($"a call succeeded that was to give a {what}, and gave none");

    /// <summary>Bytes that something takes, as a library says.</summary>
    internal static long Size(nuint bytes, string what) =>
        bytes <= MostBytes ? (long)bytes : throw Nonsense($"cuDNN says that {what} takes {bytes} bytes");

    /// <summary>What a driver or library says cannot be.</summary>
    internal static CudaException Nonsense(string said) => new($"{said}; install the NVIDIA driver, cuBLAS and cuDNN anew");

    private static CudaException Failed(string call, string status, string? text)
    {
        string name = call.Split('(')[0].Split('.')[^1]; // without its arguments: those are addresses and descriptors
        string said = (text ?? "unknown").ReplaceLineEndings(" ").Trim().TrimEnd('.');
        bool outOfMemory = status.Contains("OUT_OF_MEMORY", StringComparison.Ordinal) || status.Contains("ALLOC", StringComparison.Ordinal);
        string advice = outOfMemory ? "; close other programs on the GPU, or use another device" : "";
        return new CudaException($"{name} failed: {status} ({said}){advice}") { IsOutOfMemory = outOfMemory };
    }

    private static unsafe string? Text(byte* text) => Marshal.PtrToStringUTF8((nint)text);
}
