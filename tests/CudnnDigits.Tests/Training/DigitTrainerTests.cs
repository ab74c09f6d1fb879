using CudnnDigits.Tests.Data;

namespace CudnnDigits.Tests.Training;

public sealed class DigitTrainerTests : TestsWithFolder
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(300);
    private static readonly DeviceOptions OnCpu = new() { Device = "cpu" };

    private static TrainedNetwork Train(
        DigitDataset data,
        TrainingOptions options,
        DeviceOptions? device = null,
        NetworkWeights? start = null,
        Action<EpochRecord>? onEpochEnd = null,
        Action<TrainingProgress>? onProgress = null,
        CancellationToken? cancellation = null) =>
        DigitTrainer.Train(data, options, device ?? OnCpu, start, onEpochEnd, onProgress, cancellation
            ?? TestContext.Current.CancellationToken);

    private static TrainingOptions Options(int epochs = 2) => TrainingOptions.For("simple") with { Epochs = epochs, Seed = 3 };

    [Fact]
    public void One_call_trains_and_scores_the_digits_held_out()
    {
        TrainedNetwork trained = Train(Digits, Options(4));
        Assert.Equal([1, 2, 3, 4], trained.History.Select(epoch => epoch.Epoch));
        Assert.True(trained.Metrics.Accuracy > 0.6, $"{trained.Metrics}");
        Assert.Equal(60, trained.Metrics.Samples); // a fifth
        Assert.Equal(trained.History.Max(epoch => epoch.ValidationAccuracy), trained.Metrics.Accuracy);
        Assert.Equal(trained.History[trained.Epoch - 1].ValidationLoss!.Value, trained.Metrics.Loss, 1e-9);
        Assert.StartsWith("CPU, ", trained.Device, StringComparison.Ordinal);
        Assert.Equal((Precision.Fp32, null), (trained.Precision, trained.WhyCpu));
        using DigitClassifier classifier = new(trained.Weights, new ClassifierOptions { Device = "cpu" });
        Assert.Equal(trained.Metrics.Confusion, classifier.Evaluate(Digits, trained.ScoredRows).Confusion);
    }

    [Fact]
    public void What_it_saves_is_read_by_classifier_and_program_alike()
    {
        TrainedNetwork trained = Train(Digits, Options());
        string file = _folder["model.safetensors"];
        trained.Save(file);
        using DigitClassifier saved = DigitClassifier.Load(file, new ClassifierOptions { Device = "cpu" }),
        kept = new(trained.Weights, new ClassifierOptions { Device = "cpu" });
        Assert.Equal(kept.Read(Digits), saved.Read(Digits));
        Assert.Equal(trained.Weights["fc2.bias"], DigitTrainer.LoadWeights(file)["fc2.bias"]);
        SplitRecord split = SplitRecord.FromMetadata(Checkpoint.LoadWeights(file).Metadata)!;
        Assert.Equal(Digits.Fingerprint(), split.DataFingerprint);
        Assert.Equal(split.Split.Draw(Digits.Labels).Validation, trained.ScoredRows);
        Assert.Throws<DirectoryNotFoundException>(() => trained.Save(_folder["none/model.safetensors"]));
        Assert.Throws<ArgumentException>(() => trained.Save(""));
    }

    [LongFact]
    public void Keeps_the_best_epoch_or_the_last_as_the_options_say()
    {
        // Labels that the images do not tell: what is learned by heart reads the others by chance alone.
        DigitDataset noise = new("noise", Digits.Pixels.ToArray(), [.. Enumerable.Range(0, Digits.Count).Select(i => (byte)(i / 10 % 10))]);
        TrainedNetwork[] best = [.. Enumerable.Range(0, 4).Select(seed => Train(noise, Options(6) with { Seed = (ulong)seed }))];
        foreach (TrainedNetwork trained in best)
        {
            EpochRecord expected = trained.History.OrderByDescending(epoch => epoch.ValidationAccuracy)
                .ThenBy(epoch => epoch.ValidationLoss).First();
            Assert.Equal((expected.Epoch, expected.ValidationAccuracy), (trained.Epoch, trained.Metrics.Accuracy));
        }

        Assert.True(best.Any(trained => trained.Epoch < 6), string.Join(", ", best.Select(trained => trained.Epoch)));
        Assert.Equal(6, Train(noise, Options(6) with { KeepLast = true }).Epoch);
        TrainedNetwork all = Train(Digits, Options(1) with { Validation = 0 });
        Assert.Equal((1, 300), (all.Epoch, all.Metrics.Samples)); // nothing is held out: the digits that it was trained on
        Assert.Null(all.History[0].ValidationAccuracy);
    }

    [Fact]
    public void Digits_that_are_too_few_to_hold_any_out_are_refused()
    {
        DataSourceTests.AssertRefused("too few digits, 10, to hold out 20 % of each class",
            () => Train(new DigitDataset("few", new byte[7840], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Options()));
        DataSourceTests.AssertRefused("too few digits, 300, to hold out", () => Train(Digits, Options() with { Validation = 1e-9 }));
    }

    [Fact]
    public void Tells_of_each_epoch_and_of_steps_on_the_calling_thread()
    {
        List<string> told = [];
        int thread = Environment.CurrentManagedThreadId;
        Train(
            Digits, Options(),
            onEpochEnd: epoch => Tell($"epoch {epoch.Epoch}"),
            onProgress: progress =>
            {
                if (progress.Step == progress.StepsPerEpoch)
                {
                    Tell($"step {progress.Step} of epoch {progress.Epoch}");
                }
            });
        Assert.Equal(["step 4 of epoch 1", "epoch 1", "step 4 of epoch 2", "epoch 2"], told);

        void Tell(string what)
        {
            Assert.Equal(thread, Environment.CurrentManagedThreadId);
            told.Add(what);
        }
    }

    [Fact]
    public void A_training_that_is_cancelled_anywhere_gives_nothing()
    {
        int calls = 0, cancelAt = -1;
        using CancellationTokenSource never = new();
        TrainUntil(never);
        int all = calls;
        Assert.Equal(6, all); // within each epoch twice, and at its end
        for (cancelAt = 0; cancelAt <= all; cancelAt++) // before the first step … after the last epoch
        {
            using CancellationTokenSource cancel = new();
            calls = -1;
            Called(cancel);
            Assert.Throws<OperationCanceledException>(() => TrainUntil(cancel));
        }

        void TrainUntil(CancellationTokenSource cancel) => Train(
            Digits, Options() with { Validation = 0 }, onEpochEnd: _ => Called(cancel), onProgress: _ => Called(cancel),
            cancellation: cancel.Token);

        void Called(CancellationTokenSource cancel)
        {
            if (++calls == cancelAt)
            {
                cancel.Cancel();
            }
        }
    }

    [Fact]
    public void What_a_callback_throws_comes_out()
    {
        Assert.Throws<FormatException>(() => Train(Digits, Options(), onEpochEnd: _ => throw new FormatException()));
        Assert.Throws<FormatException>(() => Train(Digits, Options(), onProgress: _ => throw new FormatException()));
    }

    [Fact]
    public void Begins_with_given_weights_which_stay_as_they_are()
    {
        NetworkWeights start = Initializer.Create(DigitNetworks.Simple, 11);
        float[] before = [.. start.Trained];
        TrainedNetwork trained = Train(Digits, Options(1) with { Optimizer = new() { LearningRate = 1e-12 } }, start: start);
        Compare.Close(trained.Weights.Trained, Array.ConvertAll(before, value => (double)value), 1e-6, "weights");
        Assert.Equal(before, start.Trained);
        ArgumentException e = Assert.Throws<ArgumentException>("start", () => Train(Digits, TrainingOptions.For("improved"), start: start));
        Assert.StartsWith("the weights are those of the network 'simple', and 'improved' is to be trained", e.Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Same_seed_same_bits_whatever_the_threads()
    {
        TrainedNetwork one = Train(Digits, Options(), OnCpu with { Threads = 1 }),
        three = Train(Digits, Options(), OnCpu with { Threads = 3 });
        Assert.Equal(one.Weights.Trained, three.Weights.Trained);
        Assert.StartsWith("CPU, 3 threads", three.Device, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("simple", 5, 64)]
    [InlineData("improved", 12, 128)]
    public void Each_network_has_its_defaults(string model, int epochs, int batch)
    {
        TrainingOptions options = TrainingOptions.For(model);
        Assert.Equal((model, epochs, batch, 3e-3, 0.2),
            (options.Model, options.Epochs, options.BatchSize, options.Optimizer.LearningRate, options.Validation));
        Assert.Equal(1e-3, TrainingOptions.For(model, LearningRateSchedule.Plateau).Optimizer.LearningRate);
    }

    [Theory]
    [InlineData("resnet")]
    [InlineData("Simple")]
    [InlineData("simple ")]
    [InlineData("")]
    public void A_network_that_there_is_not_is_refused_with_those_that_there_are(string name)
    {
        string sentence = $"no network is called '{name}'; choose {InputException.OneOf(DigitNetworks.Names)}";
        Assert.Equal($"{sentence} (Parameter 'model')", Assert.Throws<ArgumentException>("model", () => TrainingOptions.For(name)).Message);
        Assert.Equal(sentence, Assert.Throws<ArgumentException>(() => Train(Digits, Options() with { Model = name })).Message);
    }

    public static TheoryData<string, Func<TrainingOptions, TrainingOptions>> OutOfRange => new()
    {
        { $"no network is called ''; choose {InputException.OneOf(DigitNetworks.Names)}", o => o with { Model = null! } },
        { "Epochs is 0, expected at least 1", o => o with { Epochs = 0 } },
        { "Epochs is -3, expected at least 1", o => o with { Epochs = -3 } },
        { "BatchSize is 0, expected at least 1", o => o with { BatchSize = 0 } },
        { "LearningRate is 0, expected a number above 0", o => o with { Optimizer = o.Optimizer with { LearningRate = 0 } } },
        { "LearningRate is NaN, expected a number above 0", o => o with { Optimizer = o.Optimizer with { LearningRate = double.NaN } } },
        { "WeightDecay is -1, expected a number 0 to 100", o => o with { Optimizer = new() { WeightDecay = -1 } } },
        { "Validation is 1, expected a number 0 to 0.9", o => o with { Validation = 1 } },
        { "Validation is NaN, expected a number 0 to 0.9", o => o with { Validation = double.NaN } },
        { "Test is 0.9, expected 0 or more, with Validation less than 1", o => o with { Test = 0.9 } },
        { "Dropout is 1.5, expected a number from 0 to below 1", o => o with { Dropout = 1.5 } },
        { "Dropout is -0.1, expected a number from 0 to below 1", o => o with { Dropout = -0.1 } },
        { "Rotate is 181, expected a number 0 to 180", o => o with { Augmentation = new() { Rotate = 181 } } },
        { "Shift is NaN, expected a number 0 to 0.5", o => o with { Augmentation = new() { Shift = double.NaN } } },
        { "Zoom is 0.75, expected a number 0 to 0.5", o => o with { Augmentation = new() { Zoom = 0.75 } } },
        { "Beta1 is 1, expected a number from 0 to below 1", o => o with { Optimizer = o.Optimizer with { Beta1 = 1 } } },
        { "Beta2 is -0.1, expected a number from 0 to below 1", o => o with { Optimizer = o.Optimizer with { Beta2 = -0.1 } } },
        { "Epsilon is 0, expected a number 1E-12 to 1", o => o with { Optimizer = o.Optimizer with { Epsilon = 0 } } },
        { "LabelSmoothing is 1, expected a number from 0 to below 1", o => o with { LabelSmoothing = 1 } },
        { "Ema is 1, expected a number from 0 to below 1", o => o with { Ema = 1 } },
        { "EarlyStop is -1, expected a whole number 0 to 100000", o => o with { EarlyStop = -1 } },
        { "Folds is 1, expected 0, or 2 or more", o => o with { Folds = 1 } },
        { "Fold is 4, expected a fold from 1 to Folds, or 0 where there are none", o => o with { Folds = 3, Fold = 4 } },
        { "Schedule is 7, expected one of the schedules", o => o with { Schedule = (LearningRateSchedule)7 } },
    };

    [Theory]
    [MemberData(nameof(OutOfRange), DisableDiscoveryEnumeration = true)]
    public void An_option_out_of_its_range_is_refused_with_its_name_and_what_is_expected(string message,
        Func<TrainingOptions, TrainingOptions> change)
    {
        Assert.Equal(message, Assert.Throws<ArgumentException>(() => Train(Digits, change(Options()))).Message);
    }

    public static TheoryData<string, Type, DeviceOptions> Devices => new()
    {
        { "no such device; choose auto, cpu, cuda or cuda:N", typeof(InputException), new() { Device = "gpu" } },
        { "no such device; choose auto, cpu, cuda or cuda:N", typeof(InputException), new() { Device = "" } },
        { "no such device; choose auto, cpu, cuda or cuda:N", typeof(InputException), new() { Device = "cuda:-1" } },
        { "(Parameter 'device')", typeof(ArgumentNullException), new() { Device = null! } },
        { "threads is -1, expected 0 to 1024", typeof(ArgumentException), OnCpu with { Threads = -1 } },
        { "precision is 9, expected Fp32, Tf32 or Bf16", typeof(ArgumentException), OnCpu with { Precision = (Precision)9 } },
        { "the CPU computes in fp32", typeof(InputException), OnCpu with { Precision = Precision.Bf16 } },
        { "a CUDA context is given", typeof(ArgumentException), OnCpu with { CudaContext = 1 } },
    };

    [Theory]
    [MemberData(nameof(Devices), DisableDiscoveryEnumeration = true)]
    public void A_device_that_cannot_be_is_refused_for_training_as_for_reading(string message, Type exception, DeviceOptions device)
    {
        Assert.Contains(message, Assert.Throws(exception, () => { Train(Digits, Options(), device); }).Message, StringComparison.Ordinal);
        ClassifierOptions same =
            new() { Device = device.Device, Threads = device.Threads, Precision = device.Precision, CudaContext = device.CudaContext };
        Assert.Contains(message,
            Assert.Throws(exception, () => { new DigitClassifier(Initializer.Create(DigitNetworks.Simple, 1), same); }).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Digits_that_nothing_can_be_learned_from_are_refused()
    {
        DigitDataset unlabelled = new("test.csv", Digits.Pixels.ToArray(), null), none = new("none", [], []);
        Assert.StartsWith("test.csv: the digits carry no labels to learn from",
            Assert.Throws<ArgumentException>("data", () => Train(unlabelled, Options())).Message, StringComparison.Ordinal);
        Assert.StartsWith("none: too few digits, 0, to hold out 20 % of each class",
            Assert.Throws<InputException>(() => Train(none, Options())).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>("data", () => Train(null!, Options()));
        Assert.Throws<ArgumentNullException>("options", () => Train(Digits, null!));
    }

    [Fact]
    public void A_batch_of_more_digits_than_there_are_is_one_step_or_does_not_fit()
    {
        Assert.Equal(0.1, Train(Digits,
            Options(1) with
            {
                BatchSize = 1000,
                Validation = 0.5,
                Optimizer = new() { LearningRate = 0.1 },
                Schedule = LearningRateSchedule.Constant
            }).History[0].LearningRate, 1e-6);
        InputException e = Assert.Throws<InputException>(() => Train(Digits, Options(1) with { BatchSize = int.MaxValue }));
        Assert.StartsWith("a batch of 2147483647 does not fit", e.Message, StringComparison.Ordinal);
    }
}
