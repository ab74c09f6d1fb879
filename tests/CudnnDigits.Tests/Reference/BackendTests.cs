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

    /// <summary>Samples in a step, an even number.</summary>
    private protected virtual int Batch => 16;

    /// <summary>Two and a half batches.</summary>
    private int Count => Batch * 5 / 2;

    /// <summary>Everything that two epochs of three steps, the last of half a batch, leave behind.</summary>
    internal static float[] TrainedBits(ITrainingBackend backend, Action<ITrainingBackend>? between = null, double ema = 0)
    {
        int count = backend.BatchSize * 5 / 2;
        using ITrainingBackend own = backend;
        NetworkWeights weights = Initializer.Create(backend.Network, 1);
        OptimizerState optimizer = new(weights, new OptimizerSpec().Kept(ema));
        backend.Load(weights, optimizer);
        for (int epoch = 0; epoch < 2; epoch++)
        {
            backend.BeginEpoch(Digits, epoch, EpochOrder.Create([.. Enumerable.Range(0, count)], 1, epoch, shuffle: true), default);
            backend.RunSteps(0, [Rate, Rate]);
            between?.Invoke(backend);
            backend.RunSteps(2, [Rate]);
        }

        float[] logits = new float[10 * count];
        backend.Predict(Digits, [.. Enumerable.Range(0, count)], logits);
        backend.Save(weights, optimizer);
        EpochSums sums = backend.ReadSums();
        Assert.Equal(count, sums.Samples);
        float[] state = [.. weights.Trained, .. weights.Statistics, .. optimizer.Buffers[1], .. optimizer.Average ?? []];
        return [.. state, .. logits, (float)sums.Loss, sums.Correct];
    }

    [Theory]
    [InlineData("simple", 0)]
    [InlineData("improved", 0.2)]
    public void A_run_stopped_anywhere_resumes_to_the_same_bits(string model, double ema)
    {
        TrainingOptions options =
            TrainingOptions.For(model) with
            {
                Epochs = 2,
                BatchSize = Count * 4 / 5 / 3 + 1, // three steps, of which the last is smaller
                Folds = 5,
                Fold = 1,
                Seed = 7,
                Augmentation = AugmentationSpec.Standard,
                Ema = ema
            };
        TrainingState whole = new(Initializer.Create(options.CreateNetwork(), options.Seed), options.Kept);
        Train(whole, options, stepsAtOnce: int.MaxValue, stop: false);

        // Stopped after two of three steps, and after the third one, and through a file each time, until it is done.
        TrainingState state = new(Initializer.Create(options.CreateNetwork(), options.Seed), options.Kept);
        while (state.Epoch < options.Epochs)
        {
            Train(state, options, stepsAtOnce: 2, stop: true);
            Checkpoint.SaveState(_folder["last"], state);
            state = Checkpoint.LoadState(_folder["last"], options.CreateNetwork());
        }

        Assert.Equal(whole.Weights.Trained, state.Weights.Trained);
        Assert.Equal(whole.Weights.Statistics, state.Weights.Statistics);
        Assert.Equal(whole.Optimizer.Buffers[1], state.Optimizer.Buffers[1]);
        Assert.Equal(whole.Optimizer.Average, state.Optimizer.Average);
        Assert.Equal(whole.Best.Trained, state.Best.Trained);
        Assert.Equal(whole.History.Select(Timeless), state.History.Select(Timeless));

        static EpochRecord Timeless(EpochRecord record) => record with { Seconds = 0, ImagesPerSecond = 0 };
    }

    [Theory]
    [InlineData("simple", 0)]
    [InlineData("improved", 0.9)]
    public void Two_runs_give_the_same_bits_whatever_is_predicted_between_their_steps(string model, double ema)
    {
        DigitDataset others = GeneratedDigits.Create(20, seed: 12);
        float[] undisturbed = TrainedBits(Make(model, Batch, ema), ema: ema);
        Assert.Equal(undisturbed, TrainedBits(Make(model, Batch, ema), Predict, ema));

        void Predict(ITrainingBackend backend) => backend.Predict(others, [3, 1, 4], new float[30]);
    }

    /// <summary>The average beside the same in double, of the weights as they were after each step. The steps are as without it.</summary>
    [Theory]
    [InlineData("simple", 0.2)] // the decay of step 1 is 2 / 11, of the others 0.2
    [InlineData("improved", 0.999)] // the decay of step t is (1 + t) / (10 + t)
    [InlineData("mlp", 0.999)]
    public void The_average_of_the_weights_follows_them(string model, double decay)
    {
        using ITrainingBackend averaging = Make(model, Batch, decay), plain = Make(model, Batch);
        NetworkWeights weights = Initializer.Create(averaging.Network, 1), unaveraged = new(averaging.Network);
        OptimizerState optimizer = new(weights, new OptimizerSpec().Kept(0.9));
        double[] expected = Array.ConvertAll(weights.Trained, value => (double)value);
        averaging.Load(weights, optimizer);
        plain.Load(weights, new OptimizerState(plain.Network));
        foreach (ITrainingBackend backend in new[] { averaging, plain })
        {
            backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, Count)], default);
        }

        for (int step = 0; step < 3; step++)
        {
            averaging.RunSteps(step, [Rate]);
            plain.RunSteps(step, [Rate]);
            averaging.Save(weights, optimizer);
            double kept = Math.Min(decay, (2.0 + step) / (11 + step));
            for (int i = 0; i < expected.Length; i++)
            {
                expected[i] += (1 - kept) * (weights.Trained[i] - expected[i]);
                Assert.Equal(expected[i], optimizer.Average![i], 1e-7 * (1 + Math.Abs(expected[i])));
            }
        }

        plain.Save(unaveraged, new OptimizerState(plain.Network));
        Assert.Equal(unaveraged.Trained, weights.Trained);
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Predictions_are_those_of_the_average_of_the_weights(string model)
    {
        int[] rows = [.. Enumerable.Range(0, Count)];
        float[] actual = new float[10 * Count], expected = new float[10 * Count];
        using ITrainingBackend averaging = Make(model, Batch, 0.9), plain = Make(model, Batch);
        NetworkWeights weights = Initializer.Create(averaging.Network, 1);
        OptimizerState optimizer = new(weights, new OptimizerSpec().Kept(0.9));
        averaging.Load(weights, optimizer);
        averaging.BeginEpoch(Digits, 0, rows, default);
        averaging.RunSteps(0, [Rate, Rate, Rate]);
        averaging.Predict(Digits, rows, actual);
        averaging.Save(weights, optimizer);
        Assert.NotEqual(weights.Trained, optimizer.Average);
        optimizer.Average!.CopyTo(weights.Trained, 0);
        plain.Load(weights, new OptimizerState(plain.Network));
        plain.Predict(Digits, rows, expected);
        Assert.Equal(expected, actual);
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void Predictions_do_not_depend_on_the_batch(string model)
    {
        float[][] logits = [.. new[] { 1, 7, 64 }.Select(batch =>
        {
            float[] result = new float[10 * Count];
            using ITrainingBackend backend = Make(model, batch);
            backend.Load(Initializer.Create(backend.Network, 0), new OptimizerState(backend.Network));
            backend.Predict(Digits, [.. Enumerable.Range(0, Count)], result);
            return result;
        })];
        double[] expected = Array.ConvertAll(logits[0], value => (double)value);
        Compare.Close(logits[1], expected, BatchTolerance, "batches of 7");
        Compare.Close(logits[2], expected, BatchTolerance, "batches of 64");
    }

    [Fact]
    public void Loading_what_was_saved_gives_the_same_bits()
    {
        using ITrainingBackend backend = Make("improved", 2);
        NetworkWeights weights = Initializer.Create(backend.Network, 5), saved = new(backend.Network);
        OptimizerState optimizer = new(backend.Network) { Step = 7 }, savedOptimizer = new(backend.Network);
        new Random(2).NextBytes(MemoryMarshal.AsBytes(optimizer.Buffers[0].AsSpan()));
        backend.Load(weights, optimizer);
        backend.Save(saved, savedOptimizer);
        Assert.Equal(weights.Trained, saved.Trained);
        Assert.Equal(weights.Statistics, saved.Statistics);
        Assert.Equal(Array.ConvertAll(optimizer.Buffers[0], BitConverter.SingleToInt32Bits),
            Array.ConvertAll(savedOptimizer.Buffers[0], BitConverter.SingleToInt32Bits));
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
            using ITrainingBackend backend =
                Create(DigitNetworks.Improved,
                new BackendOptions(Batch, 3, AugmentationSpec.Standard) { Optimizer = new() { WeightDecay = weightDecay } });
            NetworkWeights weights = new(backend.Network);
            OptimizerState optimizer = new(backend.Network);
            backend.Load(start, optimizer);
            backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, Batch)], default);
            backend.RunSteps(0, [Rate]);
            backend.Save(weights, optimizer);
            return weights;
        }
    }

    [Fact]
    public void A_loss_that_is_no_number_is_seen()
    {
        using ITrainingBackend backend = Make("improved", 2 * Batch);
        NetworkWeights weights = Initializer.Create(backend.Network, 0);
        weights["conv1.weight"][0] = float.NaN;
        backend.Load(weights, new OptimizerState(backend.Network));
        backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, 2 * Batch)], default);
        backend.RunSteps(0, [Rate]);
        Assert.False(double.IsFinite(backend.ReadSums().Loss));
    }

    [Fact]
    public void To_dispose_twice_is_to_dispose_once()
    {
        ITrainingBackend backend = Make("simple", Batch);
        backend.Dispose();
        backend.Dispose();
    }

    /// <summary>Makes the backend under test; skips the test where it cannot run this network here.</summary>
    private protected abstract ITrainingBackend Create(NetworkSpec network, BackendOptions options);

    private ITrainingBackend Make(string model, int batch, double ema = 0) =>
        Create(DigitNetworks.Find(model)!, new BackendOptions(batch, 3, AugmentationSpec.Standard) { Ema = ema });

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
            new Trainer(backend, GeneratedDigits.Create(Count, seed: 11), options, state) { OnProgress = OnProgress }.Run(cancel.Token);
        }
        catch (OperationCanceledException)
        {
            // As it was told.
        }
    }
}
