using CudnnDigits.Data;

namespace CudnnDigits.Training;

/// <summary>What a backend needs to know before its first step. 0 threads are as many as there are processors.</summary>
internal sealed record BackendOptions(int BatchSize, ulong Seed, AugmentationSpec Augmentation, int Threads = 0)
{
    /// <summary>Most threads that may be asked for, in training or inference; each has memory of its own.</summary>
    public const int MostThreads = 1024;

    /// <summary>The options of a training, which are checked.</summary>
    public BackendOptions(TrainingOptions options, int threads = 0)
        : this(options.Checked().BatchSize, options.Seed, options.Augmentation, threads) =>
        (Optimizer, LabelSmoothing, Ema) = (options.Optimizer, options.LabelSmoothing, options.Ema);

    /// <summary>The optimizer; its learning rate comes with each step.</summary>
    public OptimizerSpec Optimizer { get; init; } = new();

    public double LabelSmoothing { get; init; }

    /// <summary>See <see cref="TrainingOptions.Ema"/>. With an average, predictions are those of the average.</summary>
    public double Ema { get; init; }

    /// <summary>What is kept of each parameter from step to step.</summary>
    public IReadOnlyList<OptimizerBuffer> Kept => Optimizer.Kept(Ema);

    /// <summary>Arithmetic of the step; null for the device's default, as in <see cref="DeviceOptions.Precision"/>.</summary>
    public Precision? Precision { get; init; }

    /// <summary>On a GPU: only algorithms that give the same bits every time.</summary>
    public bool Deterministic { get; init; }

    /// <summary>On a GPU: capture the step into a graph and replay it; false runs the same step call by call.</summary>
    public bool CudaGraph { get; init; } = true;

    /// <summary>See <see cref="DeviceOptions.CudaContext"/>.</summary>
    public nint CudaContext { get; init; }

    /// <summary>On the CPU: measure every operation (<see cref="ILayerTimes"/>), which costs a look at the clock for each.</summary>
    public bool LayerTimes { get; init; }

    /// <summary>On a GPU: which kernels run the layers.</summary>
    public CudaKernels Kernels { get; init; }

    /// <summary>On a GPU: kernels may begin before the one before them has ended; false is for tests, which compare.</summary>
    public bool Overlap { get; init; } = true;
}
