using CudnnDigits.Cuda.Interop;

namespace CudnnDigits.Cuda.Device;

/// <summary>An open device: its context, a stream of our own, the libraries' handles, our kernels, and how to compute.</summary>
internal sealed class CudaSession : IDisposable
{
    private static readonly Version OverlapInGraphs = new(12, 3); // the first version of CUDA that captures it

    private readonly (CudaStream Stream, bool IsOpen)[] _branches;
    private readonly CudaEvent _forked, _joined;
    private CudnnHandle? _cudnn;
    private CublasHandle? _cublas;
    private LayerKernels? _fusedKernels;
    private nint _target;
    private DeviceTensor _blasWorkspace, _branchBlasWorkspace;

    /// <summary>Takes over the context: to dispose of the session is to dispose of it, with all that was made in it.</summary>
    public CudaSession(CudaContext context, Precision precision, bool deterministic)
    {
        (Context, Precision, Deterministic) = (context, precision, deterministic);
        using CudaContext.Scope scope = Context.Enter();
        Stream = new CudaStream(Context.Handles);
        _branches = [.. Enumerable.Range(0, Branches).Select(_ => (new CudaStream(Context.Handles), false))];
        (_forked, _joined) = (new CudaEvent(Context.Handles), new CudaEvent(Context.Handles));
        Kernels = Load(KernelSource.Common.With(Switches));
        Overlaps = Context.Gpu.ComputeCapability.Major >= 9 && NativeLibraries.DriverVersion() >= OverlapInGraphs;
        _target = Stream.Value;
    }

    /// <summary>Streams beside the step's own: gradients of weights of two layers are computed at the same time.</summary>
    public const int Branches = 2;

    public Precision Precision { get; }

    /// <summary>Whether only algorithms that give the same bits every time may be chosen.</summary>
    public bool Deterministic { get; }

    public CudaContext Context { get; }

    /// <summary>Our own stream. Copies and waits go here; where a step's calls go, <see cref="Direct"/> says.</summary>
    public CudaStream Stream { get; }

    /// <summary>Made when first asked for, which must not be while something is captured: the fused kernels do without.</summary>
    public CudnnHandle Cudnn => _cudnn ??= new CudnnHandle(Context.Handles, _target);

    /// <summary>The same.</summary>
    public CublasHandle Cublas => _cublas ??= new CublasHandle(Context.Handles);

    public bool UsesCudnn => _cudnn is not null;

    public bool UsesCublas => _cublas is not null;

    public KernelModule Kernels { get; }

    /// <summary>Each loaded when first launched, which must not be while something is captured.</summary>
    public LayerKernels FusedKernels => _fusedKernels ??= new(KernelSource.Fused.With(Switches), Load);

    /// <summary>Whether a kernel that can may begin before the one before it has ended: on a GPU and by a driver that can.</summary>
    public bool Overlaps { get; set; }

    public int Multiprocessors => Context.Gpu.Multiprocessors;

    /// <summary>Bytes of shared memory of each.</summary>
    public int SharedMemory => Context.Gpu.SharedMemory;

    /// <summary>What activations, and the weights that multiply them, are stored as.</summary>
    public DeviceType ActivationType => Precision == Precision.Bf16 ? DeviceType.Bf16 : DeviceType.F32;

    /// <summary>The ending of a fused kernel's name, for this precision.</summary>
    public string KernelSuffix => Precision == Precision.Bf16 ? "_bf16" : "_f32";

    /// <summary>Reserves what cuBLAS needs, if it was asked for: what runs beside each other must not share a workspace.</summary>
    public void ReserveBlasWorkspaces(DeviceArena arena, bool ofBranches)
    {
        if (_cublas is not null)
        {
            _blasWorkspace = arena.Reserve(CublasHandle.WorkspaceBytes, DeviceType.U8);
            _branchBlasWorkspace = ofBranches ? arena.Reserve(CublasHandle.WorkspaceBytes, DeviceType.U8) : _blasWorkspace;
        }
    }

    /// <summary>Gives it to cuBLAS, once it is allocated.</summary>
    public void UseBlasWorkspaces() => Direct(Stream.Value);

