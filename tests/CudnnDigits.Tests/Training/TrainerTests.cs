namespace CudnnDigits.Tests.Training;

public sealed class TrainerTests
{
    private static readonly DigitDataset Digits = GeneratedDigits.Create(400);

    private static TrainingOptions Options(string model, int epochs) =>
        TrainingOptions.For(model) with { Epochs = epochs, BatchSize = 48, Seed = 7, Augmentation = AugmentationSpec.Standard };

    [Fact]
    public void Simple_learns_and_the_history_says_so()
    {
        TrainingState state = Train(Options("simple", 8) with { Augmentation = AugmentationSpec.None });
        Assert.Equal(8, state.History.Count);
        Assert.Equal(8 * 7, state.Optimizer.Step); // 320 rows in batches of 48
        Assert.True(state.History[^1].ValidationAccuracy > 0.8, $"{state.History[^1]}");
        Assert.True(state.History[^1].TrainLoss < state.History[0].TrainLoss / 2);
    }

    [Fact]
    public void A_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_state()
    {
        TrainingOptions options = Options("simple", 4);
        TrainingState state = Train(options with { Epochs = 1 });
        NetworkWeights before = new(state.Weights.Network);
        before.CopyFrom(state.Weights);
        DivergedException e =
            Assert.Throws<DivergedException>(() =>
            Train(options with { Optimizer = new() { LearningRate = 1e30 }, Schedule = LearningRateSchedule.Constant }, state));
        Assert.Equal(2, e.Epoch);
        Assert.Equal(before.Trained, state.Weights.Trained);
        Assert.Equal(1, state.Epoch);
    }

    [Fact]
    public void An_early_stop_with_nothing_held_out_is_refused()
    {
        TrainingOptions options = Options("simple", 1) with { Validation = 0, EarlyStop = 2 };
        Assert.Equal("EarlyStop is 2, expected 0 where nothing is held out: it goes by the validation",
            Assert.Throws<ArgumentException>(() => Train(options)).Message);
        Train(options with { EarlyStop = 0 });
        Train(options with { Folds = 4, Fold = 1 });
    }

    [Fact]
    public void Weights_that_the_last_step_ruined_are_not_taken_over()
    {
        // One step an epoch: its loss is that of the weights before, and fine; the update itself is infinite.
        TrainingOptions options =
            Options("simple", 1) with
            {
                BatchSize = 400,
                Validation = 0,
                Optimizer = new() { LearningRate = 1e39 },
                Schedule = LearningRateSchedule.Constant
            };
        TrainingState state = Fresh(options);
        Assert.Throws<DivergedException>(() => Train(options, state));
        Assert.Equal(Fresh(options).Weights.Trained, state.Weights.Trained);
        Assert.Equal(0, state.Epoch);
        Assert.Empty(state.History);
    }

    [Fact]
    public void Digits_without_labels_cannot_be_trained_on() =>
        Assert.Throws<InputException>(() => Train(Options("simple", 1), data: DigitFiles.WithoutLabels(Digits)));

    [Fact]
    public void Early_stop_ends_the_run_and_keeps_the_best_weights()
    {
        // A rate of almost nothing: after the first epochs nothing gets better.
        TrainingOptions options =
            Options("simple", 60) with
            {
                Optimizer = new() { LearningRate = 0.05 },
                Schedule = LearningRateSchedule.Constant,
                EarlyStop = 3
            };
        TrainingState state = Train(options);
        Assert.True(state.Epoch < 60);
        Assert.Equal(state.Epoch - 3, state.BestEpoch!.Epoch);
        Assert.Same(state.Best, state.Kept(options));
        Assert.Equal(state.Epoch - 3, state.KeptEpoch(options));
        Assert.Same(state.Weights, state.Kept(options with { KeepLast = true }));
        Assert.Equal(state.Epoch, state.KeptEpoch(options with { KeepLast = true }));
        Assert.Equal(state.History.Max(epoch => epoch.ValidationAccuracy), state.BestEpoch.ValidationAccuracy);
    }

