using CudnnDigits.Training;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;
using static CudnnDigits.Cuda.Interop.Cudnn;

namespace CudnnDigits.Cuda.Interop;

/// <summary>A GPU's primary context, shared within this process, or a caller's. Disposing releases all that was made in it.</summary>
internal sealed unsafe class CudaContext : SafeHandle
{
    private readonly bool _retained;

    /// <summary>Retains the primary context of the GPU of this ordinal.</summary>
    public CudaContext(int device)
        : base(0, ownsHandle: true)
    {
        (Gpu, _retained, Handles) = (CudaGpu.Find(device), true, new CudaHandles(this));
        Check(cuDevicePrimaryCtxRetain(out nint context, device));
        SetHandle(Given(context));
    }

    /// <summary>Borrows a CUcontext, which must outlive this object and everything made in it.</summary>
    public CudaContext(nint borrowed)
        : base(0, ownsHandle: true)
    {
        SetHandle(borrowed);
        Handles = new CudaHandles(this);
        using Scope scope = Enter();
        Check(cuCtxGetDevice(out int device));
        Gpu = CudaGpu.Find(device);
    }

    public CudaGpu Gpu { get; }

    /// <summary>What was made in it, and is not released yet.</summary>
    public CudaHandles Handles { get; }

    public override bool IsInvalid => handle == 0;

    /// <summary>Makes the context current on this thread until the scope is disposed of; whatever was current before is again.</summary>
    public Scope Enter()
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        Check(cuCtxPushCurrent_v2(handle));
        return new Scope(this);
    }

    /// <summary>The same for what is going to be released; where it fails, the device is lost, and so is what is released.</summary>
    public Scope EnterToRelease() => new(cuCtxPushCurrent_v2(handle) == CuResult.Success ? this : null);

    /// <summary>Bytes of device memory that are free, and that there are.</summary>
    public static (long Free, long Total) MemoryInfo()
    {
        Check(cuMemGetInfo_v2(out nuint free, out nuint total));
        return ((long)free, (long)total);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Handles.Dispose();
        }

        base.Dispose(disposing); // handles that nobody has disposed of keep it until they are collected
    }

    protected override bool ReleaseHandle() => !_retained || cuDevicePrimaryCtxRelease_v2(Gpu.Ordinal) == CuResult.Success;

    /// <summary>While it lives, the context is current (null: it could not be entered), and nothing made in it is collected.</summary>
    public readonly ref struct Scope(CudaContext? entered)
    {
        private readonly CudaContext? _entered = entered;

        public void Dispose()
        {
            if (_entered is not null && cuCtxPopCurrent_v2(out nint popped) == CuResult.Success)
            {
                System.Diagnostics.Debug.Assert(popped == _entered.handle, "scopes are closed in the order opposite to that of opening");
            }
        }
    }
}

/// <summary>
/// A native object that we own. It keeps its context alive and enters it to be released, on whichever thread that happens;
/// releasing never throws, and a failure then is that of a device which is lost anyway.
/// </summary>
internal abstract class CudaHandle : SafeHandle
{
    private readonly CudaHandles _owner;
    private readonly List<CudaHandle> _kept = [];

