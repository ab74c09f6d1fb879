using CudnnDigits.Cli.Terminal;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>Tells on standard error how a run goes: nothing, a line per epoch, or a table and a bar in a terminal.</summary>
internal class TrainingReporter
{
    private Stopwatch _clock = Stopwatch.StartNew();
    private int _startEpoch, _startStep;

    protected TrainingReporter(TrainingOptions options, string? label) => (Options, Label) = (options, label);

    protected TrainingOptions Options { get; }

    /// <summary>What the run is among several: "fold 2 of 5"; null for one by itself.</summary>
    protected string? Label { get; }

    /// <summary>For one run, or with a label for one among several, where a line each is enough.</summary>
    /// <param name="quiet">No progress at all.</param>
    /// <param name="options">How the run is trained.</param>
    /// <param name="label">What it is: "fold 2 of 5".</param>
    public static TrainingReporter Create(bool quiet, TrainingOptions options, string? label = null) =>
        quiet ? new TrainingReporter(options, label)
        : Screen.OfStandardError() is { } screen ? new LiveReporter(options, label, screen)
        : new PlainReporter(options, label);

    public void Start(RunRecord record, RunFolder folder, int training, int validation, TrainingState state, string? whyCpu)
    {
        (_startEpoch, _startStep) = (state.Epoch, state.StepInEpoch);
        _clock = Stopwatch.StartNew();
        if (Label is not null)
        {
            return;
        }

        TrainingOptions o = record.Options;
        Note("data", record.Data.Path is { } path
            ? $"{path}: {record.Data.Count:N0} digits, {training:N0} to train on, {validation:N0} held out"
            : $"built-in generated digits (no --data given): {record.Data.Count:N0}, {training:N0} to train on, {validation:N0} held out");
        string augmentation = o.Augmentation.IsEnabled ? $"±{o.Rotate}°, ±{o.Shift:P0} shift, ±{o.Zoom:P0} zoom" : "none";
        Note("network", $"{o.Model}: {o.Epochs} {(o.Epochs == 1 ? "epoch" : "epochs")} of {o.StepsPerEpoch(training):N0} steps, batch {o.BatchSize}, {CommonOptions.ScheduleName(o.Schedule)} to {Figures.Exact(o.LearningRate)}{(o.WeightDecay > 0 ? $", weight decay {Figures.Exact(o.WeightDecay)}" : "")}, augmentation {augmentation}, seed {o.Seed}");
        Note("device", $"{record.Device}, {record.Precision.ToString().ToLowerInvariant()}{(whyCpu is null ? "" : $" {CommonOptions.WhyCpu(whyCpu)}")}");
        Note("run", $"{folder.Path}{(state.Optimizer.Step == 0 ? "" : state.HasEnded(o) ? ", which has ended" : $", resumed after step {state.Optimizer.Step:N0}")}");
    }

    /// <summary>A line that begins with a label.</summary>
    public virtual void Note(string label, string text)
    {
    }

    /// <summary>Says what to run next: in a pipe at the end of its line, in a terminal in one piece, to be copied.</summary>
    public virtual void Advise(string text, string command)
    {
    }

    /// <summary>Says how a run among several has ended.</summary>
    /// <param name="accuracy">Accuracy of its last epoch, a share.</param>
    /// <param name="left">Time that all runs still take; null after the last one.</param>
    /// <param name="isFirst">Whether it is the first one to be told of.</param>
    public virtual void RunEnd(double accuracy, TimeSpan? left, bool isFirst)
    {
    }

    public virtual void Run(Action training) => training();

    public virtual void Progress(TrainingProgress progress)
    {
    }

    public void EpochEnd(TrainingState state)
    {
        if (Label is null)
        {
            Line(state.History[^1], state);
        }
    }

    /// <summary>A line for a finished epoch.</summary>
    protected virtual void Line(EpochRecord epoch, TrainingState state)
    {
    }

