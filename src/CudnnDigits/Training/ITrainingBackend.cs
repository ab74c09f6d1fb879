using CudnnDigits.Data;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>What accumulates beside the weights while an epoch runs.</summary>
/// <param name="Loss">Sum of the samples' cross-entropies.</param>
/// <param name="Correct">Samples whose greatest logit was the label's.</param>
/// <param name="Samples">Samples seen.</param>
internal readonly record struct EpochSums(double Loss, long Correct, long Samples);

/// <summary>
/// The seam between training and a device: the whole training step, not single operations. A backend owns its layout,
/// fusions and workspace; nothing but <see cref="ReadSums"/> returns to the host inside an epoch, so that a step can be
/// captured into a graph.
/// </summary>
internal interface ITrainingBackend : IDisposable
{
    /// <summary>The network that is trained.</summary>
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
    /// <param name="weights">Weights of <see cref="Network"/>.</param>
    /// <param name="optimizer">The optimizer's state.</param>
    void Load(NetworkWeights weights, OptimizerState optimizer);

    /// <summary>Copies weights and optimizer state to the host, the same bits that <see cref="Load"/> would take back.</summary>
    /// <param name="weights">Overwritten.</param>
    /// <param name="optimizer">Overwritten.</param>
    void Save(NetworkWeights weights, OptimizerState optimizer);

    /// <summary>Makes an epoch ready to run.</summary>
    /// <param name="data">Labelled digits; the backend keeps them resident as long as the same object is passed.</param>
    /// <param name="epoch">Epoch, from 0: keys augmentation and dropout.</param>
    /// <param name="order">Rows of <paramref name="data"/> in the order they are trained on.</param>
    /// <param name="sums">Where the sums start: zero, or what an interrupted epoch had reached.</param>
    void BeginEpoch(DigitDataset data, int epoch, ReadOnlySpan<int> order, EpochSums sums);

    /// <summary>Runs steps of the epoch: forward, backward, optimizer.</summary>
    /// <param name="firstStep">Step of the epoch, from 0; step s trains on rows s·BatchSize … of the order.</param>
    /// <param name="learningRates">One per step.</param>
    void RunSteps(int firstStep, ReadOnlySpan<float> learningRates);

    /// <summary>The sums since <see cref="BeginEpoch"/>; waits for the device.</summary>
    EpochSums ReadSums();

    /// <summary>Runs the network in evaluation mode: running statistics, no dropout, no augmentation.</summary>
    /// <param name="data">Digits, labelled or not.</param>
    /// <param name="rows">Rows to predict.</param>
    /// <param name="logits">(rows, classes) f32, overwritten.</param>
    void Predict(DigitDataset data, ReadOnlySpan<int> rows, Span<float> logits);
}
