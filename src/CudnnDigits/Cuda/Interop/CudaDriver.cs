namespace CudnnDigits.Cuda.Interop;

/// <summary>Status of the driver API.</summary>
internal enum CuResult
{
    Success = 0,
    NoDevice = 100,
    InvalidDevice = 101,
    NoBinaryForGpu = 209,
    UnsupportedPtxVersion = 222,
}

/// <summary>CUlaunchConfig.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CuLaunchConfig
{
    public uint GridX, GridY, GridZ, BlockX, BlockY, BlockZ, SharedBytes;
    public nint Stream;
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

/// <summary>
/// The driver API under its own names, in the ABI versions that these names stand for; CUDA 12 and 13 export all of them.
/// </summary>
internal static unsafe partial class CudaDriver
{
    public const int StreamNonBlocking = 1, CaptureThreadLocal = 1, CaptureStatusNone = 0;
    public const uint EventDisableTiming = 2;
    public const int AttributeMultiprocessorCount = 16, AttributeComputeCapabilityMajor = 75, AttributeComputeCapabilityMinor = 76, AttributeMaxSharedBytesPerBlock = 97;
    public const int FunctionMaxDynamicSharedBytes = 8;
    public const int LaunchProgrammaticStreamSerialization = 6;
    public const int JitErrorLogBuffer = 5, JitErrorLogBufferSizeBytes = 6;

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuInit(uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDriverGetVersion(int* version);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGetErrorName(CuResult error, byte** name);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGetErrorString(CuResult error, byte** text);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDeviceGetCount(int* count);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDeviceGet(int* device, int ordinal);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDeviceGetName(byte* name, int length, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDeviceTotalMem_v2(nuint* bytes, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDeviceGetAttribute(int* value, int attribute, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDevicePrimaryCtxRetain(nint* context, int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuDevicePrimaryCtxRelease_v2(int device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuCtxPushCurrent_v2(nint context);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuCtxPopCurrent_v2(nint* context);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuCtxGetDevice(int* device);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemGetInfo_v2(nuint* free, nuint* total);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemAlloc_v2(nint* address, nuint bytes);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemFree_v2(nint address);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemHostAlloc(nint* host, nuint bytes, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemFreeHost(nint host);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemcpyHtoDAsync_v2(nint to, void* from, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemcpyDtoHAsync_v2(void* to, nint from, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemcpyDtoDAsync_v2(nint to, nint from, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuMemsetD8Async(nint to, byte value, nuint bytes, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuModuleLoadDataEx(nint* module, byte* image, uint count, int* options, void** values);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuModuleGetFunction(nint* function, nint module, byte* name);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuModuleUnload(nint module);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuLaunchKernelEx(CuLaunchConfig* config, nint function, void** parameters, void** extra);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamCreate(nint* stream, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamDestroy_v2(nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamSynchronize(nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamWaitEvent(nint stream, nint recorded, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamIsCapturing(nint stream, int* status);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuEventCreate(nint* created, uint flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuEventDestroy_v2(nint destroyed);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuEventRecord(nint recorded, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuEventSynchronize(nint recorded);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamBeginCapture_v2(nint stream, int mode);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuStreamEndCapture(nint stream, nint* graph);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGraphInstantiateWithFlags(nint* executable, nint graph, ulong flags);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGraphGetNodes(nint graph, nint* nodes, nuint* count);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGraphExecDestroy(nint executable);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuGraphDestroy(nint graph);

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuProfilerStart();

    [LibraryImport(NativeLibraries.Driver)]
    public static partial CuResult cuProfilerStop();
}
