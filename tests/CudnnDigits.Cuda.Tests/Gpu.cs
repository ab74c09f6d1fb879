using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CudnnDigits.Cuda.Device;
using CudnnDigits.Cuda.Interop;

[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)] // the tests count device memory

namespace CudnnDigits.Cuda.Tests;

/// <summary>The device under test: a GPU, or the software device where CUDNN_DIGITS_CUDA_PATH names it.</summary>
internal static partial class Gpu
{
    private static readonly Lazy<CudaInfo> Info = new(CudaDevice.Info);

    public static bool IsSoftware => Info.Value.Gpus[0].Name.StartsWith("software", StringComparison.Ordinal);

    /// <summary>
    /// Where it can, the device watches over each tensor: its neighbours in the arena would hide what reaches past its end.
    /// </summary>
    [ModuleInitializer]
    public static void WatchTensors() => DeviceArena.Allocated = Watch;

    private static unsafe void Watch(DeviceTensor tensor)
    {
        if (IsSoftware && tensor.Bytes > 0)
        {
            var watch = (delegate* unmanaged<nint, nint, int>)SoftwareExport("softcuda_tensor");
            Assert.Equal(0, watch(tensor.Address, (nint)tensor.Bytes));
        }
    }

    /// <summary>Skips the test where there is no device; with CUDNN_DIGITS_REQUIRE_GPU=1 that is a failure.</summary>
    public static void Require()
    {
        string? why = Info.Value.WhyNot;
        Assert.True(why is null || Environment.GetEnvironmentVariable("CUDNN_DIGITS_REQUIRE_GPU") != "1", $"a GPU is required: {why}");
        Assert.SkipUnless(why is null, "no CUDA device; the software one, which README says how to build, stands in for it: "
            + "CUDNN_DIGITS_CUDA_PATH=$PWD/build/softcuda");
    }

    /// <summary>Skips the test where there is no device, or none that multiplies by warpgroups.</summary>
    public static void RequireWarpgroups()
    {
        Require();
        Assert.SkipUnless(Info.Value.Gpus[0].ComputeCapability == new Version(9, 0),
            "only GPUs of compute capability 9.0 multiply by warpgroups");
    }

    /// <summary>Kernels by name: public tests cannot have an internal type as their parameter.</summary>
    public static CudaKernels Kernels(string name) => Enum.Parse<CudaKernels>(name);

    /// <summary>Skips the test where the device cannot be told to fail.</summary>
    public static void RequireSoftware()
    {
        Require();
        Assert.SkipUnless(IsSoftware, "only the software device can be told to fail");
    }

    /// <summary>A function that only the software device has.</summary>
    public static nint SoftwareExport(string name) => NativeLibrary.GetExport(NativeLibraries.Loaded(NativeLibraries.Driver)!.Handle, name);

    public static ITrainingBackend Create(NetworkSpec network, BackendOptions options)
    {
        Require();
        return CudaDevice.Create(0, network, options);
    }

    /// <summary>An open device without a backend.</summary>
    public static CudaSession Open(Precision precision, bool deterministic = true)
    {
        Require();
        return new CudaSession(CudaDevice.Open(0), precision, deterministic);
    }

    /// <summary>Settings of the software device, which are the environment's, until what is returned is disposed of.</summary>
    public static IDisposable Set(params (string Name, int Value)[] settings)
    {
        foreach ((string name, int value) in settings)
        {
            Assert.Equal(0, SetEnvironment(name, $"{value}", 1)); // .NET's copy is not what native code reads
        }

        return new Unset(settings);
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetEnvironment(string name, string value, int overwrite);

    [LibraryImport("libc", EntryPoint = "unsetenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int UnsetEnvironment(string name);

    /// <summary>Name of the trait of tests that no other program may use the device beside.</summary>
    public const string Alone = "alone";

    public static long FreeMemory()
    {
        using CudaContext context = new(0);
        using CudaContext.Scope scope = context.Enter();
        return CudaContext.MemoryInfo().Free;
    }

    private sealed class Unset((string Name, int Value)[] settings) : IDisposable
    {
        public void Dispose() => Array.ForEach(settings, setting => UnsetEnvironment(setting.Name));
    }
}
