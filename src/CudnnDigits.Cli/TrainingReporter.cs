using System.Diagnostics;
using System.Globalization;
using CudnnDigits.Training;
using Spectre.Console;

namespace CudnnDigits.Cli;

/// <summary>Tells on standard error how a run goes: nothing, a line per epoch, or a live display in a terminal.</summary>
internal class TrainingReporter
{
    private Stopwatch _clock = Stopwatch.StartNew();
    private int _startEpoch, _startStep;
    private string? _label;

    protected TrainingReporter(int epochs) => Epochs = epochs;

    protected int Epochs { get; }

    public static TrainingReporter Create(bool quiet, int epochs) =>
        quiet ? new TrainingReporter(epochs) : Console.IsErrorRedirected ? new PlainReporter(epochs) : new LiveReporter(epochs);

    /// <summary>For a run among several, where a line each is enough: a live bar in a terminal, nothing but notes in a pipe.</summary>
    /// <param name="quiet">No progress at all.</param>
    /// <param name="epochs">Epochs of the run.</param>
    /// <param name="label">What it is: "fold 2 of 5".</param>
    public static TrainingReporter CreateBrief(bool quiet, int epochs, string label)
    {
        TrainingReporter reporter = Create(quiet, epochs);
        reporter._label = label;
        return reporter;
    }

    public void Start(RunRecord record, RunFolder folder, int training, int validation, TrainingState state, string? whyCpu)
    {
        (_startEpoch, _startStep) = (state.Epoch, state.StepInEpoch);
        _clock = Stopwatch.StartNew();
        if (_label is not null)
        {
            return;
        }

        TrainingOptions o = record.Options;
        Note(record.Data.Path is { } path
            ? $"data      {path}: {record.Data.Count:N0} digits, {training:N0} to train on, {validation:N0} held out"
            : $"data      built-in generated digits (no --data given): {record.Data.Count:N0}, {training:N0} to train on, {validation:N0} held out");
        string augmentation = o.Augmentation.IsEnabled ? $"±{o.Rotate}°, ±{o.Shift:P0} shift, ±{o.Zoom:P0} zoom" : "none";
        Note($"network   {o.Model}: {o.Epochs} epochs of {o.StepsPerEpoch(training):N0} steps, batch {o.BatchSize}, {CommonOptions.ScheduleName(o.Schedule)} to {o.LearningRate}{(o.WeightDecay > 0 ? $", weight decay {o.WeightDecay}" : "")}, augmentation {augmentation}, seed {o.Seed}");
        Note($"device    {record.Device}, {record.Precision.ToString().ToLowerInvariant()}{(whyCpu is null ? "" : $"; not on a GPU: {whyCpu}")}");
        Note($"run       {folder.Path}{(state.Optimizer.Step > 0 ? $", resumed after step {state.Optimizer.Step:N0}" : "")}");
    }

    public virtual void Note(string line)
    {
    }

    public virtual void Run(Action training) => training();

    public virtual void Progress(TrainingProgress progress)
    {
    }

    public void EpochEnd(TrainingState state)
    {
        if (_label is null)
        {
            Line(state);
        }
    }

    /// <summary>A line for a finished epoch.</summary>
    protected virtual void Line(TrainingState state)
    {
    }

    /// <summary>What the run is among several, to begin a line with; empty for one by itself.</summary>
    protected string Prefix => _label is null ? "" : _label + "  ";

    protected static string Describe(TrainingState state, int epochs)
    {
        EpochRecord e = state.History[^1];
        string validation = e.ValidationAccuracy is null ? "" : $"  validation {e.ValidationLoss:F4} {e.ValidationAccuracy.Value:P2}";
        string best = state.BestEpoch == e ? "  best" : "";
        return $"epoch {e.Epoch.ToString(CultureInfo.InvariantCulture).PadLeft(epochs.ToString(CultureInfo.InvariantCulture).Length)}/{epochs}"
            + $"  train {e.TrainLoss:F4} {e.TrainAccuracy:P2}{validation}  lr {e.LearningRate:G3}  {e.ImagesPerSecond:N0} images/s{best}";
    }

    /// <summary>"0:01:23 left", from the pace since the start of this process; empty at the end.</summary>
    protected string Remaining(int epochsDone, int step, int stepsPerEpoch)
    {
        double done = (epochsDone - _startEpoch) * (double)stepsPerEpoch + step - _startStep;
        double left = (Epochs - epochsDone) * (double)stepsPerEpoch - step;
        return done <= 0 || left <= 0
            ? ""
            : TimeSpan.FromSeconds(_clock.Elapsed.TotalSeconds / done * left).ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture) + " left";
    }

    /// <summary>For pipes and logs: plain lines.</summary>
    private sealed class PlainReporter(int epochs) : TrainingReporter(epochs)
    {
        private int _stepsPerEpoch;

        public override void Note(string line) => Console.Error.WriteLine(line);

        public override void Progress(TrainingProgress progress) => _stepsPerEpoch = progress.StepsPerEpoch;

        protected override void Line(TrainingState state) =>
            Console.Error.WriteLine($"{Describe(state, Epochs)}  {Remaining(state.Epoch, 0, _stepsPerEpoch)}".TrimEnd());
    }

    /// <summary>For terminals: a line per finished epoch, and a bar below them.</summary>
    private sealed class LiveReporter(int epochs) : TrainingReporter(epochs)
    {
        private readonly IAnsiConsole _console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        private ProgressTask? _task;

        public override void Note(string line) => _console.WriteLine(line);

        public override void Run(Action training) => _console.Progress()
            .AutoClear(true)
            .Columns(new ProgressBarColumn { Width = 30 }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                _task = context.AddTask("first steps", maxValue: 1);
                training();
            });

        public override void Progress(TrainingProgress p)
        {
            _task!.Value = (p.Epoch - 1 + (double)p.Step / p.StepsPerEpoch) / Epochs;
            _task.Description = Markup.Escape(
                $"{Prefix}epoch {p.Epoch}/{Epochs}  loss {p.Loss:F4}  {p.Accuracy:P2}  {Remaining(p.Epoch - 1, p.Step, p.StepsPerEpoch)}");
        }

        protected override void Line(TrainingState state) => _console.WriteLine(Describe(state, Epochs));
    }
}
