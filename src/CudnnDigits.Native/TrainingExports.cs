using CudnnDigits.Data;
using CudnnDigits.Files;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits.Native;

/// <summary>Training for C; include/cudnn_digits.h describes every function.</summary>
internal static unsafe class TrainingExports
{
    /// <summary>The networks' names in UTF-8, which stay where they are for good.</summary>
    private static readonly Dictionary<string, nint> ModelNames =
        DigitNetworks.Names.ToDictionary(name => name, Marshal.StringToCoTaskMemUTF8);

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "training_options_init", CallConvs = [typeof(CallConvCdecl)])]
    public static int Init(TrainingStructure* options, byte* model) => LastError.StatusOf(() =>
    {
        Arguments.NotNull(options);
        *options = Defaults(model);
    });

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "train_from_file", CallConvs = [typeof(CallConvCdecl)])]
    public static int TrainFromFile(
        byte* data, TrainingStructure* options, byte* weights, MetricsStructure* metrics) => LastError.StatusOf(() =>
    {
        using NativePath path = NativePath.ToRead(data, nameof(data));
        path.Naming(() => Train(() => DataSource.Open(path.Text, DataPart.Training), path.Text, options, weights, metrics));
    });

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "train_from_memory", CallConvs = [typeof(CallConvCdecl)])]
    public static int TrainFromMemory(
        byte* images, byte* labels, long count, TrainingStructure* options, byte* weights, MetricsStructure* metrics) =>
        LastError.StatusOf(() =>
    {
        Arguments.Range(count, 1, Array.MaxLength / DigitDataset.PixelCount);
        Arguments.NotNull(images);
        Arguments.NotNull(labels);
        Train(Copy, file: null, options, weights, metrics);

        DigitDataset Copy()
        {
            ReadOnlySpan<byte> pixels = new(images, (int)count * DigitDataset.PixelCount);
            return new DigitDataset("the caller's digits", pixels.ToArray(), new ReadOnlySpan<byte>(labels, (int)count).ToArray());
        }
    });

    private static void Train(Func<DigitDataset> open, string? file, TrainingStructure* given, byte* weights, MetricsStructure* metrics)
    {
        TrainingStructure structure = given == null ? Defaults(model: null) : *given;
        TrainingOptions options = Read(structure);
        using NativePath target = NativePath.ToWrite(weights, nameof(weights));
        target.Naming(() =>
        {
            CheckTarget(target, file);
            TrainedNetwork trained = Train(open(), structure, options);
            target.Write(trained.Save);
            if (metrics != null)
            {
                Metrics scored = trained.Metrics;
                *metrics = new() { Accuracy = scored.Accuracy, Loss = scored.Loss, Samples = scored.Samples, Epoch = trained.Epoch };
            }
        });
    }

    private static TrainedNetwork Train(DigitDataset data, TrainingStructure structure, TrainingOptions options)
    {
        DeviceOptions device = new()
        {
            Device = Arguments.Text(structure.Device, "auto"),
            CudaContext = structure.CudaContext,
            Precision = ClassifierExports.PrecisionOf(structure.Precision),
            Threads = structure.Threads,
            Deterministic = structure.Deterministic != 0,
        };
        using CancellationTokenSource cancellation = new();
        int steps = 0;
        return DigitTrainer.Train(
            data, options, device,
            onEpochEnd: e => Report(e.Epoch, steps, steps, e.TrainLoss, e.TrainAccuracy, e.ValidationAccuracy ?? double.NaN),
            onProgress: p => Report(p.Epoch, p.Step, steps = p.StepsPerEpoch, p.Loss, p.Accuracy, double.NaN),
            cancellation: cancellation.Token);

        void Report(int epoch, int step, int stepsPerEpoch, double loss, double accuracy, double validation)
        {
            ProgressStructure progress = new() { Epoch = epoch, Epochs = options.Epochs, Step = step, StepsPerEpoch = stepsPerEpoch };
            (progress.Loss, progress.Accuracy, progress.ValidationAccuracy) = (loss, accuracy, validation);
            if (structure.Callback != null && !cancellation.IsCancellationRequested && structure.Callback(&progress, structure.User) != 0)
            {
                cancellation.Cancel();
            }
        }
    }

    private static TrainingStructure Defaults(byte* model)
    {
        TrainingOptions defaults = For(model);
        TrainingStructure structure = new()
        {
            StructSize = (nuint)sizeof(TrainingStructure),
            Model = (byte*)ModelNames[defaults.Model],
            Epochs = defaults.Epochs,
            BatchSize = defaults.BatchSize,
        };
        foreach ((int i, TrainingField field) in TrainingNumbers.Fields.Index())
        {
            structure.Numbers[i] = field.AsNumber!(defaults) ?? double.NaN;
        }

        return structure;
    }

    private static TrainingOptions Read(in TrainingStructure given)
    {
        Arguments.Size(given.StructSize, sizeof(TrainingStructure), "cudnn_digits_training_options");
        TrainingOptions options = For(given.Model) with { Epochs = given.Epochs, BatchSize = given.BatchSize, Seed = given.Seed };
        foreach ((int i, TrainingField field) in TrainingNumbers.Fields.Index())
        {
            double value = given.Numbers[i];
            options = field.IsNullable && double.IsNaN(value)
                ? options
                : field.Parse(options, value.ToString(CultureInfo.InvariantCulture))!;
        }

        return options;
    }

    /// <summary>The defaults of a network by its name in UTF-8; null names the default network.</summary>
    private static TrainingOptions For(byte* model) => TrainingOptions.For(Arguments.Text(model, DigitNetworks.Default.Name));

    /// <summary>Refuses, before anything is trained, a path that cannot be written or that holds the digits.</summary>
    private static void CheckTarget(NativePath target, string? data)
    {
        if (DataSource.FilesOf(data).Any(file => OutputPlace.IsSame(file, target.Target)))
        {
            throw new InputException($"{target.Text}: is a file that the digits are read from; choose another for the weights");
        }

        AtomicFile.CheckWritable(target.Text);
    }
}