    [Fact]
    public void The_average_of_the_weights_is_validated_and_kept()
    {
        TrainingOptions options = Options("improved", 3) with { Ema = 0.9 };
        TrainingState state = Train(options, TrainingState.Fresh(options.CreateNetwork(), options, start: null));
        NetworkWeights last = state.Kept(options with { KeepLast = true });
        Assert.Equal(state.Optimizer.Average, last.Trained);
        Assert.NotEqual(state.Weights.Trained, last.Trained);
        Assert.Equal(state.Weights.Statistics, last.Statistics);
        ClassifierOptions onCpu = new() { Device = "cpu" };
        using DigitClassifier ofLast = new(last, onCpu), ofBest = new(state.Best, onCpu);
        int[] held = options.Split.Draw(Digits.Labels).Validation;
        Assert.Equal(state.History[^1].ValidationLoss!.Value, ofLast.Evaluate(Digits, held).Loss, 1e-6);
        Assert.Equal(state.BestEpoch!.ValidationLoss!.Value, ofBest.Evaluate(Digits, held).Loss, 1e-6);
        TrainedNetwork trained =
            DigitTrainer.Train(Digits, options, new DeviceOptions { Device = "cpu" }, cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(state.Best.Trained, trained.Weights.Trained);
        Assert.Equal(state.BestEpoch.ValidationLoss!.Value, trained.Metrics.Loss, 1e-6);
    }

    [Fact]
    public void Plateau_halves_the_rate_when_validation_stands_still()
    {
        TrainingOptions options =
            Options("simple", 12) with { Optimizer = new() { LearningRate = 0.02 }, Schedule = LearningRateSchedule.Plateau };
        TrainingState state = Train(options);
        List<EpochRecord> history = state.History;
        for (int epoch = 0; epoch < history.Count; epoch++)
        {
            int halvings = LearningRate.Halvings(EpochRecord.Better(state.History).Take(epoch).Select(e => e.Better));
            Assert.Equal((float)(0.02 / Math.Pow(2, halvings)), (float)history[epoch].LearningRate);
        }
    }

    [Fact]
    public void Without_validation_everything_is_trained_on_and_the_last_weights_are_kept()
    {
        TrainingOptions options = Options("simple", 1) with { Validation = 0 };
        TrainingState state = Train(options);
        Assert.Null(state.History[0].ValidationAccuracy);
        Assert.Same(state.Weights, state.Kept(options));
        Assert.Equal(9, state.Optimizer.Step); // 400 rows in batches of 48
    }

    [Fact]
    public void Metrics_are_those_of_the_confusion_matrix()
    {
        float[] logits = new float[60];
        byte[] labels = [0, 0, 0, 1, 1, 2];
        int[] calls = [0, 0, 1, 1, 0, 2];
        for (int n = 0; n < 6; n++)
        {
            logits[n * 10 + calls[n]] = 3;
        }

        Metrics metrics = Metrics.FromLogits(logits, labels);
        Assert.Equal(4 / 6.0, metrics.Accuracy, 1e-12);
        Assert.Equal(2 / 3.0, metrics.Classes[0].Precision, 1e-12);
        Assert.Equal(2 / 3.0, metrics.Classes[0].Recall, 1e-12);
        Assert.Equal(0.5, metrics.Classes[1].F1, 1e-12);
        Assert.Equal(1, metrics.Confusion[0][1]);
        Assert.Equal((2 / 3.0 + 0.5 + 1) / 10, metrics.MacroF1, 1e-12);
        Assert.Equal(0, metrics.Classes[7].Precision);
        double right = Math.Log(1 + 9 * Math.Exp(-3)), wrong = right + 3;
        Assert.Equal((4 * right + 2 * wrong) / 6, metrics.Loss, 1e-6);
    }

    [LongFact]
    public void Accuracy_of_the_report_is_reached_on_real_digits()
    {
        DigitDataset real = SharedFiles.TrainingDigits;
        TrainingOptions options = TrainingOptions.For("simple");
        Assert.Equal(5, options.Epochs);
        TrainingState state = Train(options with { Epochs = 3 }, data: real); // so many are enough, and take less time
        Assert.True(state.History[^1].ValidationAccuracy >= 0.985, $"{state.History[^1]}");
    }

    private static TrainingState Fresh(TrainingOptions options) => new(Initializer.Create(options.CreateNetwork(), options.Seed));

    private static TrainingState Train(TrainingOptions options, TrainingState? state = null, DigitDataset? data = null)
    {
        state ??= Fresh(options);
        using ITrainingBackend backend = BackendFactory.Create("cpu", options.CreateNetwork(), new BackendOptions(options));
        new Trainer(backend, data ?? Digits, options, state).Run(TestContext.Current.CancellationToken);
        return state;
    }
}
