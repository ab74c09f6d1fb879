using static CudnnDigits.Cuda.CudaException;
using static CudnnDigits.Cuda.Interop.CudaDriver;

namespace CudnnDigits.Cuda.Interop;

/// <summary>A GPU as its driver describes it; <paramref name="Ordinal"/> is N in "cuda:N".</summary>
internal sealed record CudaGpu(int Ordinal, string Name, Version ComputeCapability, int Multiprocessors, long MemoryBytes)
{
    /// <summary>Asks the driver, which must be loaded.</summary>
    public static unsafe CudaGpu Find(int ordinal)
    {
        const int Length = 256;
        byte* name = stackalloc byte[Length];
        int device;
        nuint bytes;
        Check(cuDeviceGet(&device, ordinal));
        Check(cuDeviceGetName(name, Length, device));
        Check(cuDeviceTotalMem_v2(&bytes, device));
        Version capability = new(Attribute(ordinal, AttributeComputeCapabilityMajor), Attribute(ordinal, AttributeComputeCapabilityMinor));
        return new CudaGpu(ordinal, Marshal.PtrToStringUTF8((nint)name)!, capability, Attribute(ordinal, AttributeMultiprocessorCount), (long)bytes);
    }

    /// <summary>The most shared memory that a block can have, in bytes.</summary>
    public int SharedBytesPerBlock() => Attribute(Ordinal, AttributeMaxSharedBytesPerBlock);

    private static unsafe int Attribute(int ordinal, int attribute)
    {
        int device, value;
        Check(cuDeviceGet(&device, ordinal));
        Check(cuDeviceGetAttribute(&value, attribute, device));
        return value >= 0 ? value : throw Nonsense($"the driver says that attribute {attribute} of GPU {ordinal} is {value}");
    }
}
