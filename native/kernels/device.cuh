// The only place that knows which compiler is reading: nvcc, clang without any CUDA SDK, or a host C++ compiler (for
// tests, which give every thread of a block a fiber of its own).
#pragma once

#if defined(__CUDACC__) || defined(__CUDA__)

#if defined(__CUDACC__)
#define DEVICE_INLINE __device__ __forceinline__
#else
#include <__clang_cuda_builtin_vars.h>
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define DEVICE_INLINE __device__ inline __attribute__((always_inline))
#endif

// As many bytes as the launch asks for.
alignas(16) extern __shared__ unsigned char dynamic_shared_memory[];

// Device addresses travel in StepState as integers, so that a captured graph does not depend on where the data lie.
template <typename T> DEVICE_INLINE T *device_pointer(unsigned long long address) {
    return reinterpret_cast<T *>(address);
}

#else

struct DeviceIndex {
    unsigned x, y, z;
};
// Each host thread runs a block of its own. Kernels look at these all the time: within one library a function can find
// all of them with one question.
#ifndef OF_HOST_THREAD
#define OF_HOST_THREAD thread_local __attribute__((tls_model("local-dynamic")))
#endif
extern OF_HOST_THREAD DeviceIndex threadIdx, blockIdx, blockDim, gridDim;
extern OF_HOST_THREAD unsigned char *dynamic_shared_memory;
void __syncthreads();
void *device_address(unsigned long long address); // checked by whoever runs the kernels

#define __global__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define DEVICE_INLINE inline

template <typename T> T *device_pointer(unsigned long long address) {
    return static_cast<T *>(device_address(address));
}

#endif

// A kernel for blocks of so many threads; where it is said, of which so many shall fit on a multiprocessor.
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)

#if defined(__CUDACC__)
DEVICE_INLINE float fused_multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE_INLINE float square_root(float x) { return sqrtf(x); }
DEVICE_INLINE double square_root(double x) { return sqrt(x); }
#else
DEVICE_INLINE float fused_multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
DEVICE_INLINE double square_root(double x) { return __builtin_sqrt(x); }
#endif

// What a thread wrote before is there for every block before anything it writes after.
DEVICE_INLINE void memory_fence() {
#if defined(__CUDACC__)
    __threadfence();
#elif defined(__CUDA__)
    __nvvm_membar_gl();
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

// Counts on, after `most` from 0 again; what the counter was before. No two threads get the same.
DEVICE_INLINE unsigned count_on(unsigned *counter, unsigned most) {
#if defined(__CUDACC__)
    return atomicInc(counter, most);
#elif defined(__CUDA__)
    return __nvvm_atom_inc_gen_ui(counter, most);
#else
    unsigned before = __atomic_load_n(counter, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(counter, &before, before >= most ? 0 : before + 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
    }
    return before;
#endif
}

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
