using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Tests;

/// <summary>Prediction inside a caller's pipeline: his context, his streams, his graphs.</summary>
public sealed unsafe class ClassifierTests
{
    private const int Count = 10, Batch = 4, Logits = Count * DigitDataset.Classes;

    private static readonly DigitDataset Digits = GeneratedDigits.Create(Count, seed: 4);

    public static TheoryData<string, Precision, PixelType, int> Cases => new MatrixTheoryData<string, Precision, PixelType, int>(
        ["simple", "improved"], [Precision.Fp32, Precision.Tf32, Precision.Bf16], [PixelType.UInt8, PixelType.Float32], [784, 1001]);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Prediction_from_device_memory_is_that_from_the_host_to_the_bit(string name, Precision precision, PixelType type, int stride)
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights(name), precision);
        (byte[] bytes, float[] floats) = Spread(stride);
        float[] fromHost = new float[Logits];
        if (type == PixelType.UInt8)
        {
            classifier.Predict(bytes, fromHost, stride);
        }
        else
        {
            classifier.Predict(floats, fromHost, stride);
        }

        nint images = caller.Upload(type == PixelType.UInt8 ? bytes : MemoryMarshal.AsBytes<float>(floats)),
        logits = caller.Allocate(Logits * sizeof(float));
        classifier.Enqueue(new ImageBatch(images, Count, type, stride), logits, caller.Stream.Value);
        Assert.Equal(fromHost, caller.Download(logits));
    }

    [Theory]
    [InlineData(-784, 9)] // the last one first
    [InlineData(0, 5)] // the same one again and again
    [InlineData(28, 0)] // windows that overlap
    public void Any_stride_will_do(int stride, int first)
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights("simple"));
        byte[] packed = [.. Enumerable.Range(0, Count)
            .SelectMany(n => Digits.Pixels.Slice(first * DigitDataset.PixelCount + n * stride, DigitDataset.PixelCount).ToArray())];
        float[] expected = new float[Logits];
        classifier.Predict(packed, expected);
        nint images = caller.Upload(Digits.Pixels), logits = caller.Allocate(Logits * sizeof(float));
        classifier.Enqueue(new ImageBatch(images + first * DigitDataset.PixelCount, Count, PixelType.UInt8, stride), logits,
            caller.Stream.Value);
        Assert.Equal(expected, caller.Download(logits));
    }

    [Theory]
    [InlineData("simple")]
    [InlineData("improved")]
    public void In_fp32_it_reads_as_the_CPU_does(string name)
    {
        using Pipeline caller = new();
        using DigitClassifier onGpu = caller.Classifier(Weights(name), Precision.Fp32),
        onCpu = new(Weights(name), new ClassifierOptions { Device = "cpu" });
        float[] actual = new float[Logits], expected = new float[Logits];
        onGpu.Predict(Digits.Pixels, actual);
        onCpu.Predict(Digits.Pixels, expected);
        Compare.Close(actual, Array.ConvertAll(expected, value => (double)value), 1e-5, "logits");
        int[] rows = [.. Enumerable.Range(0, Count).Reverse()];
        onGpu.Predict(Digits, rows, actual);
        onCpu.Predict(Digits, rows, expected);
        Compare.Close(actual, Array.ConvertAll(expected, value => (double)value), 1e-5, "logits of rows");
    }

    [Fact]
    public void It_takes_its_turn_on_the_caller_s_stream_and_waits_for_nothing()
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights("simple"));
        float[] expected = new float[Logits];
        classifier.Predict(Digits.Pixels, expected);
        nint images = caller.Allocate(Digits.Pixels.Length), source = caller.Upload(Digits.Pixels),
        logits = caller.Allocate(Logits * sizeof(float));
        using PinnedMemory result = new(caller.Context.Handles, Logits * sizeof(float));
        new Span<float>(result.Pointer, Logits).Fill(7);

        // All of this is only enqueued. Before: the images arrive. After: they are wiped, and so are the logits once they are copied.
        caller.Stream.Copy(images, source, Digits.Pixels.Length);
        ulong waits = Gpu.IsSoftware ? Calls("cuStreamSynchronize\0"u8) + Calls("cuEventSynchronize\0"u8) : 0;
        classifier.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value);
        caller.Stream.Clear(images, Digits.Pixels.Length);
        caller.Stream.Download(result.Pointer, logits, Logits * sizeof(float));
        caller.Stream.Clear(logits, Logits * sizeof(float));
        if (Gpu.IsSoftware)
        {
            Assert.Equal(waits, Calls("cuStreamSynchronize\0"u8) + Calls("cuEventSynchronize\0"u8));
            Assert.Equal(7, ((float*)result.Pointer)[0]); // the software device runs nothing before the host waits
        }

        caller.Stream.Synchronize();
        Assert.Equal(expected, new ReadOnlySpan<float>(result.Pointer, Logits).ToArray());
        Assert.All(caller.Download(logits), logit => Assert.Equal(0, logit));
    }

    [Fact]
    public void It_can_be_captured_into_the_caller_s_graph_and_replayed_on_other_images()
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights("improved"));
        nint images = caller.Upload(Digits.Pixels), logits = caller.Allocate(Logits * sizeof(float));
        using CudaGraph graph =
            CudaGraph.Capture(caller.Context.Handles, caller.Stream,
            () => classifier.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value));
        Assert.Equal(3 * 7, graph.Nodes); // 4 + 4 + 2 images
        foreach (ulong seed in new ulong[] { 5, 6 })
        {
            DigitDataset others = GeneratedDigits.Create(Count, seed);
            float[] expected = new float[Logits];
            classifier.Predict(others.Pixels, expected);
            caller.Upload(others.Pixels, images);
            graph.Launch(caller.Stream.Value);
            Assert.Equal(expected, caller.Download(logits));
        }
    }

    [Fact]
    public void Calls_on_two_streams_wait_for_each_other_on_the_device()
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights("simple"));
        using CudaStream other = new(caller.Context.Handles);
        float[] expected = new float[Logits], expectedReversed = new float[Logits];
        byte[] reversed = [.. Digits.Pixels.ToArray().Chunk(DigitDataset.PixelCount).Reverse().SelectMany(image => image)];
        classifier.Predict(Digits.Pixels, expected);
        classifier.Predict(reversed, expectedReversed);
        nint first = caller.Upload(Digits.Pixels), second = caller.Upload(reversed), ofFirst = caller.Allocate(Logits * sizeof(float)),
        ofSecond = caller.Allocate(Logits * sizeof(float));
        using PinnedMemory result = new(caller.Context.Handles, Logits * sizeof(float));
        for (int turn = 0; turn < 3; turn++)
        {
            classifier.Enqueue(new ImageBatch(first, Count), ofFirst, caller.Stream.Value);
            caller.Stream.Download(result.Pointer, ofFirst, Logits * sizeof(float));
            classifier.Enqueue(new ImageBatch(second, Count), ofSecond, other.Value);
        }

        other.Synchronize(); // so the first stream's last prediction has run as well, though nobody waited for it
        using PinnedMemory result2 = new(caller.Context.Handles, Logits * sizeof(float));
        other.Download(result2.Pointer, ofFirst, Logits * sizeof(float));
        other.Synchronize();
        Assert.Equal(expected, new ReadOnlySpan<float>(result2.Pointer, Logits).ToArray());
        caller.Stream.Synchronize();
        Assert.Equal(expected, new ReadOnlySpan<float>(result.Pointer, Logits).ToArray());
        Assert.Equal(expectedReversed, caller.Download(ofSecond));
    }

    [Theory]
    [InlineData(nameof(CudaKernels.Layered))]
    [InlineData(nameof(CudaKernels.Fused))]
    public void Threads_with_streams_of_their_own_share_it(string kernels)
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights("simple"), kernels: Gpu.Kernels(kernels));
        float[] expected = new float[Logits];
        classifier.Predict(Digits.Pixels, expected);
        nint images = caller.Upload(Digits.Pixels);
        nint[] logits = [.. Enumerable.Range(0, 8).Select(_ => caller.Allocate(Logits * sizeof(float)))];
        int right = 0;
        Thread[] threads = [.. logits.Select(target => new Thread(() =>
        {
            using CudaContext.Scope scope = caller.Context.Enter();
            using CudaStream stream = new(caller.Context.Handles);
            using PinnedMemory result = new(caller.Context.Handles, Logits * sizeof(float));
            float[] onHost = new float[Logits];
            for (int round = 0; round < 5; round++)
            {
                stream.Clear(target, Logits * sizeof(float));
                classifier.Enqueue(new ImageBatch(images, Count), target, stream.Value);
                stream.Download(result.Pointer, target, Logits * sizeof(float));
                stream.Synchronize();
                classifier.Predict(Digits.Pixels, onHost);
                bool same = new ReadOnlySpan<float>(result.Pointer, Logits).SequenceEqual(expected)
                    && onHost.AsSpan().SequenceEqual(expected);
                Interlocked.Add(ref right, same ? 1 : 0);
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Equal(8 * 5, right);
    }

    [Theory]
    [InlineData(nameof(CudaKernels.Layered))]
    [InlineData(nameof(CudaKernels.Fused))]
    public void After_it_is_made_nothing_is_allocated_on_either_side(string kernels)
    {
        using Pipeline caller = new();
        using DigitClassifier classifier = caller.Classifier(Weights("improved"), kernels: Gpu.Kernels(kernels));
        nint images = caller.Upload(Digits.Pixels), logits = caller.Allocate(Logits * sizeof(float));
        float[] onHost = new float[Logits];
        long free = 0;
        for (int round = 0; round < 2; round++)
        {
            ulong made = Allocations();
            long before = GC.GetAllocatedBytesForCurrentThread();
            classifier.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value);
            classifier.Predict(Digits.Pixels, onHost);
            long after = GC.GetAllocatedBytesForCurrentThread();
            Assert.True(round == 0 || after == before, $"{after - before} bytes on the host");
            Assert.Equal(made, Allocations());
            Assert.True(round == 0 || free == CudaContext.MemoryInfo().Free, "memory was allocated on the device");
            free = CudaContext.MemoryInfo().Free;
        }

        static ulong Allocations() => Gpu.IsSoftware ? Calls("cuMemAlloc_v2\0"u8) + Calls("cuMemHostAlloc\0"u8)
            + Calls("cudnnCreateTensorDescriptor\0"u8) : 0;
    }

    [Fact]
    [Trait(Gpu.Alone, "memory")] // free memory is the whole device's
    public void The_caller_s_context_stays_his_and_everything_is_given_back()
    {
        Gpu.Require();
        using (Pipeline warmUp = new())
        {
            warmUp.Classifier(Weights("simple")).Dispose();
        }

        long free = Gpu.FreeMemory();
        using (Pipeline caller = new())
        {
            ulong retained = Gpu.IsSoftware ? Calls("cuDevicePrimaryCtxRetain\0"u8) : 0;
            nint images = caller.Upload(Digits.Pixels), logits = caller.Allocate(Logits * sizeof(float));
            caller.Classifier(Weights("simple")).Dispose(); // what the libraries keep from their first use on
            long before = CudaContext.MemoryInfo().Free;
            DigitClassifier classifier = caller.Classifier(Weights("simple"));
            Assert.Equal(CudaGpu.Find(0).Name, classifier.Device);
            classifier.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value);
            classifier.Dispose();
            classifier.Dispose();
            Assert.Throws<ObjectDisposedException>(() => classifier.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value));
            Assert.Equal(retained, Gpu.IsSoftware ? Calls("cuDevicePrimaryCtxRetain\0"u8) : 0);
            Assert.True(before - CudaContext.MemoryInfo().Free < 2 << 20, "memory is not given back");
            Assert.Contains(caller.Download(logits), logit => logit != 0); // what was enqueued has run, and his stream still works
        }

        Assert.True(free - Gpu.FreeMemory() < 2 << 20, "memory is not given back");
    }

    [Fact]
    public void One_that_is_forgotten_ends_its_work_before_it_is_collected()
    {
        using Pipeline caller = new();
        nint images = caller.Upload(Digits.Pixels), logits = caller.Allocate(Logits * sizeof(float));
        float[] expected = Forget();
        long taken = CudaContext.MemoryInfo().Free;
        for (int i = 0; i < 10 && CudaContext.MemoryInfo().Free == taken; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.True(CudaContext.MemoryInfo().Free > taken, "it was not collected");
        Assert.Equal(expected, caller.Download(logits));

        [MethodImpl(MethodImplOptions.NoInlining)]
        float[] Forget()
        {
            DigitClassifier forgotten = caller.Classifier(Weights("simple"));
            float[] onHost = new float[Logits];
            forgotten.Predict(Digits.Pixels, onHost);
            forgotten.Enqueue(new ImageBatch(images, Count), logits, caller.Stream.Value);
            return onHost;
        }
    }

    [Fact]
    public void Training_in_a_borrowed_context_gives_the_bits_of_training_in_our_own()
    {
        using Pipeline caller = new();
        Assert.Equal(Train(0), Train(caller.Handle));

        static float[] Train(nint context)
        {
            BackendOptions options =
                new(3, 1, AugmentationSpec.Standard) { Precision = Precision.Fp32, Deterministic = true, CudaContext = context };
            using ITrainingBackend backend = BackendFactory.Create("cuda", DigitNetworks.Simple, options);
            NetworkWeights weights = Weights("simple");
            OptimizerState optimizer = new(weights.Network);
            backend.Load(weights, optimizer);
            backend.BeginEpoch(Digits, 0, [.. Enumerable.Range(0, Count)], default);
            backend.RunSteps(0, [1e-3f, 1e-3f, 1e-3f, 1e-3f]);
            backend.Save(weights, optimizer);
            return weights.Trained;
        }
    }

    [Fact]
    public void A_context_that_is_none_is_refused()
    {
        Gpu.RequireSoftware(); // a real driver may take any number for an address, and follow it
        Assert.Throws<CudaException>(() => new DigitClassifier(Weights("simple"), new ClassifierOptions { CudaContext = 4096 }));
    }

    private static NetworkWeights Weights(string name) => Initializer.Create(DigitNetworks.Find(name)!, 2);

    /// <summary>The digits, so many pixels from one to the next, as bytes and as floats.</summary>
    private static (byte[] Bytes, float[] Floats) Spread(int stride)
    {
        byte[] bytes = new byte[(Count - 1) * stride + DigitDataset.PixelCount];
        bytes.AsSpan().Fill(77); // what is between images must not be read
        for (int n = 0; n < Count; n++)
        {
            Digits.Image(n).CopyTo(bytes.AsSpan(n * stride));
        }

        return (bytes, Array.ConvertAll(bytes, value => value / 255f));
    }

    private static ulong Calls(ReadOnlySpan<byte> name)
    {
        delegate* unmanaged<byte*, ulong> count = (delegate* unmanaged<byte*, ulong>)Gpu.SoftwareExport("softcuda_calls");
        fixed (byte* text = name)
        {
            return count(text);
        }
    }

    /// <summary>A caller with a context, a stream and device memory of his own.</summary>
    internal sealed class Pipeline : IDisposable
    {
        public Pipeline()
        {
            Gpu.Require();
            Context = CudaDevice.Open(0);
            nint handle = Context.DangerousGetHandle();
            Assert.Equal(CuResult.Success, CudaDriver.cuCtxPushCurrent_v2(handle));
            Handle = handle;
            Stream = new CudaStream(Context.Handles);
        }

        public CudaContext Context { get; }

        public nint Handle { get; }

        public CudaStream Stream { get; }

        public DigitClassifier Classifier(
            NetworkWeights weights, Precision precision = Precision.Fp32, CudaKernels kernels = CudaKernels.Auto) =>
            new(weights, new ClassifierOptions { CudaContext = Handle, BatchSize = Batch, Precision = precision, Kernels = kernels });

        public nint Allocate(long bytes) => new DeviceMemory(Context.Handles, bytes).Value;

        public nint Upload(ReadOnlySpan<byte> bytes, nint to = 0)
        {
            to = to == 0 ? Allocate(bytes.Length) : to;
            using PinnedMemory staging = new(Context.Handles, bytes.Length);
            Stream.Upload(to, staging.Pointer, bytes);
            Stream.Synchronize();
            return to;
        }

        public float[] Download(nint logits, int count = Logits)
        {
            using PinnedMemory staging = new(Context.Handles, count * sizeof(float));
            return Stream.Download<float>(staging.Pointer, logits, count).ToArray();
        }

        public void Dispose()
        {
            Assert.Equal(CuResult.Success, CudaDriver.cuCtxPopCurrent_v2(out nint current));
            Assert.Equal(Handle, current); // no call left another one behind
            Context.Dispose();
        }
    }
}
