using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Runs;
using CudnnDigits.Training;

namespace CudnnDigits;

/// <summary>The result of <see cref="DigitTrainer.Train"/>: the kept weights, their metrics, and the history of the training.</summary>
public sealed class TrainedNetwork
{
    private readonly int[] _scoredRows;
    private readonly long _steps;
    private readonly SplitRecord _split;

    internal TrainedNetwork(TrainingState state, TrainingOptions options, Metrics metrics, int[] scoredRows, SplitRecord split)
    {
        (Weights, Epoch, History, Metrics) = (state.Kept(options), state.KeptEpoch(options), state.History, metrics);
        (_scoredRows, _steps, _split) = (scoredRows, state.Optimizer.Step, split);
    }

    /// <summary>The kept weights, for <see cref="DigitClassifier(NetworkWeights, ClassifierOptions?)"/>.</summary>
    public NetworkWeights Weights { get; }

    /// <summary>The epoch whose weights these are, from 1.</summary>
    public int Epoch { get; }

    /// <summary>The epochs, first to last.</summary>
    public IReadOnlyList<EpochRecord> History { get; }

    /// <summary>Metrics of <see cref="Weights"/> on the validation digits, or on the training digits if nothing is held out.</summary>
    public Metrics Metrics { get; }

    /// <summary>Rows of the dataset that <see cref="Metrics"/> were computed on, from 0, ascending.</summary>
    public ReadOnlySpan<int> ScoredRows => _scoredRows;

    /// <summary>Description of the device, such as "CPU, 2 threads, AVX-512".</summary>
    public string Device { get; internal init; } = "";

    /// <summary>Arithmetic of the training.</summary>
    public Precision Precision { get; internal init; }

    /// <summary>Why device "auto" chose the CPU, in one line. Null if a GPU was used, or the CPU was asked for.</summary>
    public string? WhyCpu { get; internal init; }

    /// <summary>
    /// Writes the kept weights as a safetensors file, whole or not at all. <see cref="DigitClassifier.Load"/>, PyTorch and the program can
    /// read it. The metadata record which digits were held out.
    /// </summary>
    /// <param name="path">The file; an existing one is replaced.</param>
    /// <exception cref="InputException">The path is a folder, or its links form a circle.</exception>
    /// <exception cref="IOException">The file could not be written: there is no such folder, or the disk is full.</exception>
    /// <exception cref="UnauthorizedAccessException">Writing is not permitted.</exception>
    public void Save(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        Checkpoint.SaveWeights(path, Weights, _steps, _split.ToMetadata());
    }
}
