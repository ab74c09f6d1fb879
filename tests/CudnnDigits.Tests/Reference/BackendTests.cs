using System.Runtime.InteropServices;

namespace CudnnDigits.Tests.Reference;

/// <summary>
/// What holds for every backend, however it computes. A class for each backend, and each of its ways, inherits these tests.
/// </summary>
public abstract class BackendTests : TestsWithFolder
{
    private const float Rate = 1e-3f;

    private static readonly DigitDataset Digits = GeneratedDigits.Create(40, seed: 11);

    /// <summary>How far predictions of different batches may be from each other, relative; 0 where they are the same bits.</summary>
    private protected virtual double BatchTolerance => 0;

    /// <summary>Everything that two epochs of three steps, the last of 8 samples, leave behind.</summary>
    internal static float[] TrainedBits(ITrainingBackend backend, Action<ITrainingBackend>? between = null)
    {
        using ITrainingBackend own = backend;
        NetworkWeights weights = Initializer.Create(backend.Network, 1);
        OptimizerState optimizer = new(backend.Network);
        backend.Load(weights, optimizer);
        for (int epoch = 0; epoch < 2; epoch++)
        {
            backend.BeginEpoch(Digits, epoch, EpochOrder.Create([.. Enumerable.Range(0, 40)], 1, epoch, shuffle: true), default);
            backend.RunSteps(0, [Rate, Rate]);
            between?.Invoke(backend);
            backend.RunSteps(2, [Rate]);
        }

        float[] logits = new float[400];
        backend.Predict(Digits, [.. Enumerable.Range(0, 40)], logits);
        backend.Save(weights, optimizer);
        EpochSums sums = backend.ReadSums();
        Assert.Equal(40, sums.Samples);
        return [.. weights.Trained, .. weights.Statistics, .. optimizer.Buffers[1], .. logits, (float)sums.Loss, sums.Correct];
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void A_run_stopped_anywhere_resumes_to_the_same_bits(string model)
    {
        TrainingOptions options = TrainingOptions.For(model) with { Epochs = 2, BatchSize = 11, Seed = 7, Augmentation = AugmentationSpec.Standard };
        TrainingState whole = new(Initializer.Create(options.CreateNetwork(), options.Seed));
        Train(whole, options, stepsAtOnce: int.MaxValue, stop: false);
        foreach (int stepsAtOnce in new[] { 2, 3 }) // of three in an epoch, so it is stopped within an epoch, and at its end
        {
            // Stopped after each call, and through a file each time, until it is done.
            TrainingState state = new(Initializer.Create(options.CreateNetwork(), options.Seed));
            while (state.Epoch < options.Epochs)
            {
                Train(state, options, stepsAtOnce, stop: true);
                Checkpoint.SaveState(_folder["last"], state);
                state = Checkpoint.LoadState(_folder["last"], options.CreateNetwork());
            }

            Assert.Equal(whole.Weights.Trained, state.Weights.Trained);
            Assert.Equal(whole.Weights.Statistics, state.Weights.Statistics);
            Assert.Equal(whole.Optimizer.Buffers[1], state.Optimizer.Buffers[1]);
            Assert.Equal(whole.Best.Trained, state.Best.Trained);
            Assert.Equal(whole.History.Select(Timeless), state.History.Select(Timeless));
        }

        static EpochRecord Timeless(EpochRecord record) => record with { Seconds = 0, ImagesPerSecond = 0 };
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Two_runs_give_the_same_bits_whatever_is_predicted_between_their_steps(string model)
    {
        DigitDataset others = GeneratedDigits.Create(20, seed: 12);
        Assert.Equal(TrainedBits(Make(model)), TrainedBits(Make(model), backend => backend.Predict(others, [3, 1, 4], new float[30])));
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Predictions_do_not_depend_on_the_batch(string model)
    {
        float[][] logits = [.. new[] { 1, 7, 64 }.Select(batch =>
        {
            float[] result = new float[400];
            using ITrainingBackend backend = Make(model, batch);
            backend.Load(Initializer.Create(backend.Network, 0), new OptimizerState(backend.Network));
            backend.Predict(Digits, [.. Enumerable.Range(0, 40)], result);
            return result;
        })];
        double[] expected = Array.ConvertAll(logits[0], value => (double)value);
        Compare.Close(logits[1], expected, BatchTolerance, "batches of 7");
        Compare.Close(logits[2], expected, BatchTolerance, "batches of 64");
    }

    [Fact]
    public void Loading_what_was_saved_gives_the_same_bits()
    {
        using ITrainingBackend backend = Make("improved", batch: 2);
        NetworkWeights weights = Initializer.Create(backend.Network, 5), saved = new(backend.Network);
        OptimizerState optimizer = new(backend.Network) { Step = 7 }, savedOptimizer = new(backend.Network);
        new Random(2).NextBytes(MemoryMarshal.AsBytes(optimizer.Buffers[0].AsSpan()));
        backend.Load(weights, optimizer);
        backend.Save(saved, savedOptimizer);
        Assert.Equal(weights.Trained, saved.Trained);
        Assert.Equal(weights.Statistics, saved.Statistics);
        Assert.Equal(Array.ConvertAll(optimizer.Buffers[0], BitConverter.SingleToInt32Bits), Array.ConvertAll(savedOptimizer.Buffers[0], BitConverter.SingleToInt32Bits));
        Assert.Equal(7, savedOptimizer.Step);
    }

    /// <summary>A step with weight decay is one without, and takes a part of the weights that it began with off.</summary>
    [Fact]
    public void Weight_decay_reaches_every_parameter()
    {
        NetworkWeights start = Initializer.Create(DigitNetworks.Improved, 1), plain = Step(0), decayed = Step(20);
        for (int i = 0; i < start.Trained.Length; i++)
        {
            Assert.Equal(plain.Trained[i] - Rate * 20 * start.Trained[i], decayed.Trained[i], 1e-6f);
        }

        NetworkWeights Step(double weightDecay)
        {
            using ITrainingBackend backend = Create(DigitNetworks.Improved, new BackendOptions(16, 3, AugmentationSpec.Standard) { Optimizer = new() { WeightDecay = weightDecay } });
            NetworkWeights weights = new(backend.Network);
            OptimizerState optimizer = new(backend.Network);
            backend.Load(start, optimizer);
            backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 16)], default);
            backend.RunSteps(0, [Rate]);
            backend.Save(weights, optimizer);
            return weights;
        }
    }

