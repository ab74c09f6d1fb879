using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Tests;

/// <summary>
/// Every call that training, evaluation and prediction make of driver, cuBLAS and cuDNN fails once, and every kernel: one in a run, as the
/// software device is told; <see cref="Mutations.Factor"/> multiplies how many.
/// </summary>
public sealed unsafe partial class FailureTests : IDisposable
{
    private const int OutOfMemory = 2, IllegalAddress = 700, LaunchFailed = 719;

    /// <summary>The longest that a run may take which fails; one takes some hundredths of a second.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private static readonly DigitDataset Digits = GeneratedDigits.Create(10, seed: 11);

    /// <summary>All kinds of layers, and so little to do that a failure costs nothing else.</summary>
    internal static readonly NetworkSpec Small = new("small", new Shape(1, 28, 28),
    [
        new Conv2dLayer("conv1", 1, 8, 3, 1, false), new BatchNorm2dLayer("bn1", 8), new ReLULayer("relu1"), new MaxPool2dLayer("pool1", 2),
        new Conv2dLayer("conv2", 8, 8, 3, 0, true), new ReLULayer("relu2"), new MaxPool2dLayer("pool2", 2), new DropoutLayer("drop1", 0.1),
        new FlattenLayer("flatten"), new LinearLayer("fc1", 288, 16), new ReLULayer("relu3"), new DropoutLayer("drop2", 0.2),
        new LinearLayer("fc2", 16, 10),
    ]);

    public FailureTests()
    {
        Gpu.RequireSoftware(); // it can be told to fail
        GC.Collect(); // what other tests have forgotten
        GC.WaitForPendingFinalizers();
        Plan("");
        Assert.Equal("", Read("softcuda_alive"));
    }

    /// <summary>
    /// What is done, with which network, in which arithmetic, by whose kernels; how many calls fail where N is 1, 0 for each
    /// of them.
    /// </summary>
    public static TheoryData<string, string, Precision, string, int> Work => new()
    {
        { "train", "small", Precision.Fp32, nameof(CudaKernels.Layered), 0 },
        { "train", "small", Precision.Tf32, nameof(CudaKernels.Fused), 0 },
        { "predict", "small", Precision.Bf16, nameof(CudaKernels.Fused), 0 },
        { "enqueue", "small", Precision.Fp32, nameof(CudaKernels.Layered), 0 },
        { "train", "simple", Precision.Fp32, nameof(CudaKernels.Layered), 5 },
        { "predict", "simple", Precision.Bf16, nameof(CudaKernels.Layered), 5 },
        { "train", "improved", Precision.Fp32, nameof(CudaKernels.Layered), 2 },
        { "train", "improved", Precision.Bf16, nameof(CudaKernels.Fused), 1 },
        { "predict", "improved", Precision.Bf16, nameof(CudaKernels.Fused), 5 },
    };

    public void Dispose() => Plan("");

    [Theory]
    [MemberData(nameof(Work))]
    public void A_failure_anywhere_is_said_in_one_line_leaves_nothing_behind_and_changes_nothing(string work, string network,
        Precision precision, string kernels, int count)
    {
        NetworkSpec spec = DigitNetworks.Find(network) ?? Small;
        Func<string, float[]?> run = device => work switch
        {
            "train" => Train(device, spec, precision, kernels),
            "predict" => Predict(device, spec, precision, kernels),
            _ => Enqueue(device, spec, precision, kernels),
        };
        float[]? expected = run("cuda");
        Failure[] failures = Order(Read("softcuda_called"));
        count = (int)((count == 0 ? failures.DistinctBy(failure => failure.Call).Count() : count) * Mutations.Factor);
        for (int i = 0; i < Math.Min(count, failures.Length); i++)
        {
            string device = i % 3 == 2 ? "auto" : "cuda",
            what = $"{work} {network} {precision} {kernels} on {device}, SOFTCUDA_FAIL={failures[i]}";
            Plan($"{failures[i]}");
            (float[]? actual, Exception? e) = Watch(() => run(device), what);
            string alive = Read("softcuda_alive");
            Assert.True(alive.Length == 0, $"{what}: not given back: {alive.ReplaceLineEndings(", ")}after {e?.Message ?? "success"}");
            bool isOfCaller = e is CudaUnavailableException && work == "enqueue"; // who opens the device himself
            Assert.True(isOfCaller || e is null or CudaException or InputException, $"{what}: {e}");
            Assert.True(e is null || (e.Message.Length > 0 && !e.Message.Contains('\n', StringComparison.Ordinal)),
                $"{what}: {e?.Message}");
            Assert.True(failures[i].Status != OutOfMemory || e is null
                || e.Message.Contains("close other programs", StringComparison.Ordinal), $"{what}: {e?.Message}");
            Assert.True(e is not null || actual is null || failures[i].MayGoUnnoticed || actual.AsSpan().SequenceEqual(expected),
                $"{what}: another result, and no word of it");
            Plan("");
            if ((spec == Small && i % 4 == 0) || i == count - 1)
            {
                Assert.True(run("cuda").AsSpan().SequenceEqual(expected), $"{what}: another result of the run after it");
            }
        }
    }

