using CudnnDigits.Cuda.Interop;
using CudnnDigits.Data;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>An open device: its context, one stream, the libraries' handles on it, our kernels, and how to compute.</summary>
internal sealed class CudaSession : IDisposable
{
    /// <summary>Opens a device; the libraries must be loaded (<see cref="CudaDevice.Create"/>).</summary>
    public CudaSession(int device, Precision precision, bool deterministic)
    {
        Precision = precision;
        Deterministic = deterministic;
        Context = new CudaContext(device);
        try
        {
            using CudaContext.Scope scope = Context.Enter();
            Stream = new CudaStream(Context);
            Cudnn = new CudnnHandle(Context, Stream);
            Cublas = new CublasHandle(Context, Stream);
            Kernels = new KernelModule(Context);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public Precision Precision { get; }

    public bool Deterministic { get; }

    public CudaContext Context { get; }

    public CudaStream Stream { get; } = null!;

    public CudnnHandle Cudnn { get; } = null!;

    public CublasHandle Cublas { get; } = null!;

    public KernelModule Kernels { get; } = null!;

    /// <summary>What activations, and the weights that multiply them, are stored as.</summary>
    public DeviceType ActivationType => Precision == Precision.Bf16 ? DeviceType.Bf16 : DeviceType.F32;

    /// <summary>The ending of a kernel's name for this precision.</summary>
    public string KernelSuffix => Precision == Precision.Bf16 ? "_bf16" : "_f32";

    /// <summary>Allocates an arena, or says how much is needed and how much there is.</summary>
    /// <param name="arena">Everything reserved.</param>
    /// <param name="advice">What to do, given the bytes that are free.</param>
    /// <exception cref="InputException">The device's memory is too small, or taken by others.</exception>
    public void Allocate(DeviceArena arena, Func<long, string> advice)
    {
        (long free, long total) = CudaContext.MemoryInfo();
        try
        {
            if (arena.Bytes <= free)
            {
                arena.Allocate(Context);
                return;
            }
        }
        catch (CudaException e) when (e.IsOutOfMemory)
        {
            // Another program was faster, or memory is in pieces; the message is the same.
        }

        throw new InputException(
            $"the GPU's memory is too small: {MiB(arena.Bytes)} MiB are needed, {MiB(free)} of {MiB(total)} MiB are free; {advice(free)}");

        static string MiB(long bytes) => $"{(bytes + (1 << 20) - 1) >> 20:N0}";
    }

    public void Dispose()
    {
        Kernels?.Dispose();
        Cublas?.Dispose();
        Cudnn?.Dispose();
        Stream?.Dispose();
        Context.Dispose();
    }
}