    /// <summary>Has the calls of a step go to a stream: our own, or a caller's. Nothing is enqueued by that.</summary>
    public void Direct(nint stream)
    {
        _target = stream;
        _cudnn?.Use(stream);
        _cublas?.Use(stream, _blasWorkspace.Address);
    }

    /// <summary>Launches one of our kernels on the stream that calls go to, with blocks along x and y.</summary>
    public void Launch<T>(string kernel, (long X, long Y) grid, T parameters)
        where T : unmanaged => Kernels.Launch(_target, kernel, grid, parameters);

    /// <summary>The same with a row of blocks.</summary>
    public void Launch<T>(string kernel, long blocks, T parameters)
        where T : unmanaged => Launch(kernel, (blocks, 1), parameters);

    /// <summary>Launches a fused kernel that there is for all precisions.</summary>
    public void LaunchFused<T>(string kernel, long blocks, T parameters)
        where T : unmanaged => FusedKernels.Of(kernel).Launch(_target, kernel, (blocks, 1), parameters);

    /// <summary>
    /// Launches one in this precision, with so many bytes of dynamic shared memory, or as many as its source says. If it is overlapped, it
    /// may begin before the one before it has ended.
    /// </summary>
    public void LaunchFused<T>(string kernel, (long X, long Y) grid, int? sharedBytes, T parameters, bool overlapped)
        where T : unmanaged =>
        FusedKernels.Of(kernel + KernelSuffix).Launch(
            _target, kernel + KernelSuffix, grid, parameters, overlapped && Overlaps, sharedBytes);

    /// <summary>Launches one that is made for a layer: its parameters begin with what is not the layer's.</summary>
    public void LaunchLayer<T>(string kernel, (long X, long Y) grid, int sharedBytes, T parameters, bool overlapped)
        where T : unmanaged =>
        FusedKernels.Of(kernel + KernelSuffix, parameters).Launch(
            _target, kernel + KernelSuffix, grid, parameters, overlapped && Overlaps, sharedBytes);

    /// <summary>Has our kernels stay loaded until the work that something stands for is done, as they do for our own stream.</summary>
    public void KeepKernels(CudaHandle until)
    {
        foreach (KernelModule module in (_fusedKernels?.Modules ?? []).Prepend(Kernels))
        {
            until.Keep(module);
        }
    }

    /// <summary>
    /// Until disposed of, kernels go to another stream: after what was enqueued, beside what comes. Calls of cuBLAS share a workspace, so
    /// they go to the first branch alone.
    /// </summary>
    public Branch OpenBranch(int branch = 0) => new(this, branch);

    /// <summary>Has the step wait for its branches.</summary>
    public void Join()
    {
        foreach (ref (CudaStream Stream, bool IsOpen) branch in _branches.AsSpan())
        {
            if (branch.IsOpen)
            {
                _joined.Record(branch.Stream.Value);
                _joined.HoldBack(_target);
                branch.IsOpen = false;
            }
        }
    }

    public void Dispose() => Context.Dispose();

    private string[] Switches => KernelSource.Switches(Context.Gpu.ComputeCapability, Precision);

    private KernelModule Load(KernelSource source)
    {
        KernelModule kernels = new(Context.Handles, source);
        Stream.Keep(kernels);
        return kernels;
    }

    public readonly ref struct Branch
    {
        private readonly CudaSession _session;
        private readonly nint _main;

        internal Branch(CudaSession session, int branch)
        {
            (_session, _main) = (session, session._target);
            ref (CudaStream Stream, bool IsOpen) opened = ref session._branches[branch];
            opened.IsOpen = true;
            session._forked.Record(_main);
            session._forked.HoldBack(opened.Stream.Value);
            session._target = opened.Stream.Value;
            session._cublas?.Use(session._target, session._branchBlasWorkspace.Address);
        }

        /// <summary>Back to the step's own stream.</summary>
        public void Dispose()
        {
            _session._target = _main;
            _session._cublas?.Use(_main, _session._blasWorkspace.Address);
        }
    }
}
