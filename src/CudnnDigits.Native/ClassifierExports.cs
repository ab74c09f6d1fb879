using System.Collections.Concurrent;
using CudnnDigits.Data;
using CudnnDigits.Inference;

namespace CudnnDigits.Native;

/// <summary>Prediction for C; include/cudnn_digits.h describes every function.</summary>
internal static unsafe class ClassifierExports
{
    private const int LongestStride = int.MaxValue - DigitDataset.PixelCount;

    private static readonly Precision?[] Precisions = [null, Precision.Fp32, Precision.Tf32, Precision.Bf16];

    /// <summary>Keys are never used twice, so a destroyed classifier is recognised.</summary>
    private static readonly ConcurrentDictionary<nint, DigitClassifier> Classifiers = new();
    private static long _last;

    private static ClassifierStructure Defaults =>
        new() { StructSize = (nuint)sizeof(ClassifierStructure), BatchSize = new ClassifierOptions().BatchSize };

#if WINDOWS
    private static readonly byte* VersionText = (byte*)Marshal.StringToCoTaskMemUTF8(Checkpoint.Version);

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "version", CallConvs = [typeof(CallConvCdecl)])]
    public static byte* Version() => VersionText;
#endif

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "last_error", CallConvs = [typeof(CallConvCdecl)])]
    public static byte* LastErrorText() => LastError.Text;

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "classifier_options_init", CallConvs = [typeof(CallConvCdecl)])]
    public static int Init(ClassifierStructure* options) => LastError.StatusOf(() =>
    {
        Arguments.NotNull(options);
        *options = Defaults;
    });

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "create", CallConvs = [typeof(CallConvCdecl)])]
    public static int Create(byte* weights, ClassifierStructure* options, nint* classifier) => LastError.StatusOf(() =>
    {
        Arguments.NotNull(classifier);
        *classifier = 0;
        using NativePath path = NativePath.ToRead(weights, nameof(weights));
        path.Naming(() =>
        {
            DigitClassifier created = DigitClassifier.Load(path.Text, Read(options == null ? Defaults : *options));
            nint number = (nint)Interlocked.Increment(ref _last);
            Classifiers[number] = created;
            *classifier = number;
        });
    });

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "predict", CallConvs = [typeof(CallConvCdecl)])]
    public static int Predict(nint classifier, void* images, int pixelType, long stride, long count, float* logits)
    {
        try // here and below not LastError.StatusOf: its delegate would be an allocation in every call
        {
            DigitClassifier found = Find(classifier);
            bool bytes = PixelTypeOf(pixelType) == PixelType.UInt8;
            Arguments.Range(stride, 0, LongestStride);
            Arguments.Range(count, 0, long.MaxValue / sizeof(float) / Math.Max(stride, DigitDataset.PixelCount)); // what memory can address
            if (count > 0)
            {
                Arguments.NotNull(images);
                Arguments.NotNull(logits);
            }

            // A span has at most int.MaxValue elements.
            long most = (int.MaxValue - DigitDataset.PixelCount) / Math.Max(stride, DigitDataset.PixelCount) + 1;
            for (long done = 0; done < count; done += most)
            {
                int part = (int)Math.Min(most, count - done), pixels = (int)((part - 1) * stride) + DigitDataset.PixelCount;
                Span<float> to = new(logits + done * DigitDataset.Classes, part * DigitDataset.Classes);
                if (bytes)
                {
                    found.Predict(new ReadOnlySpan<byte>((byte*)images + done * stride, pixels), to, (int)stride);
                }
                else
                {
                    found.Predict(new ReadOnlySpan<float>((float*)images + done * stride, pixels), to, (int)stride);
                }
            }

            return (int)Status.Ok;
        }
        catch (Exception e)
        {
            return LastError.Set(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "predict_device", CallConvs = [typeof(CallConvCdecl)])]
    public static int PredictDevice(nint classifier, nint images, int pixelType, long stride, long count, nint logits, nint stream)
    {
        try
        {
            Arguments.Range(count, 0, int.MaxValue);
            Arguments.Range(stride, 0, LongestStride);
            Find(classifier).Enqueue(new ImageBatch(images, (int)count, PixelTypeOf(pixelType), stride), logits, stream);
            return (int)Status.Ok;
        }
        catch (Exception e)
        {
            return LastError.Set(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = Entry.Prefix + "destroy", CallConvs = [typeof(CallConvCdecl)])]
    public static int Destroy(nint classifier) => LastError.StatusOf(() =>
    {
        if (classifier != 0)
        {
            (Classifiers.TryRemove(classifier, out DigitClassifier? found) ? found : throw Unknown()).Dispose();
        }
    });

    public static Precision? PrecisionOf(int precision) => Arguments.Choice(precision, Precisions, nameof(precision));

    private static ClassifierOptions Read(ClassifierStructure options)
    {
        Arguments.Size(options.StructSize, sizeof(ClassifierStructure), "cudnn_digits_classifier_options");
        Arguments.Choice(options.Reserved, [0], "reserved");
        return new ClassifierOptions
        {
            Device = Arguments.Text(options.Device, "auto"),
            CudaContext = options.CudaContext,
            BatchSize = (int)Arguments.Range(options.BatchSize, 1, DigitClassifier.MostBatchSize, "batch_size"),
            Precision = PrecisionOf(options.Precision),
            Threads = options.Threads,
        };
    }

    private static PixelType PixelTypeOf(int pixelType) => Arguments.Choice(pixelType, [PixelType.UInt8, PixelType.Float32], "pixel_type");

    private static DigitClassifier Find(nint classifier) =>
        Classifiers.TryGetValue(classifier, out DigitClassifier? found) ? found : throw Unknown();

    private static ArgumentException Unknown() => new("classifier is not valid: it was never created, or has been destroyed");
}
