using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>What accumulates while an epoch runs: the sum of the samples' losses, samples that were read correctly, samples.</summary>
internal readonly record struct EpochSums(double Loss, long Correct, long Samples);

/// <summary>
/// The seam between training and a device: the whole training step, not single operations. A backend owns its layout,
/// fusions and workspace; nothing but <see cref="ReadSums"/> returns to the host inside an epoch, so that a step can be
/// captured into a graph.
/// </summary>
internal interface ITrainingBackend : IDisposable
{
    NetworkSpec Network { get; }

    /// <summary>What it runs on, for people: "CPU, 2 threads, AVX-512".</summary>
    string Device { get; }

    /// <summary>Arithmetic of the step.</summary>
    Precision Precision { get; }

    /// <summary>Versions of NVIDIA's libraries and the algorithms chosen; null on the CPU.</summary>
    CudaDetails? CudaDetails { get; }

    /// <summary>Samples in a step; the last step of an epoch may have fewer.</summary>
    int BatchSize { get; }

    /// <summary>Steps to ask for at once: few where asking is free, so that progress and Ctrl-C are prompt.</summary>
    int StepsPerCall { get; }

    /// <summary>Takes weights and optimizer state over from the host.</summary>
    void Load(NetworkWeights weights, OptimizerState optimizer);

    /// <summary>Copies weights and optimizer state to the host, the same bits that <see cref="Load"/> would take back.</summary>
    void Save(NetworkWeights weights, OptimizerState optimizer);

    /// <summary>
    /// Makes an epoch, counted from 0, ready to run over the rows in this order. The sums start at zero, or where an interrupted epoch had
    /// got to. The backend keeps the digits resident as long as the same object is passed.
    /// </summary>
    void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums);

    /// <summary>Runs a step for each rate. Step s of the epoch, from 0, trains on rows s·BatchSize … of the order.</summary>
    void RunSteps(int firstStep, ReadOnlySpan<float> learningRates);

    /// <summary>The sums since <see cref="BeginEpoch"/>; waits for the device.</summary>
    EpochSums ReadSums();

    /// <summary>Evaluates rows: running statistics, no dropout, no augmentation. The logits are (rows, classes) f32.</summary>
    void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits);
}