    /// <summary>Takes over what was created. The owner disposes of it, unless somebody does before; its context is current now.</summary>
    protected CudaHandle(CudaHandles owner, nint created)
        : base(0, ownsHandle: true)
    {
        bool isHeld = false;
        _owner = owner;
        Given(created, GetType().Name);
        owner.Context.DangerousAddRef(ref isHeld);
        SetHandle(created);
        owner.Add(this);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>The native handle or address.</summary>
    public nint Value => handle;

    protected bool IsKeeping => _kept.Count > 0;

    /// <summary>Keeps what the work that this handle stands for uses until that is done, whichever of them is disposed of first.</summary>
    public void Keep(CudaHandle used)
    {
        bool isHeld = false;
        used.DangerousAddRef(ref isHeld);
        _kept.Add(used);
    }

    protected abstract void Destroy(nint value);

    /// <summary>Waits for the work that the handle stands for, or until it has failed.</summary>
    public virtual void Finish()
    {
    }

    /// <summary>What a call has created, where it succeeded.</summary>
    protected static nint Made(CuResult status, nint created, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        Check(status, call);
        return created;
    }

    protected override bool ReleaseHandle()
    {
        using (_owner.Context.EnterToRelease())
        {
            Finish();
            Destroy(handle);
            _kept.ForEach(used => used.DangerousRelease());
        }

        _owner.Remove(this);
        _owner.Context.DangerousRelease();
        return true;
    }
}

/// <summary>Device memory.</summary>
internal sealed class DeviceMemory(CudaHandles owner, long bytes)
    : CudaHandle(owner, Made(cuMemAlloc_v2(out nint address, (nuint)bytes), address))
{
    protected override void Destroy(nint value) => cuMemFree_v2(value);
}

/// <summary>Page-locked host memory, which copies to and from the device without a stop in between.</summary>
internal sealed unsafe class PinnedMemory(CudaHandles owner, long bytes)
    : CudaHandle(owner, Made(cuMemHostAlloc(out nint address, (nuint)bytes, 0), address))
{
    public void* Pointer => (void*)handle;

    protected override void Destroy(nint value) => cuMemFreeHost(value);
}

/// <summary>A stream that does not wait for the legacy stream; to dispose of it is to wait for its work.</summary>
internal sealed unsafe class CudaStream(CudaHandles owner)
    : CudaHandle(owner, Made(cuStreamCreate(out nint stream, StreamNonBlocking), stream))
{
    public void Synchronize() => Check(cuStreamSynchronize(handle));

    public void Upload(nint to, void* from, long bytes) => Check(cuMemcpyHtoDAsync_v2(to, from, (nuint)bytes, handle));

    /// <summary>Uploads values by way of page-locked memory, which must stay as it is until they are there.</summary>
    public void Upload<T>(nint to, void* staging, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        values.CopyTo(new Span<T>(staging, values.Length));
        Upload(to, staging, (long)values.Length * sizeof(T));
    }

    /// <summary>Downloads values to page-locked memory, and waits for them.</summary>
    public Span<T> Download<T>(void* staging, nint from, int count)
        where T : unmanaged
    {
        Download(staging, from, (long)count * sizeof(T));
        Synchronize();
        return new Span<T>(staging, count);
    }

    public void Download(void* to, nint from, long bytes) => Check(cuMemcpyDtoHAsync_v2(to, from, (nuint)bytes, handle));

    public void Copy(nint to, nint from, long bytes) => Check(cuMemcpyDtoDAsync_v2(to, from, (nuint)bytes, handle));

    public void Clear(nint to, long bytes) => Check(cuMemsetD8Async(to, 0, (nuint)bytes, handle));

    public override void Finish() => cuStreamSynchronize(handle);

    protected override void Destroy(nint value) => cuStreamDestroy_v2(value);
}

/// <summary>A place in a stream's work that others can wait for; to dispose of it is to wait, where it keeps what that work uses.</summary>
internal sealed class CudaEvent(CudaHandles owner) : CudaHandle(owner, Made(cuEventCreate(out nint created, EventDisableTiming), created))
{
    private bool _recorded;

    /// <summary>Stands for the work that a stream has been given until now.</summary>
    public void Record(nint stream)
    {
        Check(cuEventRecord(handle, stream));
        _recorded = true;
    }

    /// <summary>Has what a stream is given from now on wait for that work; the host does not wait.</summary>
    public void HoldBack(nint stream)
    {
        if (_recorded)
        {
            Check(cuStreamWaitEvent(stream, handle, 0));
        }
    }

    public override void Finish()
    {
        // An event of a branch keeps nothing. It may have been recorded in a capture last, and nobody can wait for that.
        if (_recorded && IsKeeping)
        {
            cuEventSynchronize(handle);
        }
    }

    protected override void Destroy(nint value) => cuEventDestroy_v2(value);
}

/// <summary>A cuBLAS handle, with a workspace of its own; without one, capture would allocate.</summary>
internal sealed class CublasHandle(CudaHandles owner) : CudaHandle(owner, Create())
{
    /// <summary>What NVIDIA advises for Hopper; it is enough everywhere.</summary>
    public const long WorkspaceBytes = 32 << 20;

