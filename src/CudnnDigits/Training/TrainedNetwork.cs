using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;

namespace CudnnDigits.Training;

/// <summary>What <see cref="DigitTrainer.Train"/> gives: the weights that are kept, how well they read, and how it went.</summary>
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

    /// <summary>How well <see cref="Weights"/> read the digits held out, or those trained on where nothing is held out.</summary>
    public Metrics Metrics { get; }

    /// <summary>Rows of the dataset that <see cref="Metrics"/> are about, from 0, ascending.</summary>
    public ReadOnlySpan<int> ScoredRows => _scoredRows;

    /// <summary>What it was trained on, for people: "CPU, 2 threads, AVX-512".</summary>
    public string Device { get; internal init; } = "";

    /// <summary>Arithmetic of the training.</summary>
    public Precision Precision { get; internal init; }

    /// <summary>Why "auto" came down to the CPU, in one line; null where a GPU was taken or the CPU was asked for.</summary>
    public string? WhyCpu { get; internal init; }

    /// <summary>
    /// Writes the kept weights as a safetensors file, whole or not at all: for <see cref="DigitClassifier.Load"/>, for PyTorch, and
    /// for the program, which finds in it what was held out.
    /// </summary>
    /// <param name="path">The file; one that is there is replaced.</param>
    /// <exception cref="InputException">The path is a folder, or its links go round in a circle.</exception>
    /// <exception cref="IOException">The file could not be written: there is no such folder, say, or the disk is full.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    public void Save(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        Checkpoint.SaveWeights(path, Weights, _steps, _split.ToMetadata());
    }
}
