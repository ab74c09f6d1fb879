using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda;

/// <summary>There is no CUDA device to work with; the message says in one line what is missing and what to do.</summary>
/// <param name="message">What was looked for, where, and what to do.</param>
public sealed class CudaUnavailableException(string message) : Exception(message);

/// <summary>A call of the CUDA driver, cuBLAS or cuDNN failed. The device is in an unknown state; dispose of the backend.</summary>
public sealed class CudaException : Exception
{
    private CudaException(string call, string status, string text)
        : base($"{call} failed: {status} ({text.Trim().TrimEnd('.')})")
    {
    }

    internal bool IsOutOfMemory { get; private init; }

    internal static unsafe void Check(CuResult status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CuResult.Success)
        {
            byte* name = null, text = null;
            CudaDriver.cuGetErrorName(status, &name);
            CudaDriver.cuGetErrorString(status, &text);
            throw new CudaException(Shorten(call), Text(name) ?? $"CUresult {(int)status}", Text(text) ?? "unknown")
            {
                IsOutOfMemory = status == CuResult.OutOfMemory,
            };
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

    private static unsafe string? Text(byte* text) => Marshal.PtrToStringUTF8((nint)text);

    /// <summary>The name of the call, without its arguments: those are addresses and descriptors.</summary>
    private static string Shorten(string call) => call.Split('(')[0].Split('.')[^1];
}