    /// <summary>Setting the stream resets the workspace, so both are set here, in this order.</summary>
    public void Use(nint stream, nint workspace)
    {
        Check(Cublas.cublasSetStream_v2(handle, stream));
        Check(Cublas.cublasSetWorkspace_v2(handle, workspace, (nuint)WorkspaceBytes));
    }

    protected override void Destroy(nint value) => Cublas.cublasDestroy_v2(value);

    private static nint Create()
    {
        using StartUp.Phase phase = StartUp.Measure("cublas");
        Check(Cublas.cublasCreate_v2(out nint created));
        return created;
    }
}

/// <summary>A cuDNN handle.</summary>
internal sealed class CudnnHandle : CudaHandle
{
    public CudnnHandle(CudaHandles owner, nint stream)
        : base(owner, Create()) => Use(stream);

    public void Use(nint stream) => Check(cudnnSetStream(handle, stream));

    protected override void Destroy(nint value) => cudnnDestroy(value);

    private static nint Create()
    {
        using StartUp.Phase phase = StartUp.Measure("cudnn");
        CudnnStatus status = cudnnCreate(out nint created);
        if (status == CudnnStatus.SublibraryVersionMismatch)
        {
            throw new CudaUnavailableException(
                $"the cuDNN files in {Path.GetDirectoryName(NativeLibraries.Loaded(NativeLibraries.Dnn)?.Path)} are of different versions; "
                + $"install one version of cuDNN 9, or point {NativeLibraries.PathVariable} at a whole one");
        }

        Check(status, nameof(cudnnCreate));
        return created;
    }
}

/// <summary>A cuDNN descriptor of any kind.</summary>
internal sealed unsafe class CudnnDescriptor : CudaHandle
{
    private readonly delegate*<nint, CudnnStatus> _destroy;

    private CudnnDescriptor(CudaHandles owner, nint created, delegate*<nint, CudnnStatus> destroy)
        : base(owner, created) => _destroy = destroy;

    /// <summary>A tensor (N, H, W, C), channels last.</summary>
    public static CudnnDescriptor Tensor(CudaHandles owner, int type, int n, int c, int h, int w)
    {
        CudnnDescriptor tensor = Tensor(owner);
        Check(cudnnSetTensor4dDescriptor(tensor.Value, FormatNhwc, type, n, c, h, w));
        return tensor;
    }

    /// <summary>A tensor whose shape another call sets.</summary>
    public static CudnnDescriptor Tensor(CudaHandles owner)
    {
        Check(cudnnCreateTensorDescriptor(out nint created));
        return new CudnnDescriptor(owner, created, &cudnnDestroyTensorDescriptor);
    }

    /// <summary>Convolution weights (K, R, S, C), channels last.</summary>
    public static CudnnDescriptor Filter(CudaHandles owner, int type, int k, int c, int r, int s)
    {
        Check(cudnnCreateFilterDescriptor(out nint created));
        CudnnDescriptor filter = new(owner, created, &cudnnDestroyFilterDescriptor);
        Check(cudnnSetFilter4dDescriptor(created, type, FormatNhwc, k, c, r, s));
        return filter;
    }

    /// <summary>A convolution: cross-correlation, stride 1, sums in float32.</summary>
    public static CudnnDescriptor Convolution(CudaHandles owner, int padding, int mathType)
    {
        Check(cudnnCreateConvolutionDescriptor(out nint created));
        CudnnDescriptor convolution = new(owner, created, &cudnnDestroyConvolutionDescriptor);
        Check(cudnnSetConvolution2dDescriptor(created, padding, padding, 1, 1, 1, 1, CrossCorrelation, TypeFloat));
        Check(cudnnSetConvolutionMathType(created, mathType));
        return convolution;
    }

    /// <summary>Max-pooling, window = stride; NaN goes through, so that a run that diverged says so.</summary>
    public static CudnnDescriptor MaxPooling(CudaHandles owner, int window, bool deterministic)
    {
        Check(cudnnCreatePoolingDescriptor(out nint created));
        CudnnDescriptor pooling = new(owner, created, &cudnnDestroyPoolingDescriptor);
        int mode = deterministic ? PoolingMaxDeterministic : PoolingMax;
        Check(cudnnSetPooling2dDescriptor(created, mode, PropagateNaN, window, window, 0, 0, window, window));
        return pooling;
    }

    protected override void Destroy(nint value) => _destroy(value);
}
