namespace CudnnDigits;

/// <summary>What a training runs on, and how exactly it computes there.</summary>
public sealed record DeviceOptions
{
    /// <summary>"auto", "cpu", "cuda" or "cuda:N", N from 0; auto takes the first GPU where CUDA works, else the CPU.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// A CUDA context (CUcontext) of the caller's to train in, in place of the device's primary one; 0 for none. It must outlive
    /// the training, which makes a stream of its own in it. With it, <see cref="Device"/> is "auto" or "cuda".
    /// </summary>
    public nint CudaContext { get; init; }

    /// <summary>
    /// Arithmetic; null takes the device's default, which is fp32 on the CPU and bf16 on a GPU (tf32 before compute capability 8.0).
    /// </summary>
    public Precision? Precision { get; init; }

    /// <summary>CPU threads, 0 … 1,024; 0 takes as many as there are processors. Results do not depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>On a GPU: only algorithms that give the same bits every time, as the CPU does anyway.</summary>
    public bool Deterministic { get; init; }
}
