using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Interop;

/// <summary>A GPU as its driver describes it; <paramref name="Ordinal"/> is N in "cuda:N".</summary>
internal sealed record CudaGpu(int Ordinal, string Name, Version ComputeCapability, int Multiprocessors, long MemoryBytes)
{
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
        };
    }

    private static int Attribute(int ordinal, int attribute, int least = 0)
    {
        Check(cuDeviceGet(out int device, ordinal));
        Check(cuDeviceGetAttribute(out int value, attribute, device));
        return value >= least ? value : throw Nonsense($"the driver says that attribute {attribute} of GPU {ordinal} is {value}");
    }
}
