using CudnnDigits.Cpu;
using CudnnDigits.Cuda;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits;

/// <summary>The only place that decides between devices.</summary>
internal static class BackendFactory
{
    /// <summary>Instruction set of the CPU backend on this machine, for people: "AVX-512".</summary>
    public static string CpuInstructionSet => CpuDevice.InstructionSet(CpuDevice.VectorBits);

    /// <summary>Looks for GPUs and NVIDIA's libraries on this machine, and tells what is there or what is missing; never throws.</summary>
    public static CudaInfo DescribeCuda() => CudaDevice.Info();

    /// <summary>
    /// Starts a profiler that waits for it (nsys with --capture-range=cudaProfilerApi, ncu) until disposed of; for a backend on the CPU,
    /// nothing.
    /// </summary>
    /// <param name="backend">What is to be profiled.</param>
    public static IDisposable? Profile(ITrainingBackend backend) => (backend as CudaBackend)?.Profile();

    /// <summary>
    /// Opens a GPU beside whatever the caller does next, such as reading data, so that
    /// <see cref="Create(string, NetworkSpec, BackendOptions)"/>
    /// need not wait for driver, libraries and context. To be disposed of once the backend is made; fails silently, as the backend will say
    /// why.
    /// </summary>
    /// <param name="device">"auto", "cpu", "cuda" or "cuda:N".</param>
    /// <param name="network">What is going to be trained.</param>
    /// <param name="precision">In which arithmetic; null for the device's default.</param>
    /// <exception cref="InputException">The device is none of these.</exception>
    /// <param name="kernels">Which kernels run the layers.</param>
    public static IDisposable Prepare(string device, NetworkSpec network, Precision? precision, CudaKernels kernels)
    {
        int? ordinal = DeviceName.Ordinal(device);
        return new Opening(device == "cpu" ? Task.FromResult<CudaContext?>(null) : Task.Run(() => CudaDevice.TryPrepare(ordinal ?? 0, network, precision, kernels)));
    }

    /// <summary>Creates a backend.</summary>
    /// <param name="device">"auto", "cpu", "cuda" or "cuda:N".</param>
    /// <param name="network">The network, with the dropout rates to train with.</param>
    /// <param name="options">Batch size, seed, augmentation, precision.</param>
    /// <exception cref="InputException">There is no such device, it lacks memory, or it cannot compute in that precision.</exception>
    public static ITrainingBackend Create(string device, NetworkSpec network, BackendOptions options) => Create(device, network, options, out _);

    /// <summary>Creates a backend, and tells why "auto" came down to the CPU.</summary>
    /// <param name="device">"auto", "cpu", "cuda" or "cuda:N".</param>
    /// <param name="network">The network, with the dropout rates to train with.</param>
    /// <param name="options">Batch size, seed, augmentation, precision.</param>
    /// <param name="whyCpu">One line; null where a GPU was taken or the CPU was asked for.</param>
    /// <exception cref="InputException">There is no such device, it lacks memory, or it cannot compute in that precision.</exception>
    /// <exception cref="ArgumentException">The batch is empty, or threads are out of range; or a CUDA context is given, and
    /// another device than "auto" or "cuda".</exception>
    public static ITrainingBackend Create(string device, NetworkSpec network, BackendOptions options, out string? whyCpu)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1);
        return Choose(
            device, options.CudaContext, options.Precision, options.BatchSize, options.Threads,
            ordinal => CudaDevice.Create(ordinal, network, options), () => CpuDevice.Create(network, options, CpuDevice.VectorBits), out whyCpu);
    }

    /// <summary>Creates what a <see cref="DigitClassifier"/> runs on.</summary>
    internal static IClassifierDevice CreateClassifier(NetworkWeights weights, ClassifierOptions options, out string? whyCpu) => Choose(
        options.Device, options.CudaContext, options.Precision, options.BatchSize, options.Threads,
        ordinal => CudaDevice.CreateClassifier(ordinal, weights, options), () => CpuDevice.CreateClassifier(weights, options, CpuDevice.VectorBits), out whyCpu);

    private static T Choose<T>(string device, nint context, Precision? precision, int batchSize, int threads, Func<int, T> createCuda, Func<T> createCpu, out string? whyCpu)
    {
        if (threads is < 0 or > BackendOptions.MostThreads)
        {
            throw new ArgumentException($"threads is {threads}, expected 0 to {BackendOptions.MostThreads}; 0 takes as many as there are processors");
        }

        if (precision is { } given && !Enum.IsDefined(given))
        {
            throw new ArgumentException($"precision is {(int)given}, expected {string.Join(", ", Enum.GetNames<Precision>())}");
        }

        int? ordinal = DeviceName.Ordinal(device);
        whyCpu = null;
        if (context != 0)
        {
            ordinal = device is "auto" or "cuda" ? 0 : throw new ArgumentException($"a CUDA context is given, which settles the device, and so is device {device}; leave one out");
        }

        if (device == "auto" || ordinal is not null)
        {
            try
            {
                return createCuda(ordinal ?? 0);
            }
            catch (CudaUnavailableException e)
            {
                whyCpu = ordinal is null ? e.Message : throw new InputException($"--device {device}: {e.Message}", e);
            }
            catch (CudaException e) when (ordinal is null)
            {
                whyCpu = e.Message;
            }
        }

        if (precision is not (null or Precision.Fp32))
        {
            throw new InputException(
                $"--precision {precision.ToString()!.ToLowerInvariant()}: the CPU computes in fp32{(whyCpu is null ? "; leave --precision out" : $", and there is no GPU to use: {whyCpu}; leave --precision out, or go on with --device cpu")}");
        }

        try
        {
            return createCpu();
        }
        catch (OutOfMemoryException e)
        {
            throw new InputException($"a batch of {batchSize} does not fit this machine's memory; choose a smaller --batch-size", e);
        }
    }

    /// <summary>A context that is being opened, and kept until the backend has it.</summary>
    private sealed class Opening(Task<CudaContext?> context) : IDisposable
    {
        public void Dispose() => context.Result?.Dispose();
    }
}
