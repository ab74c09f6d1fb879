using CudnnDigits.Cuda.Common;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Cuda.Layered;
using CudnnDigits.Data;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using static CudnnDigits.Cuda.CudaException;

namespace CudnnDigits.Cuda;

/// <summary>
/// Inference alone on an NVIDIA GPU, on any stream of its context. A call is cut into steps of a few sizes, each captured
/// once: a kernel whose parameters say where the images are, then the graph. Where the caller is capturing himself, the
/// step's calls go into his graph one by one, because a graph cannot be launched into a capture.
/// </summary>
internal sealed unsafe class CudaClassifier : IClassifierDevice
{
    /// <summary>From one size of step to the next: what is left over fills at least a quarter of its step.</summary>
    private const int SizeRatio = 4;

    private readonly CudaSession _session;
    private readonly CudaNetwork _net;
    private readonly List<CudaStep> _steps = []; // smallest first
    private readonly DeviceTensor _images, _logits; // of host calls
    private readonly PinnedMemory _imagesStaging, _logitsStaging;
    private readonly CudaEvent _done;

    /// <summary>Takes over the context.</summary>
    public CudaClassifier(CudaContext context, NetworkWeights weights, ClassifierOptions options)
    {
        _session = new CudaSession(context, options.Precision ?? CudaDevice.DefaultPrecision(context.Gpu), deterministic: false);
        using CudaContext.Scope scope = context.Enter();
        int batch = options.BatchSize;
        DeviceArena arena = new();
        NetworkKind kind = NetworkKind.Choose(context.Gpu, _session.Precision, weights.Network, options.Kernels);
        _net = kind.Make(_session, arena, weights.Network, batch, kept: null);
        IEnumerable<int> smaller = Enumerable.Range(0, 16).Select(power => (int)Math.Pow(SizeRatio, power)).TakeWhile(size => size < batch);
        foreach (int size in smaller.Append(batch))
        {
            long limit = Conv2d.MostWorkspace(batch);
            _steps.Add(context.Handles.Make(handles => new CudaStep(_session, handles, _net, null, size, limit)));
        }

        DeviceTensor workspace = arena.Reserve(Math.Max(_steps.Max(step => step.Layers.WorkspaceBytes), 1), DeviceType.U8);
        _session.ReserveBlasWorkspaces(arena, ofBranches: false);
        _images = arena.Reserve((long)batch * DigitDataset.PixelCount, DeviceType.F32);
        _logits = arena.Reserve((long)batch * DigitDataset.Classes, DeviceType.F32);
        arena.Allocate(context.Handles, _ => "close other programs on the GPU, or use another device");
        _session.UseBlasWorkspaces();
        _imagesStaging = new PinnedMemory(context.Handles, _images.Bytes);
        _logitsStaging = new PinnedMemory(context.Handles, _logits.Bytes);
        _done = new CudaEvent(context.Handles);

        _session.Stream.Clear((nint)arena.Base, arena.Bytes);
        _net.Parameters.Load(_session.Stream, weights, null);
        Adam.RoundWeights(_session, _net.Parameters);
        _steps[0].Layers.PreparePrediction();
        foreach (CudaStep step in _steps)
        {
            step.SetWorkspace(workspace);
            step.BeginImages(new ImageBatch(_images.Address, 1, PixelType.Float32), _logits.Address, _session.Stream.Value);
            step.EnqueueImages(); // once, so that the libraries load what they load late
            _session.Stream.Synchronize();
            step.Prediction = CudaGraph.Capture(step.Handles, _session.Stream, step.EnqueueImages);
        }

        _session.KeepKernels(_done);
        Name = context.Gpu.Name;
    }

    public string Name { get; }

    public Precision Precision => _session.Precision;

    public void Predict(in ImageBatch images, ReadOnlySpan<int> rows, Span<float> logits)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        using Nvtx.Range range = Nvtx.Open("predict"u8);
        CudaStream stream = _session.Stream;
        _done.HoldBack(stream.Value);
        int total = logits.Length / DigitDataset.Classes;
        for (int done = 0, count; done < total; done += count)
        {
            CudaStep step = StepFor(total - done);
            count = Math.Min(step.Batch, total - done);
            Stage(images, rows, done, count);
            stream.Upload(_images.Address, _imagesStaging.Pointer, (long)count * DigitDataset.PixelCount * images.BytesPerPixel);
            Run(step, new ImageBatch(_images.Address, count, images.Type), _logits.Address, stream.Value, capturing: false);
            Span<float> to = logits.Slice(done * DigitDataset.Classes, count * DigitDataset.Classes);
            stream.Download<float>(_logitsStaging.Pointer, _logits.Address, to.Length).CopyTo(to);
        }
    }

    public void Enqueue(in ImageBatch images, nint logits, nint stream)
    {
        using CudaContext.Scope scope = _session.Context.Enter();
        Check(CudaDriver.cuStreamIsCapturing(stream, out int status));
        bool capturing = status != CudaDriver.CaptureStatusNone;
        if (!capturing)
        {
            _done.HoldBack(stream); // a capture must not wait for what was enqueued outside of it
        }

        for (int done = 0, count; done < images.Count; done += count)
        {
            CudaStep step = StepFor(images.Count - done);
            count = Math.Min(step.Batch, images.Count - done);
            Run(step, images.Slice(done, count), logits + (nint)done * DigitDataset.Classes * sizeof(float), stream, capturing);
        }

        if (!capturing)
        {
            _done.Record(stream);
        }
    }

    /// <summary>Waits for calls on callers' streams, as <see cref="_done"/> stands for them.</summary>
    public void Dispose() => _session.Dispose();

    /// <summary>The smallest step that takes so many images at once, or the largest.</summary>
    private CudaStep StepFor(int count)
    {
        int at = 0;
        while (at < _steps.Count - 1 && _steps[at].Batch < count)
        {
            at++;
        }

        return _steps[at];
    }

    private void Run(CudaStep step, in ImageBatch images, nint logits, nint stream, bool capturing)
    {
        step.BeginImages(images, logits, stream);
        if (!capturing)
        {
            step.Prediction!.Launch(stream);
            return;
        }

        _session.Direct(stream);
        try
        {
            step.EnqueueImages();
        }
        finally
        {
            _session.Direct(_session.Stream.Value);
        }
    }

    /// <summary>Packs images into page-locked memory.</summary>
    private void Stage(in ImageBatch images, ReadOnlySpan<int> rows, int first, int count)
    {
        int bytes = DigitDataset.PixelCount * images.BytesPerPixel;
        for (int n = 0; n < count; n++)
        {
            ImageBatch image = images.Slice(rows.IsEmpty ? first + n : rows[first + n], 1);
            Buffer.MemoryCopy((void*)image.Address, (byte*)_imagesStaging.Pointer + (nint)n * bytes, bytes, bytes);
        }
    }
}
