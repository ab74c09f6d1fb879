using static CudnnDigits.Cuda.Interop.NativeLibraries;

namespace CudnnDigits.Cuda.Interop;

/// <summary>Status of cuBLAS.</summary>
internal enum CublasStatus
{
    Success = 0,
}

/// <summary>cuBLAS under its own names; matrices are column-major.</summary>
internal static unsafe partial class Cublas
{
    public const int NotTransposed = 0, Transposed = 1;
    public const int Compute32F = 68, Compute32FFastTf32 = 77, DefaultAlgorithm = -1;
    public const int TypeFloat = 0, TypeBFloat16 = 14;

    [LibraryImport(Blas)] public static partial CublasStatus cublasCreate_v2(out nint handle);

    [LibraryImport(Blas)] public static partial CublasStatus cublasDestroy_v2(nint handle);

    [LibraryImport(Blas)] public static partial CublasStatus cublasSetStream_v2(nint handle, nint stream);

    [LibraryImport(Blas)] public static partial CublasStatus cublasSetWorkspace_v2(nint handle, nint workspace, nuint bytes);

    /// <summary>0 major, 1 minor, 2 patch.</summary>
    [LibraryImport(Blas)] public static partial CublasStatus cublasGetProperty(int property, out int value);

    [LibraryImport(Blas)] public static partial byte* cublasGetStatusName(CublasStatus status);

    [LibraryImport(Blas)] public static partial byte* cublasGetStatusString(CublasStatus status);

    [LibraryImport(Blas)]
    public static partial CublasStatus cublasGemmEx(
        nint handle, int transposeA, int transposeB, int m, int n, int k, void* alpha, nint a, int typeA, int lda, nint b, int typeB,
        int ldb, void* beta, nint c, int typeC, int ldc, int compute, int algorithm);
}
