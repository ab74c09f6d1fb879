// What the tests of the software CUDA device call, as NVIDIA's libraries declare it; addresses are numbers, handles are
// pointers to anything.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
int cuInit(unsigned);
int cuDeviceGetAttribute(int *, int, int);
int cuDevicePrimaryCtxRetain(void **, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuCtxPushCurrent_v2(void *);
int cuMemAlloc_v2(uint64_t *, size_t);
int cuMemFree_v2(uint64_t);
int cuMemHostAlloc(void **, size_t, unsigned);
int cuMemFreeHost(void *);
int cuMemcpyHtoDAsync_v2(uint64_t, const void *, size_t, void *);
int cuMemcpyDtoHAsync_v2(void *, uint64_t, size_t, void *);
int cuMemsetD8Async(uint64_t, unsigned char, size_t, void *);
int cuModuleLoadDataEx(void **, const char *, unsigned, int *, void **);
int cuModuleGetFunction(void **, void *, const char *);
int cuModuleUnload(void *);
int cuFuncSetAttribute(void *, int, int);
struct LaunchAttribute {
    int id, padding, value, rest[15];
};
struct LaunchConfig {
    unsigned grid[3], block[3], shared;
    void *stream;
    LaunchAttribute *attributes;
    unsigned attribute_count;
};
int cuLaunchKernelEx(const LaunchConfig *, void *, void **, void **);
int cuStreamCreate(void **, unsigned);
int cuStreamDestroy_v2(void *);
int cuStreamSynchronize(void *);
int cuStreamBeginCapture_v2(void *, int);
int cuStreamEndCapture(void *, void **);
int cuStreamIsCapturing(void *, int *);
int cuStreamWaitEvent(void *, void *, unsigned);
int cuEventCreate(void **, unsigned);
int cuEventDestroy_v2(void *);
int cuEventRecord(void *, void *);
int cuEventSynchronize(void *);
int cuProfilerStart();
int cuGraphInstantiateWithFlags(void **, void *, unsigned long long);
int cuGraphLaunch(void *, void *);
int cuGraphDestroy(void *);
int cuGraphExecDestroy(void *);
int cudnnCreate(void **);
int cudnnDestroy(void *);
int cudnnSetStream(void *, void *);
int cudnnCreateTensorDescriptor(void **);
int cudnnSetTensor4dDescriptor(void *, int, int, int, int, int, int);
int cudnnDestroyTensorDescriptor(void *);
int cudnnCreatePoolingDescriptor(void **);
int cudnnSetPooling2dDescriptor(void *, int, int, int, int, int, int, int, int);
int cudnnDestroyPoolingDescriptor(void *);
int cudnnPoolingForward(void *, void *, const float *, void *, uint64_t, const float *, void *, uint64_t);
int cublasCreate_v2(void **);
int cublasDestroy_v2(void *);
int cublasSetStream_v2(void *, void *);

// The software device's own: tests/native/softcuda/device.cpp says what they do.
void softcuda_fail(const char *);
size_t softcuda_called(char *, size_t);
size_t softcuda_alive(char *, size_t);
}
