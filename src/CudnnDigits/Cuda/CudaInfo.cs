namespace CudnnDigits.Cuda;

/// <summary>A GPU.</summary>
/// <param name="Ordinal">N in "cuda:N".</param>
/// <param name="Name">As its driver says it.</param>
/// <param name="ComputeCapability">Such as "9.0".</param>
/// <param name="Multiprocessors">Streaming multiprocessors.</param>
/// <param name="MemoryBytes">Device memory.</param>
internal sealed record CudaGpu(int Ordinal, string Name, string ComputeCapability, int Multiprocessors, long MemoryBytes);

/// <summary>One of NVIDIA's libraries.</summary>
/// <param name="Name">"cuda" (the driver), "cublas", "cudnn" or "nvtx".</param>
/// <param name="Version">Its version, where it tells.</param>
/// <param name="Path">The file that was loaded.</param>
internal sealed record CudaLibrary(string Name, string? Version, string Path);

/// <summary>CUDA on this machine.</summary>
/// <param name="WhyNot">Why it cannot be used, in one line; null where it can.</param>
/// <param name="Gpus">The GPUs.</param>
/// <param name="Libraries">What was found.</param>
/// <param name="Kernels">Our own kernels: the PTX in this assembly.</param>
/// <param name="Tried">Where libraries were looked for, one line a file; empty where all were found.</param>
/// <param name="FusedAlone">Whether the network "improved" runs in bf16 all the same: its kernels need no library but the driver, and the
/// first GPU can run them.</param>
internal sealed record CudaInfo(
    string? WhyNot, IReadOnlyList<CudaGpu> Gpus, IReadOnlyList<CudaLibrary> Libraries, string Kernels, IReadOnlyList<string> Tried, bool FusedAlone = false);
