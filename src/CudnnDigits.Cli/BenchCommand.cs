using CudnnDigits.Cli.Terminal;
using CudnnDigits.Cuda;

namespace CudnnDigits.Cli;

internal static class BenchCommand
{
    private const int Repetitions = 7, Digits = 4096;

    /// <summary>On the CPU, the runtime compiles hot methods again within some tenths of a second; a GPU's graph is warm sooner.</summary>
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(0.5), WarmUpOnGpu = TimeSpan.FromSeconds(0.2);

    private static readonly Option<int?> BatchSize =
        CommonOptions.Ranged("--batch-size", "N", "Digits in a step. Default: 64.", 1, CommonOptions.MostBatch);

    private static readonly Option<int?> Steps =
        CommonOptions.Ranged("--steps", "N", "Steps in each of the 7 repetitions. Default: 20.", 1, 100_000);

    private static readonly Option<string?> Augment =
        CommonOptions.Choice("--augment", "Augmentation of the training steps. Default: none.", "none", "standard");

    private static readonly Option<bool> Profile = CommonOptions.Flag(
        "--profile", "On a GPU: start and stop a waiting profiler (nsys, ncu) around one repetition.");

    private static readonly Option<bool> Layers = CommonOptions.Flag(
        "--layers",
        "On the CPU: a table of the operations, each with its time and its floor, the least time that multiply-adds or memory allow.");

    public static Command Create() => CommonOptions.NewCommand(
        "bench", "Measure images per second: median of 7 repetitions after a warm-up.",
        [CommonOptions.Model, BatchSize, Steps, Augment, Profile, Layers, .. Machine.Options, CommonOptions.Json], Run);

    private static void Run(ParseResult result)
    {
        NetworkSpec network = DigitNetworks.Find(result.GetValue(CommonOptions.Model) ?? DigitNetworks.Default.Name)!;
        bool layers = result.GetValue(Layers);
        Machine machine = Machine.From(result, layers ? "cpu" : "auto");
        if (machine.Device == "cpu" && result.GetValue(Profile))
        {
            throw Machine.IsForGpus(Profile);
        }

        int batch = result.GetValue(BatchSize) ?? 64, steps = result.GetValue(Steps) ?? 20;
        int threads = machine.Threads > 0 ? machine.Threads : Math.Min(Environment.ProcessorCount, BackendOptions.MostThreads);
        AugmentationSpec augmentation = result.GetValue(Augment) == "standard" ? AugmentationSpec.Standard : AugmentationSpec.None;
        using ITrainingBackend backend = machine.CreateBackend(
            network, new BackendOptions(batch, 0, augmentation, threads) { LayerTimes = layers }, out string? whyCpu);
        CommonOptions.Note("device", whyCpu is null ? null : $"CPU {whyCpu}");
        CommonOptions.Note("note", whyCpu is null || !result.GetValue(Profile) ? null : $"{Profile.Name} has no effect on the CPU");
        backend.Load(Initializer.Create(network, seed: 0), new OptimizerState(network));

        DigitDataset data = GeneratedDigits.Create(Digits);
        int[] rows = [.. Enumerable.Range(0, steps * batch).Select(i => i % data.Count)];
        float[] rates = [.. Enumerable.Repeat(1e-3f, steps)], logits = new float[rows.Length * DigitDataset.Classes];
        if (layers)
        {
            RunLayers(result, backend, rows.Length, Begin + (Action)Train + Predict);
            return;
        }

        CudaBackend? profiled = result.GetValue(Profile) ? backend as CudaBackend : null;
        TimeSpan warmUp = backend.CudaDetails is null ? WarmUp : WarmUpOnGpu;
        double train = Median(warmUp, profiled, Begin, Train), infer = Median(warmUp, profiled, () => { }, Predict);
        BenchResult bench = new(
            network.Name, backend.Device, threads, batch, Math.Round(rows.Length / train, 1), Math.Round(rows.Length / infer, 1),
            steps, profiled is null ? Repetitions : 1, backend.Precision, augmentation.IsEnabled ? "standard" : "none",
            "resident uint8 digits", backend.CudaDetails?.MemoryBytes, backend.CudaDetails?.Algorithms,
            backend.CudaDetails?.Kernels);
        string arithmetic = Figures.Arithmetic(bench.Precision, backend.CudaDetails);
        string repetitions = profiled is null ? $"median of {Repetitions} repetitions" : "one repetition";
        CliJson.Print(
            result, bench,
            $"{bench.Model} on {bench.Device}, batch {batch}, {arithmetic}, augmentation {bench.Augmentation}\n"
                + $"training   {bench.TrainImagesPerSecond,10:N0} images/s\ninference  {bench.InferImagesPerSecond,10:N0} images/s\n"
                + (bench.DeviceMemoryBytes is { } bytes ? $"memory     {bytes >> 20,10:N0} MiB of the GPU's\n" : "")
                + $"{repetitions} of {Figures.Count(steps, "step")} after a warm-up, on resident data",
            mustArrive: true);

        void Begin() => backend.BeginEpoch(data, 0, rows, default);

        void Train()
        {
            backend.RunSteps(0, rates);
            backend.ReadSums();
        }

        void Predict() => backend.Predict(data, rows, logits);
    }

    private static void RunLayers(ParseResult result, ITrainingBackend backend, int images, Action body)
    {
        ILayerTimes clock = backend as ILayerTimes ?? throw new InputException(
            "--layers measures the CPU; on a GPU, docs/profiling.md shows how to see each kernel; leave out --device or --layers");
        Warm(WarmUp, body);
        clock.ReadLayerTimes(); // discards the times of the warm-up
        for (int i = 0; i < Repetitions; i++)
        {
            body();
        }

        IReadOnlyList<LayerTime> times = clock.ReadLayerTimes();
        Ceilings ceilings = clock.MeasureCeilings();
        LayerRow[] Rows(bool inference) => LayerReport.Rows(
            times.Where(time => time.Inference == inference), ceilings, clock.Workers, images * Repetitions);
        LayerResult bench = new(
            backend.Network.Name, backend.Device, backend.BatchSize, Math.Round(ceilings.FlopsPerSecond / 1e9, 1),
            Math.Round(ceilings.BytesPerSecond / 1e9, 1), Rows(inference: false), Rows(inference: true));
        string limits = $"{bench.PeakGflops:F0} GFLOP/s of multiply-adds, {bench.CopyGigabytesPerSecond:F0} GB/s of copying";
        CliJson.Print(
            result, bench,
            $"{bench.Model} on {bench.Device}, batch {bench.BatchSize}; limits: {limits}\nper digit\n\n"
                + $"training\n\n{LayerReport.Format(bench.Training, Screen.OutputWidth)}\n\n"
                + $"inference\n\n{LayerReport.Format(bench.Inference, Screen.OutputWidth)}",
            mustArrive: true);
    }

    /// <summary>Median seconds of the body after a warm-up, without the preparation. With a profiled backend, one profiled run.</summary>
    private static double Median(TimeSpan warmUp, CudaBackend? profiled, Action prepare, Action body)
    {
        Warm(warmUp, prepare + body);
        double[] seconds = new double[profiled is null ? Repetitions : 1];
        using IDisposable? range = profiled?.Profile();
        for (int i = 0; i < seconds.Length; i++)
        {
            prepare();
            long start = Stopwatch.GetTimestamp();
            body();
            seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        return seconds.Order().ElementAt(seconds.Length / 2);
    }

    private static void Warm(TimeSpan time, Action body)
    {
        for (long begin = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(begin) < time;)
        {
            body();
        }
    }
}
