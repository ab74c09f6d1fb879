using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Interop;

/// <summary>A GPU as its driver describes it; <paramref name="Ordinal"/> is N in "cuda:N".</summary>
internal sealed record CudaGpu(int Ordinal, string Name, Version ComputeCapability, int Multiprocessors, long MemoryBytes)
{
    /// <summary>The environment variable that names an older GPU, whose code and shared memory are then all that is used.</summary>
    public const string CapabilityVariable = "CUDNN_DIGITS_COMPUTE_CAPABILITY";

    /// <summary>Bytes of a multiprocessor.</summary>
    public int SharedMemory { get; init; }

    /// <summary>Asks the driver, which must be loaded.</summary>
    public static unsafe CudaGpu Find(int ordinal)
    {
        const int Length = 256;
        byte* name = stackalloc byte[Length];
        Check(cuDeviceGet(out int device, ordinal));
        Check(cuDeviceGetName(name, Length, device));
        Check(cuDeviceTotalMem_v2(out nuint bytes, device));
        Version capability = new(Attribute(ordinal, AttributeComputeCapabilityMajor), Attribute(ordinal, AttributeComputeCapabilityMinor));
        int multiprocessors = Attribute(ordinal, AttributeMultiprocessorCount, least: 1);
        return new CudaGpu(ordinal, Marshal.PtrToStringUTF8((nint)name)!, capability, multiprocessors, (long)bytes)
        {
            SharedMemory = Attribute(ordinal, AttributeSharedMemoryPerMultiprocessor, least: 1),
        }.AsOlder(Environment.GetEnvironmentVariable(CapabilityVariable));
    }

    /// <summary>The same GPU as far as one of an older compute capability would be used; itself where none is named.</summary>
    public CudaGpu AsOlder(string? named)
    {
        if (string.IsNullOrEmpty(named))
        {
            return this;
        }

        Version? capability = Version.TryParse(named, out Version? parsed) ? parsed : null;
        return capability is not null && capability <= ComputeCapability
            ? this with { ComputeCapability = capability, SharedMemory = Math.Min(SharedMemory, SharedMemoryOf(capability)) }
            : throw new InputException(
                $"{CapabilityVariable} is {named}, expected a compute capability such as 8.6, "
                + $"up to {ComputeCapability}, that of GPU {Ordinal}");
    }

    /// <summary>
    /// Bytes of a multiprocessor. Source: CUDA C++ Programming Guide, technical specifications per compute capability.
    /// </summary>
    private static int SharedMemoryOf(Version capability) => 1024 * ((capability.Major, capability.Minor) switch
    {
        (7, _) => 64,
        (8, 0 or 7) => 164,
        (8, _) or (12, _) => 100,
        _ => 228,
    });

    private static int Attribute(int ordinal, int attribute, int least = 0)
    {
        Check(cuDeviceGet(out int device, ordinal));
        Check(cuDeviceGetAttribute(out int value, attribute, device));
        return value >= least ? value : throw Nonsense($"the driver says that attribute {attribute} of GPU {ordinal} is {value}");
    }
}
