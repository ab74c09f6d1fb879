using static CudnnDigits.Cuda.Interop.NativeLibraries;

namespace CudnnDigits.Cuda.Interop;

/// <summary>Status of the driver API.</summary>
internal enum CuResult
{
    Success = 0,
    NoDevice = 100,
    UnsupportedPtxVersion = 222,
}

/// <summary>CUlaunchConfig.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CuLaunchConfig(uint gridX, uint gridY, uint blockX, uint sharedBytes, nint stream)
{
    public uint GridX = gridX, GridY = gridY, GridZ = 1, BlockX = blockX, BlockY = 1, BlockZ = 1, SharedBytes = sharedBytes;
    public nint Stream = stream;
    public CuLaunchAttribute* Attributes;
    public uint AttributeCount;
}

/// <summary>CUlaunchAttribute, whose value is a union of 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Size = 72)]
internal struct CuLaunchAttribute
{
    public int Id;
    private readonly int _padding;
    public int Value;
}

/// <summary>The driver API under its own names and in the ABI versions of these names, which CUDA 12 and 13 export.</summary>
internal static unsafe partial class CudaDriver
{
    public const int StreamNonBlocking = 1, CaptureThreadLocal = 1, CaptureStatusNone = 0;
    public const uint EventDisableTiming = 2;
    public const int AttributeMultiprocessorCount = 16, AttributeComputeCapabilityMajor = 75, AttributeComputeCapabilityMinor = 76,
        AttributeSharedMemoryPerMultiprocessor = 81;
    public const int FunctionMaxDynamicSharedBytes = 8;
    public const int LaunchProgrammaticStreamSerialization = 6;
    public const int JitErrorLogBuffer = 5, JitErrorLogBufferSizeBytes = 6;

    [LibraryImport(Driver)] public static partial CuResult cuInit(uint flags);

    [LibraryImport(Driver)] public static partial CuResult cuDriverGetVersion(out int version);

    [LibraryImport(Driver)] public static partial CuResult cuGetErrorName(CuResult error, out byte* name);

    [LibraryImport(Driver)] public static partial CuResult cuGetErrorString(CuResult error, out byte* text);

    [LibraryImport(Driver)] public static partial CuResult cuDeviceGetCount(out int count);

    [LibraryImport(Driver)] public static partial CuResult cuDeviceGet(out int device, int ordinal);

    [LibraryImport(Driver)] public static partial CuResult cuDeviceGetName(byte* name, int length, int device);

    [LibraryImport(Driver)] public static partial CuResult cuDeviceTotalMem_v2(out nuint bytes, int device);

    [LibraryImport(Driver)] public static partial CuResult cuDeviceGetAttribute(out int value, int attribute, int device);

    [LibraryImport(Driver)] public static partial CuResult cuDevicePrimaryCtxRetain(out nint context, int device);

    [LibraryImport(Driver)] public static partial CuResult cuDevicePrimaryCtxRelease_v2(int device);

    [LibraryImport(Driver)] public static partial CuResult cuCtxPushCurrent_v2(nint context);

    [LibraryImport(Driver)] public static partial CuResult cuCtxPopCurrent_v2(out nint context);

    [LibraryImport(Driver)] public static partial CuResult cuCtxGetDevice(out int device);

    [LibraryImport(Driver)] public static partial CuResult cuMemGetInfo_v2(out nuint free, out nuint total);

    [LibraryImport(Driver)] public static partial CuResult cuMemAlloc_v2(out nint address, nuint bytes);

    [LibraryImport(Driver)] public static partial CuResult cuMemFree_v2(nint address);

    [LibraryImport(Driver)] public static partial CuResult cuMemHostAlloc(out nint host, nuint bytes, uint flags);

    [LibraryImport(Driver)] public static partial CuResult cuMemFreeHost(nint host);

    [LibraryImport(Driver)] public static partial CuResult cuMemcpyHtoDAsync_v2(nint to, void* from, nuint bytes, nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuMemcpyDtoHAsync_v2(void* to, nint from, nuint bytes, nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuMemcpyDtoDAsync_v2(nint to, nint from, nuint bytes, nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuMemsetD8Async(nint to, byte value, nuint bytes, nint stream);

    [LibraryImport(Driver)]
    public static partial CuResult cuModuleLoadDataEx(out nint module, byte* image, uint count, int* options, void** values);

    [LibraryImport(Driver)] public static partial CuResult cuModuleGetFunction(out nint function, nint module, byte* name);

    [LibraryImport(Driver)] public static partial CuResult cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(Driver)] public static partial CuResult cuModuleUnload(nint module);

    [LibraryImport(Driver)]
    public static partial CuResult cuLaunchKernelEx(CuLaunchConfig* config, nint function, void** parameters, void** extra);

    [LibraryImport(Driver)] public static partial CuResult cuStreamCreate(out nint stream, uint flags);

    [LibraryImport(Driver)] public static partial CuResult cuStreamDestroy_v2(nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuStreamSynchronize(nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuStreamWaitEvent(nint stream, nint recorded, uint flags);

    [LibraryImport(Driver)] public static partial CuResult cuStreamIsCapturing(nint stream, out int status);

    [LibraryImport(Driver)] public static partial CuResult cuEventCreate(out nint created, uint flags);

    [LibraryImport(Driver)] public static partial CuResult cuEventDestroy_v2(nint destroyed);

    [LibraryImport(Driver)] public static partial CuResult cuEventRecord(nint recorded, nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuEventSynchronize(nint recorded);

    [LibraryImport(Driver)] public static partial CuResult cuStreamBeginCapture_v2(nint stream, int mode);

    [LibraryImport(Driver)] public static partial CuResult cuStreamEndCapture(nint stream, out nint graph);

    [LibraryImport(Driver)] public static partial CuResult cuGraphInstantiateWithFlags(out nint executable, nint graph, ulong flags);

    [LibraryImport(Driver)] public static partial CuResult cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(Driver)] public static partial CuResult cuGraphGetNodes(nint graph, nint* nodes, out nuint count);

    [LibraryImport(Driver)] public static partial CuResult cuGraphExecDestroy(nint executable);

    [LibraryImport(Driver)] public static partial CuResult cuGraphDestroy(nint graph);

    [LibraryImport(Driver)] public static partial CuResult cuProfilerStart();

    [LibraryImport(Driver)] public static partial CuResult cuProfilerStop();
}
