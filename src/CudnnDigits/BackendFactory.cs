using CudnnDigits.Cpu;
using CudnnDigits.Cuda;
using CudnnDigits.Cuda.Interop;
using CudnnDigits.Inference;
using CudnnDigits.Model;
using CudnnDigits.Training;

namespace CudnnDigits;

/// <summary>The only place that decides between devices, which are "auto", "cpu", "cuda" and "cuda:N".</summary>
internal static class BackendFactory
{
    /// <summary>
    /// Opens a GPU beside whatever the caller does next, such as reading data, so that the backend need not wait for driver, libraries and
    /// context. To be disposed of once the backend is made; fails silently, as the backend will say why.
    /// </summary>
    public static IDisposable Prepare(string device, NetworkSpec network, Precision? precision, CudaKernels kernels)
    {
        int? ordinal = DeviceName.Ordinal(device);
        return new Opening(device == "cpu"
            ? Task.FromResult<CudaContext?>(null)
            : Task.Run(() => CudaDevice.TryPrepare(ordinal ?? 0, network, precision, kernels)));
    }

    public static ITrainingBackend Create(string device, NetworkSpec network, BackendOptions options) =>
        Create(device, network, options, out _);

    /// <summary>Creates a backend, and tells in one line why "auto" came down to the CPU, where it did.</summary>
    public static ITrainingBackend Create(string device, NetworkSpec network, BackendOptions options, out string? whyCpu)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1);
        return Choose(
            device, options.CudaContext, options.Precision, options.BatchSize, options.Threads,
            ordinal => CudaDevice.Create(ordinal, network, options), () => CpuDevice.Create(network, options, CpuDevice.VectorBits),
            out whyCpu);
    }

    /// <summary>Creates what a <see cref="DigitClassifier"/> runs on.</summary>
    public static IClassifierDevice CreateClassifier(NetworkWeights weights, ClassifierOptions options, out string? whyCpu) => Choose(
        options.Device, options.CudaContext, options.Precision, options.BatchSize, options.Threads,
        ordinal => CudaDevice.CreateClassifier(ordinal, weights, options),
        () => CpuDevice.CreateClassifier(weights, options, CpuDevice.VectorBits), out whyCpu);

    private static T Choose<T>(
        string device, nint context, Precision? precision, int batchSize, int threads, Func<int, T> createCuda, Func<T> createCpu,
        out string? whyCpu)
    {
        if (threads is < 0 or > BackendOptions.MostThreads)
        {
            throw new ArgumentException(
                $"threads is {threads}, expected 0 to {BackendOptions.MostThreads}; 0 takes as many as there are processors");
        }

        if (precision is { } given && !Enum.IsDefined(given))
        {
            throw new ArgumentException($"precision is {(int)given}, expected {InputException.OneOf(Enum.GetNames<Precision>())}");
        }

        int? ordinal = DeviceName.Ordinal(device);
        if (context != 0)
        {
            ordinal = device is "auto" or "cuda" ? 0 : throw new ArgumentException(
                $"a CUDA context is given, which settles the device, and so is device {device}; leave one out");
        }

        whyCpu = null;
        try
        {
            if (device != "cpu")
            {
                return createCuda(ordinal ?? 0);
            }
        }
        catch (CudaUnavailableException e)
        {
            whyCpu = ordinal is null ? e.Message : throw new InputException($"--device {device}: {e.Message}", e);
        }
        catch (CudaException e) when (ordinal is null)
        {
            whyCpu = e.Message;
        }

        if (precision is not (null or Precision.Fp32))
        {
            string advice = whyCpu is null ? "; leave --precision out"
                : $", and there is no GPU to use: {whyCpu}; leave --precision out, or, with --resume, add --device cpu";
            throw new InputException($"--precision {precision.ToString()!.ToLowerInvariant()}: the CPU computes in fp32{advice}");
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
