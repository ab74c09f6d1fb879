namespace CudnnDigits.Training;

/// <summary>What a CUDA backend runs on, as run.json records it.</summary>
/// <param name="Driver">Newest CUDA that the driver runs, such as "13.0".</param>
/// <param name="Cublas">Version of cuBLAS; null where our own kernels do without it.</param>
/// <param name="Cudnn">Version of cuDNN; null where our own kernels do without it.</param>
/// <param name="Algorithms">What computes each convolution, by their names: cuDNN's algorithms, "ours, direct", "fused", or "fused, by
/// warpgroups".</param>
/// <param name="MemoryBytes">Device memory of the step: parameters and their moments, activations, workspaces. The digits, and what driver
/// and libraries take, come on top.</param>
internal sealed record CudaDetails(string Driver, string? Cublas, string? Cudnn, IReadOnlyDictionary<string, string> Algorithms, long MemoryBytes = 0);
