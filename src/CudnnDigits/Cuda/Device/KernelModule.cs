using CudnnDigits.Cuda.Interop;
using CudnnDigits.Training;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Device;

/// <summary>Our own kernels, compiled by the driver and loaded.</summary>
internal sealed unsafe class KernelModule : CudaHandle
{
    /// <summary>Dynamic shared memory that a block has unasked: with what the kernel declares, it may have 48 KiB.</summary>
    private const int UsualSharedBytes = 44 << 10;

    private const int LogBytes = 8192;

    private readonly KernelSource _source;
    private readonly Dictionary<string, (nint Value, int SharedBytes)> _functions = [];

    public KernelModule(CudaHandles owner, KernelSource source)
        : base(owner, Compile(source)) => _source = source;

    /// <summary>
    /// Launches a kernel with as many threads a block as its source says, and as much shared memory, where that is not given. Its
    /// parameters are a struct with the fields that its source has; they are copied before this returns. A kernel that is overlapped may
    /// begin before the kernel before it has ended, and waits by itself (wait_for_kernel_before).
    /// </summary>
    public void Launch<T>(nint stream, string name, (long X, long Y) grid, T parameters, bool overlapped = false, int? sharedBytes = null)
        where T : unmanaged
    {
        (int threads, int published) = _source.Block(name);
        int shared = sharedBytes ?? published;
        CuLaunchAttribute attribute = new() { Id = LaunchProgrammaticStreamSerialization, Value = 1 };
        CuLaunchConfig config = new(checked((uint)grid.X), checked((uint)grid.Y), (uint)threads, (uint)shared, stream)
        {
            Attributes = &attribute,
            AttributeCount = overlapped ? 1u : 0,
        };
        void* only = &parameters;
        Check(cuLaunchKernelEx(&config, Function(name, shared), &only, null), name);
    }

    protected override void Destroy(nint value) => cuModuleUnload(value);

    private static nint Compile(KernelSource source)
    {
        using StartUp.Phase phase = StartUp.Measure("kernels");
        byte[] log = new byte[LogBytes];
        CuResult status;
        nint module;
        fixed (byte* image = source.Image, buffer = log)
        {
            int* names = stackalloc int[] { JitErrorLogBuffer, JitErrorLogBufferSizeBytes };
            void** values = stackalloc void*[] { buffer, (void*)LogBytes };
            status = cuModuleLoadDataEx(out module, image, 2, names, values);
        }

        if (status == CuResult.UnsupportedPtxVersion)
        {
            string compilerSays = Encoding.UTF8.GetString(log).TrimEnd('\0').Trim().ReplaceLineEndings(" ");
            throw new CudaUnavailableException(
                $"the driver (CUDA {NativeLibraries.DriverVersion()}) cannot run the kernels (PTX {source.Version}, for {source.Target}"
                + $"{(source.Target.EndsWith('a') ? "" : " and newer")}); update the NVIDIA driver"
                + (compilerSays.Length > 0 ? $": {compilerSays}" : ""));
        }

        return Made(status, module, nameof(cuModuleLoadDataEx));
    }

    /// <summary>A kernel of which a block may have so much dynamic shared memory.</summary>
    private nint Function(string name, int sharedBytes)
    {
        if (!_functions.TryGetValue(name, out (nint Value, int SharedBytes) function))
        {
            fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
            {
                Check(cuModuleGetFunction(out function.Value, Value, text), name);
                Given(function.Value, name);
            }

            function.SharedBytes = UsualSharedBytes;
        }

        if (sharedBytes > function.SharedBytes)
        {
            Check(cuFuncSetAttribute(function.Value, FunctionMaxDynamicSharedBytes, sharedBytes), name);
            function.SharedBytes = sharedBytes;
        }

        _functions[name] = function;
        return function.Value;
    }
}
