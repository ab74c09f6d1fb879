// The only place that knows which compiler is reading: nvcc, clang without any CUDA SDK, or a host C++ compiler, which gets the functions
// of numbers.cuh and philox.cuh for their tests.
#pragma once

#if defined(__CUDACC__) || defined(__CUDA__)

#if defined(__CUDACC__)
#define DEVICE_INLINE __device__ __forceinline__
#define DEVICE_CALLED __device__ __noinline__
#else
#include <__clang_cuda_builtin_vars.h>
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define DEVICE_INLINE __device__ inline __attribute__((always_inline))
#define DEVICE_CALLED __device__ __attribute__((noinline))
#endif

// As many bytes as the launch asks for.
alignas(16) extern __shared__ unsigned char dynamic_shared_memory[];

// Device addresses travel in StepState as integers, so that a captured graph does not depend on where the data lie.
template <typename T> DEVICE_INLINE T *device_pointer(unsigned long long address) { return reinterpret_cast<T *>(address); }

// A kernel for blocks of so many threads; where it is said, of which so many shall fit on a multiprocessor. Its name must be no device
// function's: nvcc would call the kernel, and refuse to. It is launched with one struct, by value: the struct of that name in
// src/CudnnDigits/Cuda has the same fields in the same order.
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)

// A number that the host needs to launch kernels: src/CudnnDigits/Cuda/Device/KernelSource.cs reads it from the PTX.
#define PUBLISH(name, ...)                                                                                                                 \
    extern "C" {                                                                                                                           \
    __device__ unsigned name = __VA_ARGS__;                                                                                                \
    }

// Dynamic shared memory of a block of a kernel, in elements of two bytes.
#define SHARED_MEMORY(kernel, ...) PUBLISH(kernel##_shared_bytes, 2 * (__VA_ARGS__))

// The lower and upper half of the product with a number that is part of the instruction.
template <unsigned By> DEVICE_INLINE void multiply_wide(unsigned a, unsigned &low, unsigned &high) {
    asm("{ .reg .b64 product; mul.wide.u32 product, %2, %3; mov.b64 {%0, %1}, product; }" : "=r"(low), "=r"(high) : "r"(a), "n"(By));
}

// Counts on, after `most` from 0 again; what the counter was before. No two threads get the same. What the thread wrote, or saw written
// before a barrier, is there for whoever counts after it.
DEVICE_INLINE unsigned count_on(unsigned *counter, unsigned most) {
    unsigned before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(most) : "memory");
    return before;
}

#else
#define DEVICE_INLINE inline

template <unsigned By> inline void multiply_wide(unsigned a, unsigned &low, unsigned &high) {
    const unsigned long long product = (unsigned long long)a * By;
    low = (unsigned)product, high = (unsigned)(product >> 32);
}
#endif

#if defined(__CUDACC__)
DEVICE_INLINE float fused_multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE_INLINE double fused_multiply_add(double a, double b, double c) { return fma(a, b, c); }
DEVICE_INLINE float square_root(float x) { return sqrtf(x); }
DEVICE_INLINE double square_root(double x) { return sqrt(x); }
#else
DEVICE_INLINE float fused_multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE_INLINE double fused_multiply_add(double a, double b, double c) { return __builtin_fma(a, b, c); }
DEVICE_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
DEVICE_INLINE double square_root(double x) { return __builtin_sqrt(x); }
#endif

DEVICE_INLINE int smaller(int a, int b) { return a < b ? a : b; }

DEVICE_INLINE unsigned float_bits(float x) {
    union {
        float f;
        unsigned u;
    } both = {x};
    return both.u;
}

DEVICE_INLINE float bits_float(unsigned u) {
    union {
        unsigned u;
        float f;
    } both = {u};
    return both.f;
}