    [Fact]
    public void A_loss_that_is_no_number_is_seen()
    {
        using ITrainingBackend backend = Make("improved", batch: 32);
        NetworkWeights weights = Initializer.Create(backend.Network, 0);
        weights["conv1.weight"][0] = float.NaN;
        backend.Load(weights, new OptimizerState(backend.Network));
        backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 32)], default);
        backend.RunSteps(0, [Rate]);
        Assert.False(double.IsFinite(backend.ReadSums().Loss));
    }

    [Fact]
    public void To_dispose_twice_is_to_dispose_once()
    {
        ITrainingBackend backend = Make("simple");
        backend.Dispose();
        backend.Dispose();
    }

    /// <summary>Makes the backend under test; skips the test where it cannot run this network here.</summary>
    private protected abstract ITrainingBackend Create(NetworkSpec network, BackendOptions options);

    private ITrainingBackend Make(string model, int batch = 16) => Create(DigitNetworks.Find(model)!, new BackendOptions(batch, 3, AugmentationSpec.Standard));

    private void Train(TrainingState state, TrainingOptions options, int stepsAtOnce, bool stop)
    {
        using StepsAtOnce backend = new(Create(options.CreateNetwork(), new BackendOptions(options)), stepsAtOnce);
        using CancellationTokenSource cancel = new();
        void OnProgress(TrainingProgress progress)
        {
            if (stop)
            {
                cancel.Cancel();
            }
        }

        try
        {
            new Trainer(backend, Digits, options, state) { OnProgress = OnProgress }.Run(cancel.Token);
        }
        catch (OperationCanceledException)
        {
            // As it was told.
        }
    }
}
