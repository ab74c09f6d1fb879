using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Interop;

/// <summary>
/// A context: a device's primary one, retained and never created beside it, so that others in this process share it; or a caller's.
/// To dispose of it is to release everything that was made in it.
/// </summary>
internal sealed unsafe class CudaContext : SafeHandle
{
    private readonly bool _retained;

    /// <summary>Retains a device's primary context.</summary>
    /// <param name="device">Ordinal of the GPU.</param>
    public CudaContext(int device)
        : base(0, ownsHandle: true)
    {
        (Gpu, _retained, Handles) = (CudaGpu.Find(device), true, new CudaHandles(this));
        nint context;
        Check(cuDevicePrimaryCtxRetain(&context, device));
        SetHandle(Given(context));
    }

    /// <summary>Borrows a context, which must outlive this object and everything made in it.</summary>
    /// <param name="borrowed">A CUcontext, not 0.</param>
    public CudaContext(nint borrowed)
        : base(0, ownsHandle: true)
    {
        SetHandle(borrowed);
        Handles = new CudaHandles(this);
        using Scope scope = Enter();
        int device;
        Check(cuCtxGetDevice(&device));
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
        nuint free, total;
        Check(cuMemGetInfo_v2(&free, &total));
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

    /// <summary>
    /// While it lives, the context is current, unless it could not be entered (null), and nothing made in it is collected.
    /// </summary>
    public readonly ref struct Scope(CudaContext? entered)
    {
        private readonly CudaContext? _entered = entered;

        public void Dispose()
        {
            nint popped;
            if (_entered is not null && cuCtxPopCurrent_v2(&popped) == CuResult.Success)
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

    /// <param name="owner">Disposes of it, unless somebody does before; its context is current on this thread.</param>
    protected CudaHandle(CudaHandles owner)
        : base(0, ownsHandle: true) => _owner = owner;

    public override bool IsInvalid => handle == 0;

    /// <summary>The native handle or address.</summary>
    public nint Value => handle;

    /// <summary>Whether it keeps anything.</summary>
    protected bool IsKeeping => _kept.Count > 0;

    /// <summary>
    /// Keeps what work that this handle stands for makes use of until that is done, in whichever order the two are disposed of or
    /// collected.
    /// </summary>
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

    /// <summary>Takes over what was created; only from here on the context is held.</summary>
    protected void Own(nint value)
    {
        bool isHeld = false;
        Given(value, GetType().Name);
        _owner.Context.DangerousAddRef(ref isHeld);
        SetHandle(value);
        _owner.Add(this);
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
internal sealed unsafe class DeviceMemory : CudaHandle
{
    public DeviceMemory(CudaHandles owner, long bytes)
        : base(owner)
    {
        nint address;
        Check(cuMemAlloc_v2(&address, (nuint)bytes));
        Own(address);
        Bytes = bytes;
    }

    public long Bytes { get; }

    protected override void Destroy(nint value) => cuMemFree_v2(value);
}

/// <summary>Page-locked host memory, which copies to and from the device without a stop in between.</summary>
internal sealed unsafe class PinnedMemory : CudaHandle
{
    public PinnedMemory(CudaHandles owner, long bytes)
        : base(owner)
    {
        nint address;
        Check(cuMemHostAlloc(&address, (nuint)bytes, 0));
        Own(address);
    }

    public void* Pointer => (void*)handle;

    protected override void Destroy(nint value) => cuMemFreeHost(value);
}

/// <summary>A stream that does not wait for the legacy stream; to dispose of it is to wait for its work.</summary>
internal sealed unsafe class CudaStream : CudaHandle
{
    public CudaStream(CudaHandles owner)
        : base(owner)
    {
        nint stream;
        Check(cuStreamCreate(&stream, StreamNonBlocking));
        Own(stream);
    }

    public void Synchronize() => Check(cuStreamSynchronize(handle));

    public void Upload(nint to, void* from, long bytes) => Check(cuMemcpyHtoDAsync_v2(to, from, (nuint)bytes, handle));

    public void Download(void* to, nint from, long bytes) => Check(cuMemcpyDtoHAsync_v2(to, from, (nuint)bytes, handle));

    public void Copy(nint to, nint from, long bytes) => Check(cuMemcpyDtoDAsync_v2(to, from, (nuint)bytes, handle));

    public void Clear(nint to, long bytes) => Check(cuMemsetD8Async(to, 0, (nuint)bytes, handle));

    public override void Finish() => cuStreamSynchronize(handle);

    protected override void Destroy(nint value) => cuStreamDestroy_v2(value);
}

/// <summary>A place in a stream's work that others can wait for; to dispose of it is to wait, where it keeps what that work uses.</summary>
internal sealed unsafe class CudaEvent : CudaHandle
{
    private bool _recorded;

    public CudaEvent(CudaHandles owner)
        : base(owner)
    {
        nint created;
        Check(cuEventCreate(&created, EventDisableTiming));
        Own(created);
    }

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
        if (_recorded && IsKeeping) // an event of a branch keeps nothing: it may have been recorded in a capture last, and nobody can wait for that
        {
            cuEventSynchronize(handle);
        }
    }

    protected override void Destroy(nint value) => cuEventDestroy_v2(value);
}

/// <summary>A cuBLAS handle, with a workspace of its own; without one, capture would allocate.</summary>
internal sealed unsafe class CublasHandle : CudaHandle
{
    /// <summary>What NVIDIA advises for Hopper; it is enough everywhere.</summary>
    public const long WorkspaceBytes = 32 << 20;

    public CublasHandle(CudaHandles owner)
        : base(owner)
    {
        nint created;
        Check(Cublas.cublasCreate_v2(&created));
        Own(created);
    }

    /// <summary>Setting the stream resets the workspace, so both are set here, in this order.</summary>
    public void Use(nint stream, nint workspace)
    {
        Check(Cublas.cublasSetStream_v2(handle, stream));
        Check(Cublas.cublasSetWorkspace_v2(handle, workspace, (nuint)WorkspaceBytes));
    }

    protected override void Destroy(nint value) => Cublas.cublasDestroy_v2(value);
}

/// <summary>A cuDNN handle.</summary>
internal sealed unsafe class CudnnHandle : CudaHandle
{
    public CudnnHandle(CudaHandles owner)
        : base(owner)
    {
        nint created;
        CudnnStatus status = Cudnn.cudnnCreate(&created);
        if (status == CudnnStatus.SublibraryVersionMismatch)
        {
            throw new CudaUnavailableException(
                $"the cuDNN files in {Path.GetDirectoryName(NativeLibraries.Loaded(NativeLibraries.Dnn)?.Path)} are of different versions; install one version of cuDNN 9, or point CUDNN_DIGITS_CUDA_PATH at a whole one");
        }

        Check(status, nameof(Cudnn.cudnnCreate));
        Own(created);
    }

    public void Use(nint stream) => Check(Cudnn.cudnnSetStream(handle, stream));

    protected override void Destroy(nint value) => Cudnn.cudnnDestroy(value);
}

/// <summary>A cuDNN descriptor of any kind.</summary>
internal sealed unsafe class CudnnDescriptor : CudaHandle
{
    private readonly delegate*<nint, CudnnStatus> _destroy;

    private CudnnDescriptor(CudaHandles owner, nint created, delegate*<nint, CudnnStatus> destroy)
        : base(owner)
    {
        _destroy = destroy;
        Own(created);
    }

    /// <summary>A tensor (N, H, W, C), channels last.</summary>
    public static CudnnDescriptor Tensor(CudaHandles owner, int type, int n, int c, int h, int w)
    {
        CudnnDescriptor tensor = Tensor(owner);
        Check(Cudnn.cudnnSetTensor4dDescriptor(tensor.Value, Cudnn.FormatNhwc, type, n, c, h, w));
        return tensor;
    }

    /// <summary>A tensor whose shape another call sets.</summary>
    public static CudnnDescriptor Tensor(CudaHandles owner)
    {
        nint created;
        Check(Cudnn.cudnnCreateTensorDescriptor(&created));
        return new CudnnDescriptor(owner, created, &Cudnn.cudnnDestroyTensorDescriptor);
    }

    /// <summary>Convolution weights (K, R, S, C), channels last.</summary>
    public static CudnnDescriptor Filter(CudaHandles owner, int type, int k, int c, int r, int s)
    {
        nint created;
        Check(Cudnn.cudnnCreateFilterDescriptor(&created));
        CudnnDescriptor filter = new(owner, created, &Cudnn.cudnnDestroyFilterDescriptor);
        Check(Cudnn.cudnnSetFilter4dDescriptor(created, type, Cudnn.FormatNhwc, k, c, r, s));
        return filter;
    }

    /// <summary>A convolution: cross-correlation, stride 1, sums in float32.</summary>
    public static CudnnDescriptor Convolution(CudaHandles owner, int padding, int mathType)
    {
        nint created;
        Check(Cudnn.cudnnCreateConvolutionDescriptor(&created));
        CudnnDescriptor convolution = new(owner, created, &Cudnn.cudnnDestroyConvolutionDescriptor);
        Check(Cudnn.cudnnSetConvolution2dDescriptor(created, padding, padding, 1, 1, 1, 1, Cudnn.CrossCorrelation, Cudnn.TypeFloat));
        Check(Cudnn.cudnnSetConvolutionMathType(created, mathType));
        return convolution;
    }

    /// <summary>Max-pooling, window = stride; NaN goes through, so that a run that diverged says so.</summary>
    public static CudnnDescriptor MaxPooling(CudaHandles owner, int window, bool deterministic)
    {
        nint created;
        Check(Cudnn.cudnnCreatePoolingDescriptor(&created));
        CudnnDescriptor pooling = new(owner, created, &Cudnn.cudnnDestroyPoolingDescriptor);
        int mode = deterministic ? Cudnn.PoolingMaxDeterministic : Cudnn.PoolingMax;
        Check(Cudnn.cudnnSetPooling2dDescriptor(created, mode, Cudnn.PropagateNaN, window, window, 0, 0, window, window));
        return pooling;
    }

    protected override void Destroy(nint value) => _destroy(value);
}