    [Fact]
    public void What_a_living_backend_cannot_make_is_given_back_at_once_and_can_be_made_later()
    {
        BackendOptions options = new(2, 3, AugmentationSpec.None) { Precision = Precision.Fp32, Kernels = CudaKernels.Layered };
        using ITrainingBackend backend = Gpu.Create(Small, options);
        backend.Load(Initializer.Create(Small, 0), new OptimizerState(Small));
        string before = Read("softcuda_alive");
        Plan("cuMemHostAlloc:1:2"); // for the digits on their way, when there is room for them already
        Assert.Throws<CudaException>(() => backend.BeginEpoch(Digits, 0, [0, 1], default));
        Assert.Equal(before, Read("softcuda_alive"));
        Plan("");
        backend.BeginEpoch(Digits, 0, [0, 1], default);
        before = Read("softcuda_alive");
        Plan("cudnnGetBatchNormalizationTrainingExReserveSpaceSize:1:5000"); // for the step of one sample that is left over
        Assert.Throws<CudaException>(() => backend.BeginEpoch(Digits, 0, [0, 1, 2], default));
        Assert.Equal(before, Read("softcuda_alive"));
        backend.BeginEpoch(Digits, 0, [0, 1, 2], default);
    }

    [Fact]
    public void To_dispose_twice_is_to_dispose_once()
    {
        ITrainingBackend backend = Gpu.Create(Small, new BackendOptions(2, 3, AugmentationSpec.None) { Precision = Precision.Fp32 });
        backend.Dispose();
        Assert.Equal("", Read("softcuda_alive"));
        backend.Dispose();
        Assert.Equal("", Read("softcuda_alive"));
        Assert.Throws<ObjectDisposedException>(() => backend.ReadSums());
    }

