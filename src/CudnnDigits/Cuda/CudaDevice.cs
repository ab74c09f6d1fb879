using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;
using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda;

/// <summary>The GPUs of this machine, and the libraries to use them with.</summary>
internal static unsafe class CudaDevice
{
    /// <summary>Creates a backend on a GPU, or in the context that the options name.</summary>
    /// <exception cref="CudaUnavailableException">No driver, no GPU, or a library is missing.</exception>
    public static ITrainingBackend Create(int ordinal, NetworkSpec network, BackendOptions options) =>
        Open(ordinal, options.CudaContext, context => new CudaBackend(context, network, options));

    /// <summary>Creates a classifier on a GPU, or in the context that the options name.</summary>
    /// <exception cref="CudaUnavailableException">No driver, no GPU, or a library is missing.</exception>
    public static IClassifierDevice CreateClassifier(int ordinal, NetworkWeights weights, ClassifierOptions options) =>
        Open(ordinal, options.CudaContext, context => new CudaClassifier(context, weights, options));

    /// <summary>Loads the driver, and opens a context or borrows one.</summary>
    public static CudaContext Open(int ordinal, nint borrowed = 0)
    {
        int count;
        using (StartUp.Measure("driver"))
        {
            count = Initialise();
        }

        if (borrowed == 0 && ordinal >= count)
        {
            string names = count == 1 ? "cuda:0" : $"cuda:0 to cuda:{count - 1}";
            throw new CudaUnavailableException($"there is no GPU {ordinal}: this machine has {count}, {names}");
        }

        Version driver = NativeLibraries.DriverVersion(); // before there is a context, which would be left if this failed
        using (StartUp.Measure("context"))
        {
            CudaContext context = borrowed == 0 ? new CudaContext(ordinal) : new CudaContext(borrowed);
            if (WhyTooOld(context.Gpu, driver) is { } why)
            {
                context.Dispose();
                throw new CudaUnavailableException(why);
            }

            return context;
        }
    }

    /// <summary>Why our kernels cannot run on a GPU, or not by its driver; null where they can.</summary>
    private static string? WhyTooOld(CudaGpu gpu, Version driver)
    {
        Version capability = gpu.ComputeCapability;
        return capability < KernelSource.OldestGpu
                ? $"cuda:{gpu.Ordinal} is too old (compute capability {capability}; {KernelSource.OldestGpu} or newer is needed); "
                    + "use a newer GPU"
            : KernelSource.OldestCuda(capability) is var needed && driver < needed
                ? $"the NVIDIA driver is too old: it runs CUDA up to {driver}, and the kernels for compute capability {capability} need "
                    + $"CUDA {needed} or newer; update the driver"
            : null;
    }

