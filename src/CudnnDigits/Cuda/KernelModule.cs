using System.Reflection;
using System.Text;
using CudnnDigits.Cuda.Interop;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda;

/// <summary>Our own kernels (native/kernels), loaded from the PTX embedded in this assembly and compiled by the driver.</summary>
internal sealed unsafe class KernelModule : CudaHandle
{
    private const string Resource = "kernels.ptx";
    private const int LogBytes = 8192;

    private readonly Dictionary<string, nint> _functions = [];

    public KernelModule(CudaContext context)
        : base(context)
    {
        byte[] log = new byte[LogBytes];
        nint module;
        CuResult status;
        fixed (byte* image = Ptx(), buffer = log)
        {
            int* names = stackalloc int[] { JitErrorLogBuffer, JitErrorLogBufferSizeBytes };
            void** values = stackalloc void*[] { buffer, (void*)LogBytes };
            status = cuModuleLoadDataEx(&module, image, 2, names, values);
        }

        if (status is CuResult.UnsupportedPtxVersion or CuResult.NoBinaryForGpu)
        {
            string compilerSays = Encoding.UTF8.GetString(log).TrimEnd('\0').Trim().ReplaceLineEndings(" ");
            throw new CudaUnavailableException(
                $"the driver (CUDA {CudaDevice.FormatVersion(CudaDevice.DriverVersion())}) cannot run the kernels (PTX {PtxVersion}, for {PtxTarget} and newer); update the NVIDIA driver, or use a newer GPU{(compilerSays.Length > 0 ? $": {compilerSays}" : "")}");
        }

        Check(status, nameof(cuModuleLoadDataEx));
        Own(module);
    }

    /// <summary>Version of the PTX language, such as "7.5".</summary>
    public static string PtxVersion => Directive(".version ");

    /// <summary>The oldest GPU the kernels run on, such as "sm_75".</summary>
    public static string PtxTarget => Directive(".target ");

    /// <summary>Names of the kernels.</summary>
    public static IEnumerable<string> Entries => Lines()
        .Where(line => line.StartsWith(".visible .entry ", StringComparison.Ordinal))
        .Select(line => line[".visible .entry ".Length..].TrimEnd('('));

    /// <summary>Launches a kernel. The parameters are copied before this returns.</summary>
    /// <param name="stream">Stream, capturing or not.</param>
    /// <param name="name">Name of the kernel.</param>
    /// <param name="grid">Blocks along x and y.</param>
    /// <param name="block">Threads along x and y.</param>
    /// <param name="parameters">A pointer to each parameter.</param>
    public void Launch(nint stream, string name, (long X, long Y) grid, (int X, int Y) block, void** parameters) => Check(
        cuLaunchKernel(Function(name), checked((uint)grid.X), checked((uint)grid.Y), 1, (uint)block.X, (uint)block.Y, 1, 0, stream, parameters, null),
        name);

    protected override void Destroy(nint value) => cuModuleUnload(value);

    private nint Function(string name)
    {
        if (!_functions.TryGetValue(name, out nint function))
        {
            fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
            {
                Check(cuModuleGetFunction(&function, Value, text), name);
            }

            _functions[name] = function;
        }

        return function;
    }

    private static byte[] Ptx()
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(Resource)
            ?? throw new InvalidOperationException($"{Resource} is not embedded");
        byte[] text = new byte[stream.Length + 1]; // the driver wants a zero at the end
        stream.ReadExactly(text, 0, (int)stream.Length);
        return text;
    }

    private static string[] Lines() => Encoding.UTF8.GetString(Ptx()).Split('\n');

    private static string Directive(string name) => Lines().First(line => line.StartsWith(name, StringComparison.Ordinal))[name.Length..].Trim();
}
