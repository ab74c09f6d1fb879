using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

/// <summary>Shows the progress of a run: a line per epoch, or in a terminal a table and a bar.</summary>
internal class TrainingReporter(TrainingOptions options, string? label, bool isFirst, TextWriter output)
{
    private Stopwatch _clock = Stopwatch.StartNew();
    private int _startEpoch, _startStep, _stepsPerEpoch;

    protected TrainingOptions Options => options;

    /// <summary>Whether it is the first one of several that is trained now.</summary>
    protected bool IsFirst => isFirst;

    /// <summary>Which of several runs it is, such as "fold 2 of 5". Null for a single run.</summary>
    protected string? Label => label;

    /// <summary>Creates a reporter. With a label, for one of several runs, it shows the device once, and a line per run.</summary>
    public static TrainingReporter Create(bool quiet, TrainingOptions options, string? label = null, bool isFirst = true) =>
        !quiet && Screen.OfStandardError() is { } screen
            ? new LiveReporter(options, label, isFirst, screen)
            : new TrainingReporter(options, label, isFirst, quiet ? TextWriter.Null : Console.Error);

    public void Start(RunRecord record, RunFolder folder, int training, int validation, TrainingState state, string? whyCpu)
    {
        (_startEpoch, _startStep) = (state.Epoch, state.StepInEpoch);
        _clock = Stopwatch.StartNew();
        string device = $"{record.Device}, {Figures.Arithmetic(record.Precision, record.Cuda)} {whyCpu}".TrimEnd();
        if (label is not null)
        {
            if (isFirst)
            {
                Note("device", device);
            }

            return;
        }

        TrainingOptions o = record.Options;
        string digits = record.Data.Path is { } path
            ? $"{ThisProgram.Shortest(path)}: {Figures.Count(record.Data.Count, "digit")}"
            : $"{record.Data.Count:N0} built-in generated digits (no --data given)";
        Note("data", $"{digits}, {training:N0} to train on, {validation:N0} held out");
        string changed = string.Concat(TrainingField.All
            .Where(field => field is { IsRequired: false, Fact: not (null or TrainingField.Augmentation) })
            .Where(field => field.Name is not (nameof(o.Seed) or nameof(o.Validation)) && field.IsChanged(o) && field.Show(o) is not null)
            .Select(field => $", {field.Title} {field.Show(o)}"));
        Note("network", $"{o.Model}: {Figures.Count(o.Epochs, "epoch")} of {Figures.Count(o.StepsPerEpoch(training), "step")}, "
            + $"batch {o.BatchSize}, learning rate {TrainingField.Exact(o.Optimizer.LearningRate)} "
            + $"({TrainingField.Of(nameof(o.Schedule)).Show(o)}){changed}, "
            + $"augmentation {TrainingField.Describe(TrainingField.Augmentation, o)}, seed {o.Seed}");
        Note("device", device);
        string progress = state.Optimizer.Step == 0 ? ""
            : state.HasEnded(o) ? ", which has ended" : $", resumed after step {state.Optimizer.Step:N0}";
        Note("run", folder.Path + progress);
    }

    public virtual void Note(string label, string text) => output.WriteLine($"{label.PadRight(Screen.LabelWidth)}{text}");

    /// <summary>Prints after Ctrl-C how to go on, also with --quiet: in a terminal on a line of its own, to be copied.</summary>
    public virtual void Advise(string text, string command)
    {
        Interruption.LeaveEcho();
        Console.Error.WriteLine($"{text} {command}");
    }

    /// <summary>Prints how one of several runs has ended, and the time that the others will take; null after the last one.</summary>
    public virtual void RunEnd(double accuracy, TimeSpan? left) =>
        output.WriteLine($"{label}: {accuracy:P2}{(left is { } time ? $", about {Figures.Left(time)} left" : "")}");

    public virtual void Run(Action training) => training();

    public virtual void Progress(TrainingProgress p) => _stepsPerEpoch = p.StepsPerEpoch;

    public void EpochEnd(TrainingState state)
    {
        if (label is null)
        {
            Line(state.History[^1], state);
        }
    }

    protected virtual void Line(EpochRecord e, TrainingState state)
    {
        string epochs = $"{options.Epochs}", epoch = $"{e.Epoch}".PadLeft(epochs.Length);
        string validation = e.ValidationAccuracy is { } accuracy
            ? $"  validation {Figures.Loss(e.ValidationLoss!.Value),7} {accuracy,8:P2}" : "";
        string rate = Figures.Rate(e.LearningRate, options.Optimizer.LearningRate);
        string best = options.Split.HoldsOut && state.BestEpoch == e ? "best" : "    ";
        output.WriteLine((
            $"epoch {epoch}/{epochs}  train {Figures.Loss(e.TrainLoss),7} {e.TrainAccuracy,8:P2}{validation}  lr {rate}  "
            + $"{e.ImagesPerSecond,9:N0} images/s  {best}  {Remaining(state.Epoch, 0)}").TrimEnd());
    }

    /// <summary>"0:01:23 left", estimated from the speed since the start of this process. Empty at the end.</summary>
    protected string Remaining(int epochsDone, int step)
    {
        double done = (epochsDone - _startEpoch) * (double)_stepsPerEpoch + step - _startStep;
        double left = (options.Epochs - epochsDone) * (double)_stepsPerEpoch - step;
        return done <= 0 || left <= 0 ? "" : Figures.Left(TimeSpan.FromSeconds(_clock.Elapsed.TotalSeconds / done * left)) + " left";
    }

    /// <summary>For terminals: a table of the finished epochs, and a progress bar below it.</summary>
    private sealed class LiveReporter(TrainingOptions options, string? label, bool isFirst, Screen screen)
        : TrainingReporter(options, label, isFirst, Console.Error)
    {
        /// <summary>In a narrower terminal, the names of runs take the place of the time left, which the progress line has.</summary>
        private const int LeastWidthForTime = 50;

        private static readonly TimeSpan Pace = TimeSpan.FromSeconds(0.1);

        private readonly EpochTable _table = new(options.Epochs, options.Optimizer.LearningRate, options.Split.HoldsOut);
        private readonly Stopwatch _sinceShown = new();

        public override void Note(string label, string text) => screen.Line(label, text);

        public override void Advise(string text, string command) => screen.Line(Screen.Fit($"{text}\n  {command}", screen.Width));

        public override void RunEnd(double accuracy, TimeSpan? left)
        {
            bool isNarrow = screen.Width < LeastWidthForTime;
            if (IsFirst)
            {
                screen.Line(screen.Dim(isNarrow ? "accuracy  run" : "accuracy  time left  run"));
            }

            string timeLeft = isNarrow ? "" : $"{(left is { } time ? Figures.Left(time) : ""),9}  ";
            screen.Line(Screen.Cut($"{accuracy,8:P2}  {timeLeft}{Label}", screen.Width));
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
            base.Progress(p);
            if (_sinceShown.IsRunning && _sinceShown.Elapsed < Pace)
            {
                return;
            }

            _sinceShown.Restart();
            screen.Move(ProgressLine.Format(
                (p.Epoch - 1 + (double)p.Step / p.StepsPerEpoch) / Options.Epochs,
                [
                    (0, Label ?? ""), (1, $"epoch {p.Epoch}/{Options.Epochs}"), (3, $"loss {Figures.Loss(p.Loss),7}"),
                    (4, $"{p.Accuracy,8:P2}"), (2, Remaining(p.Epoch - 1, p.Step)),
                ],
                screen.MovingWidth));
        }

        protected override void Line(EpochRecord e, TrainingState state) => _table.Print(e, state.BestEpoch == e, screen);
    }
}
