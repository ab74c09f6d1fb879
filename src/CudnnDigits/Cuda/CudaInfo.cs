using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda;

/// <summary>One of NVIDIA's libraries: "cuda" (the driver), "cublas", "cudnn" or "nvtx", its version if it tells, and its file.</summary>
internal sealed record CudaLibrary(string Name, string? Version, string Path);

/// <summary>CUDA on this machine.</summary>
/// <param name="WhyNot">Why it cannot be used, in one line; null where it can.</param>
/// <param name="Gpus">The GPUs.</param>
/// <param name="Libraries">What was found.</param>
/// <param name="Kernels">Our own kernels: the PTX in this assembly.</param>
/// <param name="Tried">Where libraries were looked for, one line a file; empty where all were found.</param>
/// <param name="DriverAlone">Networks that the first GPU runs in bf16 even where cuBLAS or cuDNN is missing, by their names.</param>
internal sealed record CudaInfo(
    string? WhyNot, IReadOnlyList<CudaGpu> Gpus, IReadOnlyList<CudaLibrary> Libraries, string Kernels, IReadOnlyList<string> Tried,
    IReadOnlyList<string> DriverAlone);
