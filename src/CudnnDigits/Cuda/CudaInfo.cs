namespace CudnnDigits.Cuda;

/// <summary>What a CUDA backend runs on, as run.json records it.</summary>
/// <param name="Driver">Newest CUDA that the driver runs, such as "13.0".</param>
/// <param name="Cublas">Version of cuBLAS; null where our own kernels do without it.</param>
/// <param name="Cudnn">Version of cuDNN; null where our own kernels do without it.</param>
/// <param name="Algorithms">What computes each convolution, by their names: cuDNN's algorithms, "ours, direct", "fused", or "fused, by warpgroups".</param>
/// <param name="MemoryBytes">Device memory of the step: parameters and their moments, activations, workspaces. The digits, and what driver and libraries take, come on top.</param>
internal sealed record CudaDetails(string Driver, string? Cublas, string? Cudnn, IReadOnlyDictionary<string, string> Algorithms, long MemoryBytes = 0);

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
/// <param name="FusedAlone">Whether the network "improved" runs in bf16 all the same: its kernels need no library but the driver, and the first GPU can run them.</param>
internal sealed record CudaInfo(
    string? WhyNot, IReadOnlyList<CudaGpu> Gpus, IReadOnlyList<CudaLibrary> Libraries, string Kernels, IReadOnlyList<string> Tried, bool FusedAlone = false);
