using CudnnDigits.Cuda;
using CudnnDigits.Data;
using CudnnDigits.Model;
using CudnnDigits.Runs;
using CudnnDigits.Training;

namespace CudnnDigits;

/// <summary>Trains a network in one call.</summary>
/// <example>
/// <code>
/// DigitDataset data = DataSource.Open("train.csv", DataPart.Training);
/// TrainedNetwork trained = DigitTrainer.Train(data, TrainingOptions.For("simple"));
/// trained.Save("model.safetensors");
/// using DigitClassifier classifier = new(trained.Weights);
/// </code>
/// </example>
public static class DigitTrainer
{
    /// <summary>Reads weights from a file: to train them on (<see cref="Train"/>), or to look at them.</summary>
    /// <param name="path">A safetensors file of ours, or one exported from PyTorch; or the folder of a run, whose kept weights are
    /// read.</param>
    /// <exception cref="InputException">The file does not hold one of the networks.</exception>
    public static NetworkWeights LoadWeights(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Checkpoint.LoadWeights(path).Weights;
    }

    /// <summary>
    /// Trains on labelled digits, holds some of them out, validates after each epoch, and scores the weights that are kept. Writes
    /// no files and prints nothing.
    /// </summary>
    /// <param name="data">Labelled digits.</param>
    /// <param name="options">How to train; <see cref="TrainingOptions.For"/> gives each network's defaults.</param>
    /// <param name="device">What to train on; null for the first GPU where CUDA works, else the CPU.</param>
    /// <param name="start">Weights to begin with, as when a network that has been trained is to learn from other digits; null for
    /// fresh ones, drawn by the seed. They are copied.</param>
    /// <param name="onEpochEnd">Called after each epoch, on the calling thread. What it throws ends the training.</param>
    /// <param name="onProgress">Called now and then within an epoch, on the calling thread; on a GPU at the end of the epoch. What it
    /// throws ends the training.</param>
    /// <param name="cancellation">Ends the training between steps; nothing is returned then.</param>
    /// <returns>The kept weights: those of the epoch that validated best, or the last where nothing is held out or
    /// <see cref="TrainingOptions.KeepLast"/> says so. With them their metrics and the history of the epochs.</returns>
    /// <exception cref="ArgumentException">The digits carry no labels, an option is out of its range, or the weights to begin with are
    /// another network's or no numbers.</exception>
    /// <exception cref="InputException">There is no digit to train on, there is no such device, it lacks memory, or it cannot compute in
    /// that precision.</exception>
    /// <exception cref="DivergedException">The loss, or a weight, became NaN or infinite; a lower learning rate may help.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    /// <exception cref="CudaException">A call of CUDA failed.</exception>
    /// <example>
    /// <code>
    /// using CancellationTokenSource stop = new(TimeSpan.FromMinutes(10));
    /// TrainedNetwork trained = DigitTrainer.Train(
    ///     data,
    ///     TrainingOptions.For("improved") with { Epochs = 20, EarlyStop = 3, Seed = 1 },
    ///     new DeviceOptions { Device = "cpu", Threads = 4 },
    ///     onEpochEnd: epoch => Console.WriteLine($"epoch {epoch.Epoch}, validation {epoch.ValidationAccuracy:P1}"),
    ///     cancellation: stop.Token);
    /// Console.WriteLine($"epoch {trained.Epoch} kept: {trained.Metrics.Accuracy:P1} of {trained.Metrics.Samples} digits held out");
    /// </code>
    /// </example>
    public static TrainedNetwork Train(
        DigitDataset data,
        TrainingOptions options,
        DeviceOptions? device = null,
        NetworkWeights? start = null,
        Action<EpochRecord>? onEpochEnd = null,
        Action<TrainingProgress>? onProgress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentNullException.ThrowIfNull(options);
        if (!data.HasLabels)
        {
            throw new ArgumentException($"{data.Name}: the digits carry no labels to learn from", nameof(data));
        }

        NetworkSpec network = options.Checked().CreateNetwork();
        if (start is not null && start.Model != options.Model)
        {
            throw new ArgumentException(
                $"the weights are those of the network '{start.Model}', and '{options.Model}' is to be trained", nameof(start));
        }

        if (start is { IsFinite: false })
        {
            throw new ArgumentException("a weight is NaN or infinite, expected numbers", nameof(start));
        }

        Trainer.CheckSplit(data, options);
        device ??= new DeviceOptions();
        BackendOptions backendOptions = new(options, device.Threads)
        {
            Precision = device.Precision,
            Deterministic = device.Deterministic,
            CudaContext = device.CudaContext,
        };
        using ITrainingBackend backend = BackendFactory.Create(device.Device, network, backendOptions, out string? whyCpu);
        TrainingState state = TrainingState.Fresh(network, options, start);
        Trainer trainer = new(backend, data, options, state)
        {
            OnProgress = onProgress,
            OnEpochEnd = epoch => onEpochEnd?.Invoke(epoch.History[^1]),
        };
        trainer.Run(cancellation);
        cancellation.ThrowIfCancellationRequested(); // after the last epoch
        SplitRecord split = new(options.Split, data.Fingerprint());
        return new TrainedNetwork(state, options, trainer.Evaluate(state.Kept(options)), trainer.Split.Scored, split)
        {
            Device = backend.Device,
            Precision = backend.Precision,
            WhyCpu = whyCpu,
        };
    }
}
