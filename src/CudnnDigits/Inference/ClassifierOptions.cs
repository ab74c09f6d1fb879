using CudnnDigits.Training;

namespace CudnnDigits.Inference;

/// <summary>Where and how a <see cref="DigitClassifier"/> computes.</summary>
public sealed record ClassifierOptions
{
    /// <summary>"auto", "cpu", "cuda" or "cuda:N"; auto takes the first GPU where CUDA works, else the CPU.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// A CUDA context (CUcontext) of the caller's to compute in, in place of the device's primary one; 0 for none. It must
    /// outlive the classifier. With it, <see cref="Device"/> is "auto" or "cuda".
    /// </summary>
    public nint CudaContext { get; init; }

    /// <summary>Images in the largest forward pass, 1 … 65,536; more are run in several. Sets the memory that is taken.</summary>
    public int BatchSize { get; init; } = 256;

    /// <summary>Arithmetic; null takes the device's default, which is fp32 on the CPU and bf16 on a GPU (tf32 before compute capability 8.0).</summary>
    public Precision? Precision { get; init; }

    /// <summary>CPU threads, 0 … 1,024; 0 takes as many as there are processors. Results do not depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>Who convolves on a GPU: "cudnn" or "fused"; null for what the environment says.</summary>
    internal string? Convolutions { get; init; }
}
