using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda;

/// <summary>One of NVIDIA's libraries: "cuda" (the driver), "cublas", "cudnn" or "nvtx", its version if it tells, and its file.</summary>
internal sealed record CudaLibrary(string Name, string? Version, string Path);

/// <summary>
/// CUDA on this machine. Where it cannot be used, WhyNot says why in one line, Tried which files were looked for, and DriverAlone which
/// networks the first GPU runs all the same, without cuBLAS and cuDNN.
/// </summary>
internal sealed record CudaInfo(
    string? WhyNot, IReadOnlyList<CudaGpu> Gpus, IReadOnlyList<CudaLibrary> Libraries, string Kernels, IReadOnlyList<string> Tried,
    IReadOnlyList<string> DriverAlone);
