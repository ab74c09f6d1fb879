namespace CudnnDigits.Training;

/// <summary>
/// What a CUDA backend runs on, as run.json records it. Driver is the newest CUDA that the driver runs, such as "13.0". Versions of
/// libraries are null where our own kernels do without them. Algorithms are what computes each convolution, by their names. The memory is
/// that of the step; the digits, and what driver and libraries take, come on top. Kernels are those that ran, as --kernels calls them; null
/// in records of older versions.
/// </summary>
internal sealed record CudaDetails(
    string Driver, string? Cublas, string? Cudnn, IReadOnlyDictionary<string, string> Algorithms, long MemoryBytes = 0,
    string? Kernels = null);