    /// <summary>"0:01:23 left", from the pace since the start of this process; empty at the end.</summary>
    protected string Remaining(int epochsDone, int step, int stepsPerEpoch)
    {
        double done = (epochsDone - _startEpoch) * (double)stepsPerEpoch + step - _startStep;
        double left = (Options.Epochs - epochsDone) * (double)stepsPerEpoch - step;
        return done <= 0 || left <= 0 ? "" : Figures.Left(TimeSpan.FromSeconds(_clock.Elapsed.TotalSeconds / done * left)) + " left";
    }

    /// <summary>For pipes and logs: a line each, with the same words at the same places.</summary>
    private sealed class PlainReporter(TrainingOptions options, string? label) : TrainingReporter(options, label)
    {
        private int _stepsPerEpoch;

        public override void Note(string label, string text) => Console.Error.WriteLine($"{label.PadRight(Screen.LabelWidth)}{text}");

        public override void Advise(string text, string command) => Console.Error.WriteLine($"{text} {command}");

        public override void RunEnd(double accuracy, TimeSpan? left, bool isFirst) =>
            Console.Error.WriteLine($"{Label}: {accuracy:P2}{(left is { } time ? $", about {Figures.Left(time)} left" : "")}");

        public override void Progress(TrainingProgress progress) => _stepsPerEpoch = progress.StepsPerEpoch;

        protected override void Line(EpochRecord e, TrainingState state)
        {
            string epoch = e.Epoch.ToString(CultureInfo.InvariantCulture).PadLeft(Options.Epochs.ToString(CultureInfo.InvariantCulture).Length);
            string validation = e.ValidationAccuracy is { } accuracy ? $"  validation {Figures.Loss(e.ValidationLoss!.Value),7} {accuracy,8:P2}" : "";
            string best = Options.Split.HoldsOut && state.BestEpoch == e ? "best" : "    ";
            Console.Error.WriteLine((
                $"epoch {epoch}/{Options.Epochs}  train {Figures.Loss(e.TrainLoss),7} {e.TrainAccuracy,8:P2}{validation}  lr {Figures.Rate(e.LearningRate, Options.LearningRate)}  "
                + $"{e.ImagesPerSecond,9:N0} images/s  {best}  {Remaining(state.Epoch, 0, _stepsPerEpoch)}").TrimEnd());
        }
    }

    /// <summary>For terminals: a table of the finished epochs, and a bar below it.</summary>
    private sealed class LiveReporter(TrainingOptions options, string? label, Screen screen) : TrainingReporter(options, label)
    {
        private static readonly TimeSpan Pace = TimeSpan.FromSeconds(0.1);

        private readonly EpochTable _table = new(options.Epochs, options.LearningRate, options.Split.HoldsOut);
        private readonly Stopwatch _sinceShown = new();

        public override void Note(string label, string text) => screen.Line(label, text);

        public override void Advise(string text, string command)
        {
            foreach (string line in Screen.Wrap(text, screen.Width))
            {
                screen.Line(line);
            }

            screen.Line("  " + command);
        }

        public override void RunEnd(double accuracy, TimeSpan? left, bool isFirst)
        {
            if (isFirst)
            {
                screen.Line(screen.Dim("accuracy  time left  run"));
            }

            screen.Line(Screen.Cut($"{accuracy,8:P2}  {(left is { } time ? Figures.Left(time) : ""),9}  {Label}", screen.Width));
        }

        public override void Run(Action training)
        {
            try
            {
                screen.Move(Label ?? "first steps");
                training();
            }
            finally
            {
                screen.Clear();
            }
        }

        public override void Progress(TrainingProgress p)
        {
            if (_sinceShown.IsRunning && _sinceShown.Elapsed < Pace)
            {
                return;
            }

            _sinceShown.Restart();
            screen.Move(ProgressLine.Format(
                (p.Epoch - 1 + (double)p.Step / p.StepsPerEpoch) / Options.Epochs,
                [(0, Label ?? ""), (1, $"epoch {p.Epoch}/{Options.Epochs}"), (3, $"loss {Figures.Loss(p.Loss),7}"), (4, $"{p.Accuracy,8:P2}"), (2, Remaining(p.Epoch - 1, p.Step, p.StepsPerEpoch))],
                screen.MovingWidth));
        }

        protected override void Line(EpochRecord epoch, TrainingState state) => _table.Print(epoch, state.BestEpoch == epoch, screen);
    }
}
