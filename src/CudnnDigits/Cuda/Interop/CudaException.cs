using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda;

/// <summary>There is no CUDA device to work with; the message says in one line what is missing and what to do.</summary>
/// <param name="message">What was looked for, where, and what to do.</param>
internal sealed class CudaUnavailableException(string message) : Exception(message);

/// <summary>
/// A call of the CUDA driver, cuBLAS or cuDNN failed. The device is in an unknown state; dispose of the classifiers that run on
/// it.
/// </summary>
public sealed class CudaException : Exception
{
    private const ulong MostBytes = 1UL << 48;

    private CudaException(string message)
        : base(message)
    {
    }

    private CudaException(string call, string status, string text)
        : base($"{call} failed: {status} ({text.ReplaceLineEndings(" ").Trim().TrimEnd('.')}){(SaysOutOfMemory(status) ? "; close other programs on the GPU, or choose a smaller batch" : "")}") =>
        IsOutOfMemory = SaysOutOfMemory(status);

    internal bool IsOutOfMemory { get; }

    internal static unsafe void Check(CuResult status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CuResult.Success)
        {
            byte* name = null, text = null;
            CudaDriver.cuGetErrorName(status, &name);
            CudaDriver.cuGetErrorString(status, &text);
            throw new CudaException(Shorten(call), Text(name) ?? $"CUresult {(int)status}", Text(text) ?? "unknown");
        }
    }

    internal static unsafe void Check(CublasStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CublasStatus.Success)
        {
            throw new CudaException(Shorten(call), Text(Cublas.cublasGetStatusName(status)) ?? $"{status}", Text(Cublas.cublasGetStatusString(status)) ?? "unknown");
        }
    }

    internal static unsafe void Check(CudnnStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CudnnStatus.Success)
        {
            byte* text = stackalloc byte[512];
            text[0] = 0;
            Cudnn.cudnnGetLastErrorString(text, 512);
            throw new CudaException(Shorten(call), Text(Cudnn.cudnnGetErrorString(status)) ?? $"{status}", Text(text) is { Length: > 0 } last ? last : "no further message");
        }
    }

    /// <summary>What a call that succeeded was to give: a handle or an address.</summary>
    internal static nint Given(nint value, [CallerArgumentExpression(nameof(value))] string what = "") =>
        value != 0 ? value : throw Nonsense($"a call succeeded that was to give a {what}, and gave none");

    /// <summary>Bytes that something takes, as a library says.</summary>
    internal static long Size(nuint bytes, string what) => bytes <= MostBytes ? (long)bytes : throw Nonsense($"cuDNN says that {what} takes {bytes} bytes");

    /// <summary>What a driver or library says cannot be.</summary>
    internal static CudaException Nonsense(string said) => new($"{said}; install the NVIDIA driver, cuBLAS and cuDNN anew");

    /// <summary>By its name, as all three libraries have several such: CUDA_ERROR_OUT_OF_MEMORY, CUBLAS_STATUS_ALLOC_FAILED.</summary>
    private static bool SaysOutOfMemory(string status) => status.Contains("OUT_OF_MEMORY", StringComparison.Ordinal) || status.Contains("ALLOC", StringComparison.Ordinal);

    private static unsafe string? Text(byte* text) => Marshal.PtrToStringUTF8((nint)text);

    /// <summary>The name of the call, without its arguments: those are addresses and descriptors.</summary>
    private static string Shorten(string call) => call.Split('(')[0].Split('.')[^1];
}