    /// <summary>Failures in an order of their own, always the same: first one for each call, then a second one, and so on.</summary>
    /// <param name="called">What the work calls, a line "name n" for each.</param>
    private static Failure[] Order(string called)
    {
        Random random = new(27);
        List<(int Round, int Place, Failure Failure)> failures = [];
        foreach (string[] line in called.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ')))
        {
            int last = int.Parse(line[1], CultureInfo.InvariantCulture);
            Failure[] ofCall = [.. from n in new[] { 1, 2, (last + 1) / 2, last }.Where(n => n <= last).Distinct()
                from status in Statuses(line[0]) select new Failure(line[0], n, status)];
            random.Shuffle(ofCall);
            failures.AddRange(ofCall.Select((failure, round) => (round, random.Next(), failure)));
        }

        return [.. failures.OrderBy(entry => (entry.Round, entry.Place)).Select(entry => entry.Failure)];
    }

    /// <summary>
    /// What a call may return: what a device recovers from, and what it does not; where it is to give something, also success
    /// without (0).
    /// </summary>
    private static IEnumerable<int> Statuses(string call)
    {
        int[] statuses = call.StartsWith("cublas", StringComparison.Ordinal) ? [3, 13, IllegalAddress]
            : call.StartsWith("cudnn", StringComparison.Ordinal) ? [2000, 3000, 5000, IllegalAddress]
            : call.StartsWith("cu", StringComparison.Ordinal) ? [1, OutOfMemory, 999, IllegalAddress, LaunchFailed]
            : [IllegalAddress, LaunchFailed];
        return Giving().IsMatch(call) ? statuses.Append(0) : statuses;
    }

    [GeneratedRegex("Create|Retain|Alloc|LoadDataEx|GetFunction|EndCapture|Instantiate|GetCount|GetVersion|GetInfo|GetAttribute|"
        + "SpaceSize|WorkspaceSize|Algorithm_v7|GetProperty")]
    private static partial Regex Giving();

    /// <summary>A run in a thread of its own, as one that hangs would hang the tests.</summary>
    private static (float[]? Result, Exception? Exception) Watch(Func<float[]?> run, string what)
    {
        (float[]?, Exception?) outcome = default;
        Thread thread = new(() =>
        {
            try
            {
                outcome = (run(), null);
            }
            catch (Exception e)
            {
                outcome = (null, e);
            }
        })
        { IsBackground = true };
        thread.Start();
        Assert.True(thread.Join(Patience), $"{what}: hangs");
        return outcome;
    }

    /// <summary>
    /// Everything that comes out of an epoch and an evaluation, or null where it was the CPU. The small network has a second
    /// step, of one sample.
    /// </summary>
    private static float[]? Train(string device, NetworkSpec network, Precision precision, string kernels)
    {
        BackendOptions options =
            new(2, 3, AugmentationSpec.Standard) { Precision = precision, Deterministic = true, Kernels = Gpu.Kernels(kernels) };
        using ITrainingBackend backend = BackendFactory.Create(device, network, options, out string? whyCpu);
        Assert.Equal(backend.CudaDetails is null, whyCpu is not null);
        NetworkWeights weights = Initializer.Create(network, 0);
        OptimizerState optimizer = new(network);
        backend.Load(weights, optimizer);
        backend.BeginEpoch(Digits, 0, network == Small ? [0, 1, 2] : [0, 1], default);
        backend.RunSteps(0, network == Small ? [1e-3f, 1e-3f] : [1e-3f]);
        EpochSums sums = backend.ReadSums();
        backend.Save(weights, optimizer);
        float[] logits = new float[3 * DigitDataset.Classes];
        backend.Predict(Digits, [3, 4, 5], logits);
        return whyCpu is null
            ? [(float)sums.Loss, .. logits, .. weights.Trained, .. weights.Statistics, .. optimizer.Buffers[0], .. optimizer.Buffers[1]]
            : null;
    }

    /// <summary>Logits of three images in two calls of the device; null where it was the CPU.</summary>
    private static float[]? Predict(string device, NetworkSpec network, Precision precision, string kernels)
    {
        ClassifierOptions options = new() { Device = device, BatchSize = 2, Precision = precision, Kernels = Gpu.Kernels(kernels) };
        using DigitClassifier classifier = new(Initializer.Create(network, 0), options);
        float[] logits = new float[3 * DigitDataset.Classes];
        classifier.Predict(Digits, [3, 4, 5], logits);
        return classifier.WhyCpu is null ? logits : null;
    }

    /// <summary>Logits of two images in a caller's context, on his stream and in his graph; null where it was the CPU.</summary>
    private static float[]? Enqueue(string device, NetworkSpec network, Precision precision, string kernels)
    {
        const int Count = 2, Bytes = Count * DigitDataset.PixelCount, Logits = Count * DigitDataset.Classes;
        using CudaContext context = CudaDevice.Open(0);
        using CudaContext.Scope scope = context.Enter();
        CudaStream stream = new(context.Handles);
        DeviceMemory images = new(context.Handles, Bytes), logits = new(context.Handles, 2 * Logits * sizeof(float));
        PinnedMemory staging = new(context.Handles, Bytes);
        ClassifierOptions options =
            new()
            {
                Device = device,
                CudaContext = context.DangerousGetHandle(),
                BatchSize = Count,
                Precision = precision,
                Kernels = Gpu.Kernels(kernels)
            };
        using DigitClassifier classifier = new(Initializer.Create(network, 0), options);
        if (classifier.WhyCpu is not null)
        {
            return null;
        }

        Digits.Pixels[..Bytes].CopyTo(new Span<byte>(staging.Pointer, Bytes));
        stream.Upload(images.Value, staging.Pointer, Bytes);
        classifier.Enqueue(new ImageBatch(images.Value, Count), logits.Value, stream.Value);
        using CudaGraph graph = CudaGraph.Capture(
            context.Handles, stream,
            () => classifier.Enqueue(new ImageBatch(images.Value, Count), logits.Value + (Logits * sizeof(float)), stream.Value));
        graph.Launch(stream.Value);
        stream.Download(staging.Pointer, logits.Value, 2 * Logits * sizeof(float));
        stream.Synchronize();
        return new ReadOnlySpan<float>(staging.Pointer, 2 * Logits).ToArray();
    }

    /// <summary>Has the device fail from now on as SOFTCUDA_FAIL says it, and not as before; it recovers from what there was.</summary>
    private static void Plan(string failures)
    {
        var plan = (delegate* unmanaged<byte*, void>)Gpu.SoftwareExport("softcuda_fail");
        fixed (byte* text = Encoding.UTF8.GetBytes(failures + "\0"))
        {
            plan(text);
        }
    }

    /// <summary>The text that one of the software device's functions writes.</summary>
    private static string Read(string function)
    {
        const int Length = 16384;
        byte* text = stackalloc byte[Length];
        int length = (int)((delegate* unmanaged<byte*, nuint, nuint>)Gpu.SoftwareExport(function))(text, Length);
        return Encoding.UTF8.GetString(text, length);
    }

    /// <summary>The n-th of these calls returns a status.</summary>
    private sealed record Failure(string Call, int N, int Status)
    {
        /// <summary>
        /// Where nothing was done but said to be; and where cuDNN cannot do what it has proposed, as something else is taken
        /// then.
        /// </summary>
        public bool MayGoUnnoticed => Status is 0 or 3000;

        public override string ToString() => $"{Call}:{N}:{Status}";
    }
}