    /// <summary>Opens a context for something that owns it from then on; where that cannot be made, the context is released.</summary>
    private static T Open<T>(int ordinal, nint borrowed, Func<CudaContext, T> make)
    {
        CudaContext context = Open(ordinal, borrowed);
        try
        {
            return make(context);
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    /// <summary>Opens a GPU and loads what a backend on it is going to need; null where that fails, as the backend will say why.</summary>
    public static CudaContext? TryPrepare(int ordinal, NetworkSpec network, Precision? precision, CudaKernels kernels)
    {
        try
        {
            return Open(ordinal, 0, context =>
            {
                if (NetworkKind.Choose(context.Gpu, precision ?? DefaultPrecision(context.Gpu), network, kernels).NeedsLibraries)
                {
                    NativeLibraries.LoadMath();
                }

                return context;
            });
        }
        catch (Exception e) when (e is CudaUnavailableException or CudaException or InputException)
        {
            return null;
        }
    }

    /// <summary>Loads the driver and counts its GPUs, at least one.</summary>
    private static int Initialise()
    {
        NativeLibraries.LoadDriver();
        CuResult status = cuInit(0);
        int count = 0;
        status = status == CuResult.Success ? cuDeviceGetCount(out count) : status;
        if (status is CuResult.NoDevice || (status == CuResult.Success && count < 1))
        {
            throw new CudaUnavailableException(
                "there is no NVIDIA GPU on this machine (the driver is there; see nvidia-smi and CUDA_VISIBLE_DEVICES)");
        }

        try
        {
            Check(status, nameof(cuInit));
        }
        catch (CudaException e)
        {
            throw new CudaUnavailableException($"the NVIDIA driver does not start: {e.Message}; see what nvidia-smi says");
        }

        return count;
    }

    /// <summary>What is computed in where nothing is said: docs/decisions/0017-bf16-is-the-default.md.</summary>
    public static Precision DefaultPrecision(CudaGpu gpu) => gpu.ComputeCapability.Major >= 8 ? Precision.Bf16 : Precision.Tf32;

    /// <summary>Versions of what a backend runs on, its kernels, and the algorithms of its convolutions.</summary>
    public static CudaDetails Describe(
        CudaSession session, CudaKernels kernels, IReadOnlyDictionary<string, string> algorithms, long memoryBytes) => new(
        $"{NativeLibraries.DriverVersion()}", session.UsesCublas ? BlasVersion() : null, session.UsesCudnn ? DnnVersion() : null,
        algorithms, memoryBytes, kernels.ToString().ToLowerInvariant());

    /// <summary>Everything there is to know about CUDA on this machine; never throws.</summary>
    public static CudaInfo Info()
    {
        CudaGpu[] gpus = [];
        string[] driverAlone = [];
        string? driver = null, blas = null, dnn = null, why = null;
        try
        {
            int count = Initialise();
            driver = $"{NativeLibraries.DriverVersion()}";
            gpus = [.. Enumerable.Range(0, count).Select(CudaGpu.Find)];
            if (WhyTooOld(gpus[0], NativeLibraries.DriverVersion()) is { } old)
            {
                throw new CudaUnavailableException(old);
            }

            driverAlone = [.. DigitNetworks.All.Where(IsFused).Select(network => network.Name)];
            NativeLibraries.LoadMath();
            (blas, dnn) = (BlasVersion(), DnnVersion());
        }
        catch (Exception e) when (e is CudaUnavailableException or CudaException or InputException)
        {
            why = e.Message;
        }

        LoadedLibrary? nvtx = NativeLibraries.FindNvtx();
        CudaLibrary[] libraries =
        [
            .. Describe(NativeLibraries.Driver, driver is null ? null : $"CUDA {driver}"),
            .. Describe(NativeLibraries.Blas, blas),
            .. Describe(NativeLibraries.Dnn, dnn),
            .. nvtx is null ? Array.Empty<CudaLibrary>() : [new CudaLibrary("nvtx", null, nvtx.Path)],
        ];
        (KernelSource source, KernelSource fused) = (KernelSource.Common, KernelSource.Fused);
        string kernels = $"PTX {source.Version} for {source.Target} and newer, {source.Kernels.Count} kernels; "
            + $"fused ones for {fused.Target} and newer, {fused.Kernels.Count}";
        return new CudaInfo(why, gpus, libraries, kernels, why is null ? [] : [.. NativeLibraries.Tried], why is null ? [] : driverAlone);

        bool IsFused(NetworkSpec network) =>
            !NetworkKind.Choose(gpus[0], DefaultPrecision(gpus[0]), network, CudaKernels.Auto).NeedsLibraries;

        static IEnumerable<CudaLibrary> Describe(string name, string? version) =>
            NativeLibraries.Loaded(name) is { } library ? [new CudaLibrary(name, version, library.Path)] : [];
    }

    private static string BlasVersion()
    {
        return $"{new Version(Part(0), Part(1), Part(2))}";

        static int Part(int property)
        {
            Check(Cublas.cublasGetProperty(property, out int value));
            return value;
        }
    }

    private static string DnnVersion()
    {
        int version = (int)Cudnn.cudnnGetVersion();
        return $"{new Version(version / 10000, version / 100 % 100, version % 100)}";
    }
}
