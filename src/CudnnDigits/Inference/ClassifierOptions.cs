using CudnnDigits.Training;

namespace CudnnDigits.Inference;

/// <summary>The options of a <see cref="DigitClassifier"/>.</summary>
public sealed record ClassifierOptions
{
    /// <summary>"auto", "cpu", "cuda" or "cuda:N"; auto selects the first GPU if CUDA works, otherwise the CPU.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// A CUDA context (CUcontext) of the caller to use instead of the device's primary context; 0 for none. It must outlive the
    /// classifier. With it, <see cref="Device"/> must be "auto" or "cuda".
    /// </summary>
    public nint CudaContext { get; init; }

    /// <summary>The most images in a forward pass, 1 … 65,536; it determines the memory use. More images run in several passes.</summary>
    public int BatchSize { get; init; } = 256;

    /// <summary>The precision; null for the default: fp32 on the CPU, bf16 on a GPU (tf32 below compute capability 8.0).</summary>
    public Precision? Precision { get; init; }

    /// <summary>CPU threads, 0 … 1,024; 0 for the number of processors. Results do not depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>On a GPU: which kernels run the layers.</summary>
    internal CudaKernels Kernels { get; init; }
}
