using System.Reflection;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Training;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda;

/// <summary>Our own kernels (native/kernels), loaded from PTX embedded in this assembly and compiled by the driver.</summary>
internal sealed unsafe class KernelModule : CudaHandle
{
    /// <summary>What every step needs, the layers of <see cref="FusedConvolutions"/> and <see cref="FusedDense"/>, and those convolutions by warpgroups.</summary>
    public const string Common = "kernels.ptx", Fused = "fused.ptx", Hopper = "hopper.ptx";

    /// <summary>What a block may have of dynamic shared memory without being asked for more.</summary>
    private const int UsualSharedBytes = 48 << 10;

    private const int LogBytes = 8192;

    private readonly Dictionary<string, nint> _functions = [];

    /// <param name="owner">Where it belongs: it is loaded into that context.</param>
    /// <param name="resource"><see cref="Common"/>, <see cref="Fused"/> or <see cref="Hopper"/>.</param>
    public KernelModule(CudaHandles owner, string resource)
        : base(owner)
    {
        using StartUp.Phase phase = StartUp.Measure("kernels");
        byte[] log = new byte[LogBytes];
        nint module;
        CuResult status;
        fixed (byte* image = Ptx(resource), buffer = log)
        {
            int* names = stackalloc int[] { JitErrorLogBuffer, JitErrorLogBufferSizeBytes };
            void** values = stackalloc void*[] { buffer, (void*)LogBytes };
            status = cuModuleLoadDataEx(&module, image, 2, names, values);
        }

        if (status is CuResult.UnsupportedPtxVersion or CuResult.NoBinaryForGpu)
        {
            string compilerSays = Encoding.UTF8.GetString(log).TrimEnd('\0').Trim().ReplaceLineEndings(" ");
            throw new CudaUnavailableException(
                $"the driver (CUDA {CudaDevice.FormatVersion(CudaDevice.DriverVersion())}) cannot run the kernels (PTX {PtxVersion(resource)}, for {PtxTarget(resource)} and newer); update the NVIDIA driver, or use a newer GPU{(compilerSays.Length > 0 ? $": {compilerSays}" : "")}");
        }

        Check(status, nameof(cuModuleLoadDataEx));
        Own(module);
    }

    /// <summary>Version of the PTX language, such as "7.5".</summary>
    public static string PtxVersion(string resource) => Directive(resource, ".version ");

    /// <summary>The oldest GPU the kernels run on, such as "sm_75".</summary>
    public static string PtxTarget(string resource) => Directive(resource, ".target ");

    /// <summary>Names of the kernels.</summary>
    public static IEnumerable<string> Entries(string resource) => Lines(resource)
        .Where(line => line.StartsWith(".visible .entry ", StringComparison.Ordinal))
        .Select(line => line[".visible .entry ".Length..].TrimEnd('('));

    /// <summary>Launches a kernel. The parameters are copied before this returns.</summary>
    /// <param name="stream">Stream, capturing or not.</param>
    /// <param name="name">Name of the kernel.</param>
    /// <param name="grid">Blocks along x and y.</param>
    /// <param name="block">Threads along x and y.</param>
    /// <param name="parameters">A pointer to each parameter.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block, the same for every launch of this kernel.</param>
    /// <param name="overlapped">Whether it may begin before the kernel before it has ended; such a kernel waits by itself (native/kernels/dependent_launch.cuh).</param>
    public void Launch(nint stream, string name, (long X, long Y) grid, (int X, int Y) block, void** parameters, int sharedBytes = 0, bool overlapped = false)
    {
        CuLaunchAttribute attribute = new() { Id = LaunchProgrammaticStreamSerialization, Value = 1 };
        CuLaunchConfig config = new()
        {
            GridX = checked((uint)grid.X),
            GridY = checked((uint)grid.Y),
            GridZ = 1,
            BlockX = (uint)block.X,
            BlockY = (uint)block.Y,
            BlockZ = 1,
            SharedBytes = (uint)sharedBytes,
            Stream = stream,
            Attributes = &attribute,
            AttributeCount = overlapped ? 1u : 0,
        };
        Check(cuLaunchKernelEx(&config, Function(name, sharedBytes), parameters, null), name);
    }

    protected override void Destroy(nint value) => cuModuleUnload(value);

    private nint Function(string name, int sharedBytes)
    {
        if (!_functions.TryGetValue(name, out nint function))
        {
            fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
            {
                Check(cuModuleGetFunction(&function, Value, text), name);
                Given(function, name);
            }

            if (sharedBytes > UsualSharedBytes)
            {
                Check(cuFuncSetAttribute(function, FunctionMaxDynamicSharedBytes, sharedBytes), name);
            }

            _functions[name] = function;
        }

        return function;
    }

    private static byte[] Ptx(string resource)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"{resource} is not embedded");
        byte[] text = new byte[stream.Length + 1]; // the driver wants a zero at the end
        stream.ReadExactly(text, 0, (int)stream.Length);
        return text;
    }

    private static string[] Lines(string resource) => Encoding.UTF8.GetString(Ptx(resource)).Split('\n');

    private static string Directive(string resource, string name) => Lines(resource).First(line => line.StartsWith(name, StringComparison.Ordinal))[name.Length..].Trim();
}
