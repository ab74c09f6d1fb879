using CudnnDigits.Data;

namespace CudnnDigits.Training;

/// <summary>What a backend needs to know before its first step.</summary>
/// <param name="BatchSize">Samples in a step, at least 1.</param>
/// <param name="Seed">Keys augmentation and dropout.</param>
/// <param name="Augmentation">Applied to every training sample.</param>
/// <param name="Threads">CPU threads, 0 … 1,024; 0 takes as many as there are processors. Results do not depend on it.</param>
internal sealed record BackendOptions(int BatchSize, ulong Seed, AugmentationSpec Augmentation, int Threads = 0)
{
    /// <summary>Most threads that may be asked for, in training or inference; each has memory of its own.</summary>
    public const int MostThreads = 1024;

    /// <summary>What a training's own options say.</summary>
    /// <param name="options">How to train.</param>
    /// <param name="threads">CPU threads, 0 … 1,024; 0 takes as many as there are processors.</param>
    /// <exception cref="ArgumentException">An option is outside its range.</exception>
    public BackendOptions(TrainingOptions options, int threads = 0)
        : this(Checked(options).BatchSize, options.Seed, options.Augmentation, threads) =>
        (Optimizer, LabelSmoothing, Ema) = (options.Optimizer, options.LabelSmoothing, options.Ema);

    /// <summary>The optimizer; the learning rate comes with each step.</summary>
    public OptimizerSpec Optimizer { get; init; } = new();

    /// <summary>Label smoothing of the training loss, 0 ≤ ε &lt; 1.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>See <see cref="TrainingOptions.Ema"/>. With an average, predictions are those of the average.</summary>
    public double Ema { get; init; }

    /// <summary>
    /// Arithmetic of the step; null takes the device's default, which is fp32 on the CPU and bf16 on a GPU (tf32 before compute
    /// capability 8.0).
    /// </summary>
    public Precision? Precision { get; init; }

    /// <summary>On a GPU: only algorithms that give the same bits every time.</summary>
    public bool Deterministic { get; init; }

    /// <summary>On a GPU: capture the step into a graph and replay it; false runs the same step call by call.</summary>
    public bool CudaGraph { get; init; } = true;

    /// <summary>
    /// A CUDA context (CUcontext) of the caller's to train in, in place of the device's primary one; 0 for none. It must
    /// outlive the backend, which makes a stream of its own in it.
    /// </summary>
    public nint CudaContext { get; init; }

    /// <summary>On the CPU: measure every operation (<see cref="ILayerTimes"/>), which costs a look at the clock for each.</summary>
    public bool LayerTimes { get; init; }

    /// <summary>On a GPU: which kernels run the layers.</summary>
    public CudaKernels Kernels { get; init; }

    /// <summary>On a GPU: kernels may begin before the one before them has ended; false is for tests, which compare.</summary>
    internal bool Overlap { get; init; } = true;

    private static TrainingOptions Checked(TrainingOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return options.Checked();
    }
}
